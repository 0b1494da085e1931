"""Whatever users store is shown as the text that it is: on every page, in every fragment, and in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from djqueue.models import (
    Binding,
    Exchange,
    Pause,
    Queue,
    RateLimit,
    RunningTask,
    Schedule,
    ScheduleRun,
    Statistic,
    Task,
    TaskAttempt,
    TaskLog,
    TaskResult,
    Worker,
)
from djqueue.states import Ending, State

from .test_monitor_access import NEVER, PAGES, POST_ONLY, Site

pytestmark = pytest.mark.django_db

# What a browser would obey, what Django's templates would, and what would end a script in which JSON stands.
ATTACKS = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'></script>{{ 6|add:6 }}{% now 'Y' %}"
OBEYED = re.compile(r"<script>alert|<img src=x|</script>\"|'alert\(2\)'>")
RENDERED = re.compile(r"</script(?:&gt;|>|\\u003e)(?:12|\d{4})")


def text(place: str) -> str:
    """Return a text that tells where it was stored."""
    return f"from-{place} {ATTACKS}"


PLACES = (
    "task-name", "queue", "args", "kwarg-name", "kwarg", "header-name", "header", "stamp", "value", "type", "message",
    "module", "traceback", "attempt-message", "attempt-worker", "log", "progress-state", "progress", "worker", "host",
    "pool", "queues", "version", "limit", "rate", "declared", "pause", "exchange", "description", "routing-key",
    "schedule", "schedule-task", "expression", "schedule-description", "note", "last-error", "statistic-task",
    "statistic-queue", "result-worker",
)  # fmt: skip
HIDDEN = {"module", "rate", "queues", "statistic-queue", "expression"}
"""Places of which no page has to tell; if one does, as text."""


@pytest.fixture
def site() -> Site:
    now = timezone.now()
    site = Site()
    error = {
        "exc_type": text("type"), "exc_message": [text("message")], "exc_module": text("module"),
        "traceback": f'Traceback (most recent call last):\n  File "{text("traceback")}", line 1, in f\n    x\nE: x\n',
    }  # fmt: skip
    call = {
        "name": text("task-name"), "queue": text("queue"), "args": [text("args")],
        "kwargs": {text("kwarg-name"): text("kwarg")},
        "options": {"headers": {text("header-name"): text("header")}, "stamps": {"customer": text("stamp")}},
    }  # fmt: skip
    Task.objects.update(**call)
    TaskResult.objects.update(error=error, worker=text("result-worker"))
    site.succeeded = Task.objects.create(**{**call, "workflow_id": site.failed.pk})
    TaskResult.objects.create(
        task=site.succeeded, state=State.SUCCEEDED, attempt=1, worker=text("result-worker"), value=[text("value")],
        finished_at=now, started_at=now,
    )  # fmt: skip
    TaskAttempt.objects.create(
        task=site.failed, attempt=1, outcome=Ending.RETRIED, worker=text("attempt-worker"),
        error={**error, "exc_message": [text("attempt-message")]}, started_at=now, finished_at=now,
    )  # fmt: skip
    TaskLog.objects.create(task=site.failed, attempt=1, text=text("log"))
    RunningTask.objects.update(state=text("progress-state"), meta={"current": text("progress"), "total": 3})
    Worker.objects.update(
        name=text("worker"), host=text("host"), pool=text("pool"), queues=text("queues"), version=text("version")
    )
    Queue.objects.create(name=text("queue"))
    RateLimit.objects.update(name=text("limit"), rate=text("rate"), declared=text("declared"))
    RateLimit.objects.create(kind=2, name=text("queue"), rate="1/s", per_second=1)
    Pause.objects.update(name=text("pause"))
    site.exchange = Exchange.objects.create(name=text("exchange"), kind="topic", description=text("description"))
    Binding.objects.create(exchange=site.exchange, routing_key=text("routing-key"), queue=text("queue"))
    Schedule.objects.update(
        name=text("schedule"), task=text("schedule-task"), expression=text("expression"),
        description=text("schedule-description"), last_error=text("last-error"), last_error_at=now, held_until=now,
    )  # fmt: skip
    ScheduleRun.objects.create(schedule=site.schedule, due_at=now, fired_at=now, fate=4, note=text("note"))
    Statistic.objects.update(name=text("statistic-task"), queue=text("statistic-queue"), at=now - timedelta(minutes=1))
    return site


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser(text("user")))
    return client


def answers(client: Client, site: Site) -> Iterator[tuple[str, Any]]:
    """Ask for every page, for a few rows of its kind, for lists that are filtered, and for questions before actions."""
    tasks, machine = "/admin/djqueue/task/", "/djqueue/api/tasks/"
    for page, needs in PAGES.items():
        if needs is not POST_ONLY and NEVER not in needs:
            yield page, client.get(site.url(page))
    for name in ("task", "scheduled", "running", "succeeded"):
        yield name, client.get(site.url("admin:djqueue_task_change", name))
        yield name, client.get(f"{machine}{getattr(site, name).pk}/")
    for wanted in ({"queue": ATTACKS}, {"tag": ATTACKS}, {"q": ATTACKS}, {"tag": "customer", "queue": text("queue")}):
        yield f"filtered by {wanted}", client.get(tasks, wanted)
        yield f"filtered by {wanted}", client.get(machine, wanted)
    for wanted in ({"q": '{"<script>alert": '}, {"state": ATTACKS}, {"tag": "=" + ATTACKS}):
        yield f"filtered by {wanted}", client.get(machine, wanted)
        yield f"filtered by {wanted}", client.get(tasks, wanted, follow=True)
    ticked = {"action": "cancel", "_selected_action": [str(site.task.pk)], "index": "0", "select_across": "0"}
    yield "cancel", client.post(tasks, ticked)
    yield "move", client.post(tasks, {**ticked, "action": "move", "queue": ATTACKS, "confirmed": "yes"})
    queue = client.post("/admin/djqueue/queue/mail/act/", {"action": "purge", "typed": ATTACKS, "confirmed": "yes"})
    yield "purge", queue
    yield "stop", client.post(site.url("admin:djqueue_worker_act", "worker"), {"action": "stop"})
    yield (
        "delete",
        client.post("/admin/djqueue/exchange/", {"action": "delete_selected", "_selected_action": [ATTACKS]}),
    )
    yield (
        "preview",
        client.post("/admin/djqueue/schedule/preview/", {"name": ATTACKS, "kind": "cron", "expression": ATTACKS}),
    )
    yield (
        "retried",
        client.post(site.url("admin:djqueue_task_act", "failed"), {"action": "retry", "confirmed": "yes"}, follow=True),
    )
    yield "history", client.get(site.url("admin:djqueue_task_history", "failed"))


def test_whatever_is_stored_is_text(client: Client, site: Site) -> None:
    shown: set[str] = set()
    for name, answer in answers(client, site):
        assert answer.status_code in (200, 302, 400, 403), (name, answer.status_code)
        body = answer.content.decode()
        shown.update(place for place in PLACES if f"from-{place} " in body)
        assert not RENDERED.search(body), name
        if answer["Content-Type"].startswith("text/html"):
            assert not OBEYED.search(body), (name, OBEYED.search(body))
        else:  # which no browser takes for a page
            assert answer["Content-Type"].startswith(("application/json", "text/plain")), name
            if "json" in answer["Content-Type"]:
                json.loads(body)
    assert set(PLACES) - shown <= HIDDEN


def test_a_metric_is_one_line(client: Client, site: Site) -> None:
    Queue.objects.create(name='a"} 7\ndjqueue_made_up 8\n\\')
    body = client.get("/djqueue/metrics").content.decode()
    assert r'queue="a\"} 7\ndjqueue_made_up 8\n\\"' in body
    assert not re.search("^djqueue_made_up", body, re.M)
