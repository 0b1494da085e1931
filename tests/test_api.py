"""The JSON API: who may, what it lists, what it does; and the metrics of the site."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.utils import timezone

from djqueue.api.tokens import TokenRefused, id_of, make_token, read_token
from djqueue.doctor import check_invariants
from djqueue.models import Queue, ReadyTask, ScheduledTask, Task
from djqueue.states import State

from .test_admin import new_task, new_worker
from .test_monitor_actions import state_of
from .worker_process import eventually

pytestmark = pytest.mark.django_db(transaction=True)

API = "/djqueue/api/"
Api = Callable[..., "Caller"]


class Caller:
    """Somebody with a token; answers are status and JSON."""

    def __init__(self, token: str) -> None:
        self.client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {token}"})

    def get(self, path: str, **query: str) -> tuple[int, Any]:
        response = self.client.get(API + path, query)
        return response.status_code, response.json()

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        response = self.client.post(API + path, body, content_type="application/json")
        return response.status_code, response.json()


@pytest.fixture
def user() -> User:
    return User.objects.create_user("machine", password="first", is_staff=True)


@pytest.fixture
def api(user: User) -> Api:
    """Return a caller with these permissions."""

    def caller(*permissions: str, **options: Any) -> Caller:
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        return Caller(make_token(user, timedelta(days=1), **options))

    return caller


# Who


@pytest.mark.parametrize("path", ["", "tasks/", "queues/", "workers/", "schedules/", "failures/", "statistics/"])
def test_without_a_token_nothing_is_told(client: Client, path: str) -> None:
    response = client.get(API + path)
    assert (response.status_code, response.json()) == (401, {"error": "expected a token or a session"})
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("tasks/", "view_task"), ("queues/", "view_queue"), ("workers/", "view_worker"),
        ("schedules/", "view_schedule"), ("failures/", "view_taskresult"), ("statistics/", "view_statistic"),
    ],
)  # fmt: skip
def test_each_list_needs_the_permission_to_view_it(api: Api, path: str, permission: str) -> None:
    others = ["view_task", "view_queue", "view_worker", "view_schedule", "view_taskresult", "view_statistic"]
    assert api(*others).get(path)[0] == 200
    others.remove(permission)
    assert api(*others).get(path) == (403, {"error": f"needs the permission djqueue.{permission}"})


def test_a_token_ends_with_time_password_and_user(user: User) -> None:
    short = make_token(user, timedelta(seconds=1))
    eventually(lambda: is_refused(short, "expired"), what="the end of a token")
    token = make_token(user, timedelta(days=1))
    assert read_token(token) == (user, False)
    assert is_refused(token[:-1] + ("A" if token[-1] != "A" else "B"), "made by manage.py djqueue token")
    user.set_password("other")
    user.save()
    assert is_refused(token, "another password")
    again = make_token(user, timedelta(days=1))
    user.is_active = False
    user.save()
    assert is_refused(again, "gone")


def test_one_token_ends_alone_by_its_id_or_its_text(user: User) -> None:
    leaked, forgotten, kept = (make_token(user, timedelta(days=1)) for _ in range(3))
    with override_settings(DJQUEUE={"REVOKED_TOKENS": [id_of(leaked), forgotten]}):
        assert is_refused(leaked, "the token has been revoked")
        assert is_refused(forgotten, "the token has been revoked")
        assert read_token(kept) == (user, False)
        headers = {"Authorization": f"Bearer {leaked}"}
        response = Client().get(f"{API}queues/", headers=headers)
        assert (response.status_code, response.json()) == (401, {"error": "the token has been revoked"})
    assert read_token(leaked) == (user, False)
    with pytest.raises(TokenRefused, match="expected a token made by"):
        id_of("x" + leaked)


def is_refused(token: str, why: str) -> bool:
    try:
        read_token(token)
    except TokenRefused as refusal:
        return why in str(refusal)
    return False


def test_who_is_not_of_the_staff_stays_outside(api: Api, user: User) -> None:
    caller = api("view_task")
    User.objects.update(is_staff=False)
    assert caller.get("tasks/") == (403, {"error": "expected a user that may enter the admin"})


def test_a_session_will_do_and_its_changes_need_csrf(user: User) -> None:
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_task", "retry_task"]))
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get(API + "tasks/").status_code == 200
    body = {"action": "retry", "ids": []}
    refused = client.post(API + "tasks/", body, content_type="application/json")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]
    client.get("/admin/password_change/")  # sets the cookie
    cookie = client.cookies["csrftoken"].value
    allowed = client.post(API + "tasks/", body, content_type="application/json", headers={"X-CSRFToken": cookie})
    assert allowed.status_code == 200


def test_a_token_to_read_changes_nothing(api: Api) -> None:
    task = new_task(State.FAILED)
    caller = api("view_task", "retry_task", read_only=True)
    assert caller.get("tasks/")[0] == 200
    answer = caller.post("tasks/", {"action": "retry", "ids": [str(task.pk)]})
    assert answer == (403, {"error": "this token may only read"})
    assert state_of(task) is State.FAILED


# Lists


def test_tasks_are_filtered_searched_and_paged_as_in_the_admin(api: Api) -> None:
    failed, other = new_task(State.FAILED, queue="mail", kwargs={"order": 17}), new_task(queue="mail")
    caller = api("view_task")
    status, found = caller.get("tasks/", state="failed", queue="mail")
    assert (status, [task["id"] for task in found["tasks"]]) == (200, [str(failed.pk)])
    assert found["tasks"][0] | {"created_at": ""} == {
        "id": str(failed.pk), "name": failed.name, "queue": "mail", "priority": failed.priority, "state": "failed",
        "attempt": 3, "created_at": "",
    }  # fmt: skip
    assert [task["id"] for task in caller.get("tasks/", q='{"order": 17}')[1]["tasks"]] == [str(failed.pk)]
    assert caller.get("tasks/", q=str(other.pk))[1]["listed"] == 1
    assert caller.get("tasks/", state="lost")[0] == 400
    assert "This is no JSON" in caller.get("tasks/", q="{no")[1]["error"]
    for _ in range(100):
        new_task()
    status, first = caller.get("tasks/")
    assert (len(first["tasks"]), first["pages"], first["next"]) == (100, 2, "?p=2")
    assert len(caller.get("tasks/", p="2")[1]["tasks"]) == 2


def test_a_task_hides_what_is_redacted_and_what_may_not_be_viewed(api: Api) -> None:
    task = new_task(State.FAILED, kwargs={"password": "secret", "city": "Berlin"})
    found = api("view_task", "view_taskresult").get(f"tasks/{task.pk}/")[1]
    assert found["kwargs"] == {"password": "[redacted]", "city": "Berlin"}
    assert found["result"]["state"] == "failed"
    assert found["attempts"] is None
    assert api("view_task").get(f"tasks/{task.pk}/")[1]["result"] is None
    status, refused = api("view_task").get("tasks/00000000-0000-0000-0000-000000000001/")
    assert (status, refused["error"]) == (404, "no task has the id 00000000-0000-0000-0000-000000000001")


def test_queues_and_workers(api: Api) -> None:
    Queue.objects.create(name="mail", paused_until=timezone.now() + timedelta(hours=1))
    new_task(queue="mail")
    new_worker("one")
    new_worker("gone", lease=-5)
    caller = api("view_queue", "view_worker")
    (queue,) = caller.get("queues/")[1]["queues"]
    assert (queue["name"], queue["ready"], queue["more_ready"]) == ("mail", 1, False)
    assert queue["paused_until"]
    workers = {worker["name"]: worker["alive"] for worker in caller.get("workers/")[1]["workers"]}
    assert workers == {"one": True, "gone": False}


def test_statistics_refuse_an_unknown_span(api: Api) -> None:
    caller = api("view_statistic")
    assert caller.get("statistics/", span="24h")[1]["span"] == "24h"
    assert caller.get("statistics/", span="1y") == (400, {"error": "expected span to be 1h, 24h or 7d, got: 1y"})


# Actions


def test_actions_are_done_to_ids_and_logged(api: Api, user: User) -> None:
    failed, ready = new_task(State.FAILED), new_task()
    caller = api("view_task", "retry_task")
    body = {"action": "retry", "ids": [str(failed.pk), str(ready.pk)]}
    status, answer = caller.post("tasks/", body)
    assert (status, answer["chosen"], answer["done"]) == (200, 2, 1)
    assert answer["notes"] == ["1 task is back in line."]
    assert state_of(failed) is State.READY
    assert LogEntry.objects.get().user == user
    assert check_invariants() == []


def test_actions_are_done_to_all_that_a_filter_leaves(api: Api) -> None:
    mail = [new_task(queue="mail") for _ in range(3)]
    other = new_task(queue="other")
    caller = api("view_task", "reschedule_task")
    values = {"run_at": "2090-01-02T03:04:05Z"}
    body = {"action": "reschedule", "filter": {"queue": "mail"}, "values": values}
    assert caller.post("tasks/", body)[1] | {"notes": None} == {
        "chosen": 3, "done": 3, "more_match": False, "notes": None,
    }  # fmt: skip
    assert {row.task_id for row in ScheduledTask.objects.all()} == {task.pk for task in mail}
    assert {row.run_at.isoformat() for row in ScheduledTask.objects.all()} == {"2090-01-02T03:04:05+00:00"}
    assert ReadyTask.objects.get().task_id == other.pk


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"action": "bake", "ids": []}, "expected action to be one of retry, run, "),
        ({"action": "retry"}, 'expected "ids" to be a list or "filter"'),
        ({"action": "retry", "filter": {}}, 'expected "ids" to be a list or "filter"'),
        ({"action": "retry", "ids": ["x"]}, "expected ids to be ids of tasks"),
        ({"action": "retry", "ids": [], "filter": {"state": "failed"}}, 'expected "ids" to be a list or'),
        ({"action": "retry", "filter": {"state": "odd"}}, "unknown state: 'odd'"),
        ({"action": "reschedule", "ids": []}, "run_at: This field is required."),
        ({"action": "reschedule", "ids": [], "values": {"run_at": "soon"}}, "expected run_at to be a time with its"),
        ({"action": "reschedule", "ids": [], "values": 3}, "expected values to be an object, got: 3"),
        ({"action": "prioritise", "ids": [], "values": {"priority": 101}}, "priority: Ensure this value is less than"),
        ([1], "expected a JSON object, got: list"),
        ("{", "expected JSON, got: "),
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, body: Any, problem: str) -> None:
    caller = api("view_task", "retry_task", "reschedule_task", "prioritise_task")
    status, answer = caller.post("tasks/", body if isinstance(body, str) else json.dumps(body))
    assert status == 400
    assert problem in answer["error"]


def test_each_action_needs_its_permission(api: Api) -> None:
    task = new_task(State.FAILED)
    status, answer = api("view_task", "run_task").post("tasks/", {"action": "retry", "ids": [str(task.pk)]})
    assert (status, answer["error"]) == (403, "needs the permissions djqueue.retry_task and djqueue.view_task")
    assert state_of(task) is State.FAILED


def test_queues_are_paused_resumed_and_purged(api: Api) -> None:
    queue = Queue.objects.create(name="mail")
    task = new_task(queue="mail")
    caller = api("view_queue", "pause_queue", "purge_queue")
    assert caller.post("queues/mail/", {"action": "pause", "until": "2090-01-01T00:00:00Z"})[0] == 200
    queue.refresh_from_db()
    assert queue.paused_until is not None
    assert queue.paused_until.isoformat() == "2090-01-01T00:00:00+00:00"
    assert caller.post("queues/mail/", {"action": "resume"})[0] == 200
    assert "Expected mail, got: male" in caller.post("queues/mail/", {"action": "purge", "typed": "male"})[1]["error"]
    assert caller.post("queues/mail/", {"action": "purge", "typed": "mail"})[0] == 200
    assert state_of(task) is State.CANCELLED
    assert caller.post("queues/other/", {"action": "resume"}) == (404, {"error": "no queue is called 'other'"})
    assert api("view_queue").post("queues/mail/", {"action": "pause"})[0] == 403
    assert caller.client.put(API + "tasks/").status_code == 405


# The command


def test_the_command_makes_tokens(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("djqueue", "token", "machine", "--read-only", "--days", "2")
    said = capsys.readouterr()
    assert read_token(said.out.strip()) == (user, True)
    assert said.err.strip() == f"its id is {id_of(said.out.strip())}"
    with pytest.raises(CommandError, match="expected the name of a user, got: 'nobody'"):
        call_command("djqueue", "token", "nobody")
    with pytest.raises(CommandError, match="expected --days to be above 0"):
        call_command("djqueue", "token", "machine", "--days", "0")
    User.objects.update(is_staff=False)
    with pytest.raises(CommandError, match="of the staff"):
        call_command("djqueue", "token", "machine")


# Prometheus


def test_the_site_tells_prometheus_how_the_queue_stands(api: Api) -> None:
    Queue.objects.create(name="mail", paused_until=timezone.now() + timedelta(hours=1))
    for _ in range(3):
        new_task(queue="mail")
    new_worker("one", silent=-600)  # however slow this is
    new_worker("gone", lease=-5)
    response = api("view_statistic").client.get("/djqueue/metrics")
    text = response.content.decode()
    assert response["Content-Type"].startswith("text/plain")
    for line in (
        'djqueue_ready_tasks{queue="mail"} 3.0', 'djqueue_queue_paused{queue="mail"} 1.0',
        'djqueue_workers{state="alive"} 1.0', 'djqueue_workers{state="lost"} 1.0', "djqueue_late_schedules 0.0",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert api("view_task").client.get("/djqueue/metrics").status_code == 403
    assert Task.objects.count() == 3
