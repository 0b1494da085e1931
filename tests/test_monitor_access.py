"""Who may see and do what in the monitor: every page and every action, for everybody, by name.

A page that is not in the tables here fails the first test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone

from djqueue.models import Binding, Exchange, Pause, Queue, RateLimit, Statistic, Task, TaskResult
from djqueue.states import State

from .beats import new_schedule
from .site.tasks import add
from .test_admin import new_task

pytestmark = pytest.mark.django_db

DOCS = (Path(__file__).parent.parent / "docs/monitor.md").read_text()
MODELS = ("exchange", "pause", "queue", "ratelimit", "schedule", "statistic", "task", "taskresult", "worker")
MADE_HERE = ("exchange", "pause", "ratelimit", "schedule")
DELETED_HERE = MADE_HERE
NEVER = "nobody"
"""A permission that there is not."""
EVERYBODY = ""
POST_ONLY = None

# Permissions that a page needs, all of them; with a bar, one of those.
Needs = tuple[str, ...]


def pages_of(model: str) -> dict[str, Needs | None]:
    """Return the pages that Django makes for a model."""
    view = f"view_{model}|change_{model}" if model in MADE_HERE and model != "pause" else f"view_{model}"
    return {
        f"admin:djqueue_{model}_changelist": (view,),
        f"admin:djqueue_{model}_change": (view,),
        f"admin:djqueue_{model}_history": (view,),
        f"admin:djqueue_{model}_add": (f"add_{model}" if model in MADE_HERE else NEVER,),
        f"admin:djqueue_{model}_delete": (f"delete_{model}" if model in DELETED_HERE else NEVER,),
    }


PAGES: dict[str, Needs | None] = {
    **{name: needs for model in MODELS for name, needs in pages_of(model).items()},
    "admin:djqueue_dashboard_live": ("view_statistic",),
    "admin:djqueue_failures": ("view_taskresult",),
    "admin:djqueue_failures_retry": POST_ONLY,
    "admin:djqueue_workflows": ("view_task",),
    "admin:djqueue_workflow_retry": POST_ONLY,
    "admin:djqueue_enqueue": ("view_task", "enqueue_task"),
    "admin:djqueue_task_act": POST_ONLY,
    "admin:djqueue_queue_act": POST_ONLY,
    "admin:djqueue_worker_act": POST_ONLY,
    "admin:djqueue_schedule_preview": POST_ONLY,
    "admin:djqueue_schedule_run": POST_ONLY,
    "admin:djqueue_schedule_switch": POST_ONLY,
    "djqueue:metrics": ("view_statistic",),
    "djqueue:api": (EVERYBODY,),
    "djqueue:api_tasks": ("view_task",),
    "djqueue:api_task": ("view_task",),
    "djqueue:api_queues": ("view_queue",),
    "djqueue:api_queue": POST_ONLY,
    "djqueue:api_workers": ("view_worker",),
    "djqueue:api_worker": POST_ONLY,
    "djqueue:api_enqueue": POST_ONLY,
    "djqueue:api_schedules": ("view_schedule",),
    "djqueue:api_failures": ("view_taskresult",),
    "djqueue:api_statistics": ("view_statistic",),
}


class Deed(NamedTuple):
    """Something that a form, or JSON, asks for; ``on`` names the row, ``shows`` is whether rows tell of it."""

    page: str
    on: str
    data: dict[str, Any]
    needs: Needs
    shows: bool = True

    def __str__(self) -> str:
        return f"{self.page} {self.data.get('action', '')} {self.on}"


ON_TASKS: dict[str, tuple[str, str, dict[str, str]]] = {
    "retry": ("failed", "retry_task", {}), "run": ("scheduled", "run_task", {}),
    "reschedule": ("scheduled", "reschedule_task", {"run_at_0": "2090-01-02", "run_at_1": "03:04:05"}),
    "move": ("task", "move_task", {"queue": "other"}), "prioritise": ("task", "prioritise_task", {"priority": "7"}),
    "cancel": ("task", "cancel_task", {}), "terminate": ("running", "terminate_task", {}),
    "delete": ("failed", "delete_task", {}),
}  # fmt: skip
BINDINGS = {"bindings-TOTAL_FORMS": "0", "bindings-INITIAL_FORMS": "0"}
SCHEDULE = {
    "name": "other", "task": "x.y", "args": "[]", "kwargs": "{}", "options": "{}", "kind": "interval", "every": "60",
    "misfire": "2", "misfire_limit": "100", "overlap": "1", "jitter": "0", "enabled": "on",
}  # fmt: skip
CONFIRMED = {"confirmed": "yes"}
SEE_SCHEDULE = "view_schedule|change_schedule"


def deeds() -> Iterator[Deed]:
    for action, (on, codename, values) in ON_TASKS.items():
        needs, data = ("view_task", codename), {"action": action, **values, **CONFIRMED}
        yield Deed("admin:djqueue_task_act", on, data, needs)
        yield Deed("admin:djqueue_task_changelist", on, {**data, "index": "0", "select_across": "0"}, needs)
        yield Deed("djqueue:api_tasks", on, {"action": action, "values": _as_json(values)}, needs)
    for action, values in {"pause": {}, "resume": {}, "purge": {"typed": "mail"}}.items():
        needs = ("view_queue", "purge_queue" if action == "purge" else "pause_queue")
        yield Deed("admin:djqueue_queue_act", "queue", {"action": action, **values, **CONFIRMED}, needs)
        yield Deed("djqueue:api_queue", "queue", {"action": action, **values}, needs)
    for action, values in {
        "quiet": {},
        "unquiet": {},
        "grow": {"number": "1"},
        "shrink": {"number": "1"},
        "stop": {},
    }.items():
        # A worker is asked outside of the transaction in which these tests are.
        needs = ("view_worker", "control_worker")
        yield Deed("admin:djqueue_worker_act", "worker", {"action": action, **values, **CONFIRMED}, needs, shows=False)
        yield Deed("djqueue:api_worker", "worker", {"action": action, **values}, needs, shows=False)
    retry = ("view_task", "retry_task")
    yield Deed("admin:djqueue_failures_retry", "group", {"span": "24h"}, ("view_taskresult", *retry))
    yield Deed("admin:djqueue_workflow_retry", "workflow", {}, retry)
    yield Deed("admin:djqueue_enqueue", "enqueued", {"arg_x": "1", "arg_y": "2"}, ("view_task", "enqueue_task"))
    yield Deed("djqueue:api_enqueue", "enqueued", {"task": add.name, "kwargs": {"x": 1, "y": 2}}, ("enqueue_task",))
    yield Deed("admin:djqueue_schedule_preview", "none", SCHEDULE, ("add_schedule|change_schedule",), shows=False)
    yield Deed("admin:djqueue_schedule_run", "schedule", {}, (SEE_SCHEDULE, "run_schedule"))
    yield Deed("admin:djqueue_schedule_switch", "schedule", {}, (SEE_SCHEDULE, "switch_schedule|change_schedule"))
    for action, codename in {"run": "run_schedule", "disable": "switch_schedule|change_schedule"}.items():
        yield Deed("admin:djqueue_schedule_changelist", "schedule", {"action": action}, (SEE_SCHEDULE, codename))
    for model in ("exchange", "pause", "ratelimit", "schedule"):
        deleted = {"action": "delete_selected", "post": "yes"}
        see = f"view_{model}" + ("" if model == "pause" else f"|change_{model}")
        yield Deed(f"admin:djqueue_{model}_changelist", model, deleted, (see, f"delete_{model}"))
        yield Deed(f"admin:djqueue_{model}_delete", model, {"post": "yes"}, (f"delete_{model}",))
    forms = {
        "ratelimit": {"kind": "1", "name": "x.y", "rate": "9/s"}, "pause": {"kind": "task", "name": "x.y"},
        "exchange": {"name": "other", "kind": "direct", **BINDINGS}, "schedule": SCHEDULE,
    }  # fmt: skip
    for model, form in forms.items():
        yield Deed(f"admin:djqueue_{model}_add", "none", form, (f"add_{model}",))
        needs = (NEVER if model == "pause" else f"change_{model}",)
        yield Deed(f"admin:djqueue_{model}_change", model, {**form, "rate": "8/s", "description": "x"}, needs)


def _as_json(values: dict[str, str]) -> dict[str, str]:
    return {"run_at": "2090-01-02T03:04:05Z"} if "run_at_0" in values else values


# A site, and who visits it


class Site:
    """Rows to see and to do something to, by name, and the addresses of the pages that have them."""

    def __init__(self, text: str = "mail") -> None:
        now = timezone.now()
        self.failed = new_task(State.FAILED, queue=text, name=text)
        self.workflow = self.failed
        Task.objects.filter(pk=self.failed.pk).update(workflow_id=self.failed.pk)
        self.task, self.scheduled = new_task(queue=text, name=text), new_task(State.SCHEDULED, queue=text, name=text)
        self.running = new_task(State.RUNNING, queue=text, name=text)
        self.worker = self.running.running.worker
        self.taskresult = TaskResult.objects.get(pk=self.failed.pk)
        self.queue = Queue.objects.create(name=text, paused_until=now + timedelta(hours=1))
        self.ratelimit = RateLimit.objects.create(kind=2, name=text, rate="10/m", per_second=1 / 6)
        self.pause = Pause.objects.create(kind="task", name=text, until=now + timedelta(hours=1))
        self.exchange = Exchange.objects.create(name=text, kind="topic")
        self.binding = Binding.objects.create(exchange=self.exchange, routing_key=text, queue="mail")
        self.schedule = new_schedule(text)
        self.statistic = Statistic.objects.create(
            at=now, resolution=1, name=text, queue=text, succeeded=1, failed=1, steps=[], counts=[]
        )

    def url(self, page: str, on: str = "") -> str:
        model = next((m for m in MODELS if page.startswith(f"admin:djqueue_{m}_")), "")
        row = getattr(self, on or model, None)
        match page:
            case "djqueue:api_queue":
                return reverse(page, args=[self.queue.name])
            case "djqueue:api_worker" | "djqueue:api_task":
                return reverse(page, args=[self.worker.pk if page.endswith("worker") else self.failed.pk])
            case "admin:djqueue_workflow_retry":
                return reverse(page, args=[self.failed.pk])
            case "admin:djqueue_enqueue":
                return f"{reverse(page)}?task={add.name}"
        if page.startswith("djqueue:") or page.rpartition("_")[2] in ("changelist", "add", "preview") or not model:
            return reverse(page)
        from django.contrib.admin.utils import quote

        return reverse(page, args=[quote(str(row.pk))])


def rows() -> tuple[str, ...]:
    """Return digests of everything that an action could change."""
    tables = ["django_admin_log", *(model._meta.db_table for model in apps.get_app_config("djqueue").get_models())]
    digests = [f"(SELECT md5(string_agg(row::text, ' ' ORDER BY row::text)) FROM {table} AS row)" for table in tables]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(digests)}")
        return cursor.fetchone()


class Visitor(NamedTuple):
    """A client and the permissions behind it, ``None`` for all of them."""

    client: Client
    has: frozenset[str] | None

    def may(self, needs: Needs) -> bool:
        if NEVER in needs:
            return False
        return self.has is None or all(need == EVERYBODY or self.has.intersection(need.split("|")) for need in needs)

    def do(self, site: Site, deed: Deed) -> int:
        """Return the status of the answer."""
        url, row = site.url(deed.page, deed.on), getattr(site, deed.on, None)
        data = dict(deed.data)
        if deed.page.startswith("djqueue:"):
            if deed.page == "djqueue:api_tasks":
                data["ids"] = [str(row.pk)]
            return self.client.post(url, json.dumps(data), content_type="application/json").status_code
        if deed.page.endswith("_changelist"):
            data["_selected_action"] = [str(row.pk)]
        if deed.on == "group":
            data["group"] = failure_group()
        return self.client.post(url, data).status_code


def failure_group() -> str:
    from djqueue.admin.failures import read_failures

    return read_failures("default", timedelta(days=1))[0][0].key


def every_permission() -> list[str]:
    found = Permission.objects.filter(content_type__app_label="djqueue").values_list("codename", flat=True)
    return sorted(found)


VIEWS = [f"view_{name}" for name in (*MODELS, "taskattempt", "tasklog", "schedulerun", "binding")]


def operators() -> list[str]:
    """Return what the docs say that operators have."""
    sentence = re.search(r"\*operators\* also (.*?)\. ", DOCS, re.S)
    assert sentence
    return [*VIEWS, *re.findall(r"`(\w+)`", sentence[1])]


@pytest.fixture
def visitor(staff: Callable[..., Client]) -> Callable[..., Visitor]:
    """Return somebody of the staff with these permissions: the same as before, who has others now."""
    client = staff()
    permissions = User.objects.get().user_permissions
    known = dict(Permission.objects.filter(content_type__app_label="djqueue").values_list("codename", "pk"))

    def visit(*codenames: str) -> Visitor:
        permissions.set([known[codename] for codename in codenames])
        return Visitor(client, frozenset(codenames))

    return visit


@pytest.fixture
def roles(staff: Callable[..., Client]) -> dict[str, Visitor]:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    others = {"no permission": [], "viewer": VIEWS, "operator": operators()}
    return {role: Visitor(staff(*has), frozenset(has)) for role, has in others.items()} | {
        "superuser": Visitor(client, None)
    }


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("djqueue.admin.workers.ANSWERS_WITHIN", 0.01)
    with override_settings(DJQUEUE={"ENQUEUE_BY_HAND": [add.name]}):
        yield


def patterns() -> dict[str, str]:
    """Return the routes of all pages of ours by name, but for Django's redirect to a row."""
    found: dict[str, str] = {}

    def walk(entries: Any, prefix: str, namespace: str) -> None:
        for entry in entries:
            route = prefix + str(entry.pattern)
            if not isinstance(entry, URLPattern):
                walk(entry.url_patterns, route, f"{entry.namespace}:" if entry.namespace else namespace)
            elif route.startswith(("admin/djqueue/", "djqueue/")) and not route.endswith("<path:object_id>/"):
                found[f"{namespace}{entry.name}"] = route

    walk(get_resolver().url_patterns, "", "")
    return found


# What there is


def test_every_page_is_here() -> None:
    assert patterns().keys() == PAGES.keys()
    assert {name for name, needs in PAGES.items() if needs is POST_ONLY} <= {deed.page for deed in deeds()}


def test_every_permission_is_tried() -> None:
    tried = {one for needs in (*PAGES.values(), *(deed.needs for deed in deeds())) for need in needs or ()
             for one in need.split("|")}  # fmt: skip
    # These are asked on pages of other rows, or by nothing of ours.
    elsewhere = {"view_taskattempt", "view_tasklog", "view_schedulerun", "delete_taskresult"}
    binding = {"view_binding", "add_binding", "change_binding", "delete_binding"}
    assert set(every_permission()) - tried <= elsewhere | binding
    assert tried - set(every_permission()) == {EVERYBODY, NEVER}


# Who sees what


def test_each_role_sees_exactly_what_it_should(roles: dict[str, Visitor]) -> None:
    site = Site()
    seen: dict[str, set[str]] = {}
    for role, who in roles.items():
        for page, needs in PAGES.items():
            status = who.client.get(site.url(page)).status_code
            if needs is POST_ONLY:
                assert status == 405, (role, page)
                continue
            assert status == (200 if who.may(needs) else 403), (role, page, needs)
            if status == 200:
                seen.setdefault(role, set()).add(page)
    assert seen["no permission"] == {"djqueue:api"}
    assert seen["viewer"] < seen["operator"] < seen["superuser"]
    assert seen["operator"] - seen["viewer"] == {"admin:djqueue_enqueue"}


def test_each_page_needs_its_permissions_and_no_other(visitor: Callable[..., Visitor]) -> None:
    site, everything = Site(), set(every_permission())
    for page, needs in PAGES.items():
        if not needs or EVERYBODY in needs or NEVER in needs:
            continue
        with_them = visitor(*(need.split("|")[0] for need in needs))
        assert with_them.client.get(site.url(page)).status_code == 200, page
        for need in needs:
            without = visitor(*(everything - set(need.split("|"))))
            assert without.client.get(site.url(page)).status_code == 403, (page, need)


def test_strangers_see_nothing_and_do_nothing(client: Client) -> None:
    site = Site()
    customer = Client()
    customer.force_login(User.objects.create_user("customer"))
    customer_with_permissions = User.objects.create_user("was staff")
    customer_with_permissions.user_permissions.set(Permission.objects.all())
    former = Client()
    former.force_login(customer_with_permissions)
    before = rows()
    for stranger in (client, customer, former):
        for page in PAGES:
            url, machines = site.url(page), page.startswith("djqueue:")
            for method in (stranger.get, stranger.post):
                response = method(url)
                if machines:
                    assert response.status_code in (401, 403, 405), (page, response.status_code)
                else:
                    assert response.status_code == 302, (page, response.status_code)
                    assert response["Location"].startswith("/admin/login/"), page
    assert rows() == before


# Who does what


def done(who: Visitor, site: Site, deed: Deed, before: tuple[str, ...]) -> None:
    """Check that somebody can do it, and undo it."""
    with transaction.atomic():
        status = who.do(site, deed)
        assert status < 500, (str(deed), status)
        assert status != 403, (str(deed), who.has)
        assert not deed.shows or rows() != before, (str(deed), status)
        transaction.set_rollback(True)


def refused(who: Visitor, site: Site, deed: Deed, why: str) -> None:
    """Check that somebody cannot do it. Lists leave out what one may not do, and answer that nothing was chosen."""
    status = who.do(site, deed)
    assert status == 403 or (status in (200, 302) and deed.page.endswith("_changelist")), (str(deed), why, status)


def test_each_role_does_exactly_what_it_should(roles: dict[str, Visitor]) -> None:
    site = Site()
    before = rows()
    did: dict[str, set[str]] = {role: set() for role in roles}
    for role, who in roles.items():
        for deed in deeds():
            if who.may(deed.needs):
                done(who, site, deed, before)
                did[role].add(str(deed))
            else:
                refused(who, site, deed, role)
        assert rows() == before, role
    assert did["no permission"] == did["viewer"] == set()
    assert did["operator"] < did["superuser"]
    assert len(did["superuser"]) == len(list(deeds())) - 1  # a pause cannot be changed


def test_each_deed_needs_its_permissions_and_no_other(visitor: Callable[..., Visitor]) -> None:
    site, everything = Site(), set(every_permission())
    before = rows()
    for deed in deeds():
        if NEVER in deed.needs:
            continue
        done(visitor(*(need.split("|")[0] for need in deed.needs)), site, deed, before)
        for need in deed.needs:
            refused(visitor(*(everything - set(need.split("|")))), site, deed, need)
    assert rows() == before


def test_every_form_bears_a_token(roles: dict[str, Visitor]) -> None:
    site = Site()
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = roles["superuser"].client.cookies
    before = rows()
    for page in PAGES:
        assert strict.post(site.url(page)).status_code in (403, 405), page
    for deed in deeds():
        assert Visitor(strict, None).do(site, deed) == 403, str(deed)
    assert rows() == before
