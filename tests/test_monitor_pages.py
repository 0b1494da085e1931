"""Pages beside the lists: workflows, enqueueing by hand, logs, headers; and what is done to workers and by limits."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, override_settings

from djqueue import chain, group, rates
from djqueue.doctor import check_invariants
from djqueue.models import Queue, Task, TaskLog, Worker
from djqueue.states import State

from .site.form_tasks import many_kinds, says, says_async, says_much
from .site.tasks import add, fails
from .test_admin import body, new_task, new_worker, page_of
from .test_monitor_actions import state_of
from .worker_process import Workers, eventually, stored

pytestmark = pytest.mark.django_db(transaction=True)

Staff = Callable[..., Client]
WORKFLOWS = "/admin/djqueue/task/workflows/"
ENQUEUE = "/admin/djqueue/task/enqueue/"
ALLOWED = override_settings(DJQUEUE={"ENQUEUE_BY_HAND": ["tests.site.form_tasks.*"], "LEASE": 4, "HEARTBEAT": 0.5})
GIVEN = {"arg_number": "3", "arg_text": "t", "arg_when": "2030-01-02T03:04:05+00:00"}


# Workflows


def test_workflows_show_their_progress_and_retry_what_failed(workers: Workers, staff: Staff) -> None:
    done = chain(add.s(1, 2), add.s(3)).apply_async()
    broken = chain(fails.s("first"), add.si(1, 2), add.s(3)).apply_async()
    waiting = group(add.s(1, n).set(queue="nobody") for n in range(2)) | add.si(1, 1)
    waiting.apply_async()
    worker = workers.run("-c", "2", "-Q", "default")
    stored(done)
    stored(broken)
    client = staff("view_task", "retry_task")
    found = {one.name: one for one, _label in client.get(WORKFLOWS).context["workflows"]}
    assert len(client.get(WORKFLOWS).context["workflows"]) == 3
    failed = found[fails.name]
    assert (failed.tasks, failed.succeeded, failed.failed, failed.state, failed.share) == (3, 0, 3, "failed", 0)
    states = sorted((one.state, one.share) for one, _label in client.get(WORKFLOWS).context["workflows"])
    assert states == [("failed", 0), ("succeeded", 100), ("waiting", 0)]
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    client.post(f"{WORKFLOWS}{failed.id}/retry/")
    first = Task.objects.get(pk=failed.first)
    assert state_of(first) is State.READY
    (again,) = [one for one, _label in client.get(WORKFLOWS).context["workflows"] if one.id == failed.id]
    assert (again.failed, again.unfinished) == (0, 3)
    assert check_invariants() == []
    assert LogEntry.objects.get().object_id == failed.first


def test_workflows_are_paged_and_need_permission(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("djqueue.admin.workflows.SHOWN", 2)
    for number in range(5):
        chain(add.s(1, number), add.s(3)).apply_async()
    viewer = staff("view_task")
    seen, before = [], ""
    for _ in range(3):
        context = viewer.get(WORKFLOWS + before).context
        seen += [one.id for one, _label in context["workflows"]]
        before = f"?before={context['following']}"
    assert (len(set(seen)), context["following"]) == (5, None)
    assert seen == sorted(seen, reverse=True)
    assert "Retry the failed part" not in body(viewer, WORKFLOWS)
    assert viewer.post(f"{WORKFLOWS}{seen[0]}/retry/").status_code == 403
    assert staff().get(WORKFLOWS).status_code == 403
    assert staff("view_task", "retry_task").get(f"{WORKFLOWS}{seen[0]}/retry/").status_code == 405


# Enqueueing by hand


@ALLOWED
def test_a_task_is_enqueued_by_a_form_of_its_annotations(staff: Staff) -> None:
    client = staff("view_task", "enqueue_task")
    assert many_kinds.name in body(client, ENQUEUE)
    page = body(client, f"{ENQUEUE}?task={many_kinds.name}")
    assert "Take one of each." in page
    assert "arg_self" not in page
    given = {
        **GIVEN, "arg_loud": "true", "arg_colour": "1", "arg_size": "1", "arg_price": "1.50", "arg_items": "[1, 2]",
        "queue": "mail", "priority": "7", "run_at_0": "2090-01-02", "run_at_1": "03:04:05",
    }  # fmt: skip
    response = client.post(f"{ENQUEUE}?task={many_kinds.name}", given)
    task = Task.objects.get()
    assert response["Location"] == page_of(task)
    assert (task.name, task.queue, task.priority) == (many_kinds.name, "mail", 7)
    assert state_of(task) is State.SCHEDULED
    assert task.kwargs | {"price": ""} == {
        "number": 3, "text": "t", "when": task.kwargs["when"], "loud": True, "colour": "blue", "size": "m", "price": "",
        "items": [1, 2],
    }  # fmt: skip
    assert LogEntry.objects.get().change_message == "Enqueued by hand."


@ALLOWED
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"arg_number": "x"}, "Enter a whole number"),
        ({"arg_when": "soon"}, "argument when of task"),
        ({"arg_items": "{no"}, "This is no JSON"),
        ({"arg_text": ""}, "This field is required"),
        ({"priority": "101"}, "less than or equal to 100"),
        ({"queue": "a b"}, "expected the name of a queue"),
    ],
)
def test_a_form_that_makes_no_sense_enqueues_nothing(staff: Staff, given: dict[str, str], problem: str) -> None:
    client = staff("view_task", "enqueue_task")
    response = client.post(f"{ENQUEUE}?task={many_kinds.name}", GIVEN | given)
    assert problem in response.content.decode()
    assert not Task.objects.exists()


def test_only_what_the_site_allows_is_enqueued_and_only_by_who_may(staff: Staff) -> None:
    assert staff("view_task", "enqueue_task").get(ENQUEUE).status_code == 403  # the site allows nothing
    with ALLOWED:
        assert staff("view_task").get(ENQUEUE).status_code == 403
        client = staff("view_task", "enqueue_task")
        assert "Enqueue a task" in body(client, "/admin/djqueue/task/")
        assert client.post(f"{ENQUEUE}?task={add.name}", {}).status_code == 404
        assert "Enqueue a task" not in body(staff("view_task"), "/admin/djqueue/task/")


@ALLOWED
def test_the_api_enqueues_what_the_site_allows(staff: Staff) -> None:
    client = staff("view_task", "enqueue_task")

    def post(**given: Any) -> tuple[int, Any]:
        response = client.post("/djqueue/api/enqueue/", json.dumps(given), content_type="application/json")
        return response.status_code, response.json()

    status, answer = post(task=says.name, kwargs={"words": "w"}, queue="mail", priority=3)
    task = Task.objects.get()
    assert (status, answer) == (200, {"id": str(task.pk)})
    assert (task.kwargs, task.queue, task.priority) == ({"words": "w"}, "mail", 3)
    assert post(task=add.name, kwargs={})[0] == 403
    assert "missing" in post(task=says.name)[1]["error"]
    assert post(task=says.name, kwargs=[])[1]["error"] == "expected kwargs to be an object, got: []"
    assert "only, got: eta" in post(task=says.name, kwargs={}, eta=1)[1]["error"]
    assert Task.objects.count() == 1


# Logs


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
def test_what_tasks_log_is_kept_with_the_attempt(workers: Workers, staff: Staff, pool: str) -> None:
    workers.run("-c", "1", "-P", pool, CAPTURE_LOGS="INFO", IMPORTS=["tests.site.form_tasks"])
    if pool == "asyncio":
        task = says_async.delay("<b>")
        stored(task)
        wanted = ["async <b>"]
    else:
        task = says.delay("<b>", True)
        stored(task)
        wanted = ["plain <b>", "own <b>"]
    log = eventually(lambda: TaskLog.objects.filter(task_id=task.id).first(), what="a log")
    assert (log.attempt, [line.partition(": ")[2] for line in log.text.splitlines()]) == (1, wanted)
    page = body(staff("view_task", "view_tasklog"), page_of(Task.objects.get(pk=task.id)))
    assert f"{wanted[0][:-3]}&lt;b&gt;" in page
    assert "plain" not in body(staff("view_task"), page_of(Task.objects.get(pk=task.id)))


def test_a_log_has_an_end_and_nothing_is_kept_unless_asked(workers: Workers) -> None:
    worker = workers.run("-c", "1", IMPORTS=["tests.site.form_tasks"])
    stored(says.delay("quiet"))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    workers.run("-c", "1", CAPTURE_LOGS="INFO", IMPORTS=["tests.site.form_tasks"])
    stored(says_much.delay())
    log = eventually(TaskLog.objects.first, what="a log")
    assert len(log.text) < 66_000
    assert log.text.endswith("the rest was not kept")
    assert TaskLog.objects.count() == 1


# Headers


def test_headers_lead_to_tasks_that_have_them(staff: Staff) -> None:
    one, other = (add.apply_async((1, 2), headers={"tenant": tenant, "token": "x"}) for tenant in ("a", "b"))
    client = staff("view_task")
    page = client.get(page_of(Task.objects.get(pk=one.id))).content.decode()
    link = page.split('class="djqueue-headers"')[1].split('href="')[1].split('"')[0]
    found = {str(task.pk) for task in client.get(link).context["cl"].result_list}
    assert found == {one.id}
    assert page.split('class="djqueue-headers"')[1].split("</ul>")[0].count("href") == 1  # the token is no link
    assert other.id not in found


# Workers


def test_a_worker_is_quieted_grown_shrunk_and_stopped(workers: Workers, staff: Staff) -> None:
    process = workers.run("-c", "1", "-n", "one@host")
    worker = Worker.objects.get()
    client = staff("view_worker", "control_worker")

    def act(action: str, **given: str) -> str:
        url = page_of(worker).replace("/change/", "/act/")
        client.post(url, {"action": action, "confirmed": "yes", **given})
        return "; ".join(str(message) for message in client.get("/admin/djqueue/worker/").context["messages"])

    assert act("grow", number="2") == "one@host: 3 executors"
    eventually(lambda: len(process.executors()) == 3, what="executors")
    assert act("shrink", number="2") == "one@host: 1 executors"
    assert act("shrink", number="1") == "one@host: expected the pool to have 1 to 64 executors, got: 0"
    assert act("quiet") == "one@host: claims nothing more"
    result = add.delay(1, 2)
    eventually(lambda: Worker.objects.get().draining, what="a heartbeat that says so")
    assert result.state == "PENDING"
    assert "Go on" in body(client, page_of(worker))
    assert act("unquiet") == "one@host: claims again"
    stored(result)
    assert act("stop") == "one@host: shutting down"
    assert process.wait() == 0
    assert LogEntry.objects.count() == 5


def test_workers_are_controlled_by_who_may_while_they_live(staff: Staff) -> None:
    lost = new_worker(lease=-5)
    client = staff("view_worker", "control_worker")
    assert "Quiet" not in body(client, page_of(lost))
    url = page_of(lost).replace("/change/", "/act/")
    client.post(url, {"action": "stop", "confirmed": "yes"})
    (message,) = client.get("/admin/djqueue/worker/").context["messages"]
    assert str(message) == f"no live worker has the id {lost.pk}"
    assert staff("view_worker").post(url, {"action": "stop", "confirmed": "yes"}).status_code == 403
    assert client.get(url).status_code == 405
    assert not LogEntry.objects.exists()


# Limits


def test_the_queue_page_tells_its_rate_limit(staff: Staff) -> None:
    queue = Queue.objects.create(name="mail")
    new_task(queue="mail")
    rates.set_queue_rate_limit("mail", "10/m")
    client = staff("view_queue")
    assert "10 per min" in body(client, page_of(queue))
    assert "10 per min" in body(client, "/admin/djqueue/queue/")
