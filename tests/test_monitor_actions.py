"""What can be done to tasks and queues in the admin: by whom, after which question, to which tasks, and noted where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from djqueue import chain
from djqueue.admin import actions, confirming, filters, searching, tasks
from djqueue.control import purging
from djqueue.doctor import check_invariants
from djqueue.models import (
    CancelledTask,
    Queue,
    ReadyTask,
    RunningTask,
    ScheduledTask,
    Task,
    TaskResult,
    WaitingTask,
)
from djqueue.states import State

from .site.canvas_tasks import identity
from .test_admin import body, listed, new_task, page_of

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/djqueue/task/"
PERMISSIONS = {
    "retry": "retry_task", "run": "run_task", "reschedule": "reschedule_task", "move": "move_task",
    "prioritise": "prioritise_task", "cancel": "cancel_task", "terminate": "terminate_task", "delete": "delete_task",
}  # fmt: skip
FORMS: dict[str, dict[str, str]] = {
    "reschedule": {"run_at_0": "2090-01-02", "run_at_1": "03:04:05"},
    "move": {"queue": "other"},
    "prioritise": {"priority": "7"},
}


@pytest.fixture
def operator(staff: Callable[..., Client]) -> Client:
    return staff("view_task", "view_taskresult", "view_queue", "pause_queue", "purge_queue", *PERMISSIONS.values())


def act(client: Client, action: str, *tasks: Task, confirmed: bool = True, query: str = "", **given: str) -> Any:
    """Tick tasks in the list, or all that match, and do something to them."""
    data: dict[str, Any] = {
        "action": action, "_selected_action": [str(task.pk) for task in tasks], "index": "0",
        "select_across": "0" if tasks else "1", **FORMS.get(action, {}), **given,
    }  # fmt: skip
    if not tasks:
        data["_selected_action"] = ["x"]
    return client.post(LIST + query, {**data, "confirmed": "yes"} if confirmed else data)


def said(client: Client) -> str:
    """Return what the next page says was done."""
    return "; ".join(str(message) for message in client.get(LIST).context["messages"])


def scheduled(**values: Any) -> Task:
    return new_task(State.SCHEDULED, **values)


def state_of(task: Task) -> State:
    return State(Task.objects.with_state().get(pk=task.pk).state_code)


# Each action


def test_retry_puts_failed_tasks_back_in_line(operator: Client) -> None:
    failed, cancelled, succeeded = new_task(State.FAILED), new_task(State.CANCELLED), new_task(State.SUCCEEDED)
    act(operator, "retry", failed, cancelled, succeeded)
    assert [state_of(task) for task in (failed, cancelled, succeeded)] == [State.READY, State.READY, State.SUCCEEDED]
    assert ReadyTask.objects.get(task=failed).attempt == 3
    assert said(operator) == "2 tasks are back in line."
    assert check_invariants() == []


def test_run_now_puts_scheduled_tasks_in_line(operator: Client) -> None:
    task = scheduled(queue="mail", priority=4)
    act(operator, "run", task)
    row = ReadyTask.objects.get(task=task)
    assert (row.queue, row.priority, row.attempt) == ("mail", 4, 2)
    assert check_invariants() == []


def test_reschedule_moves_the_time_of_scheduled_and_ready_tasks(operator: Client) -> None:
    later, ready = scheduled(), new_task(queue="mail")
    act(operator, "reschedule", later, ready)
    times = {row.task_id: row.run_at for row in ScheduledTask.objects.all()}
    assert {time.isoformat() for time in times.values()} == {"2090-01-02T02:04:05+00:00"}  # Berlin is an hour ahead
    assert set(times) == {later.pk, ready.pk}
    assert not ReadyTask.objects.exists()
    assert check_invariants() == []


def test_move_takes_tasks_that_have_not_begun_to_another_queue(operator: Client) -> None:
    ready, later, running = new_task(priority=3), scheduled(), new_task(State.RUNNING)
    chain(identity.s(1), identity.s()).apply_async()
    waiting = Task.objects.get(pk=WaitingTask.objects.get().task_id)
    act(operator, "move", ready, later, waiting, running)
    assert set(Task.objects.filter(queue="other").values_list("pk", flat=True)) == {ready.pk, later.pk, waiting.pk}
    assert ReadyTask.objects.get(task=ready).queue == "other"
    assert ReadyTask.objects.get(task=ready).priority == 3
    assert check_invariants() == []


def test_a_priority_is_changed_in_line_and_for_later(operator: Client) -> None:
    ready, later = new_task(), scheduled()
    act(operator, "prioritise", ready, later)
    assert set(Task.objects.values_list("priority", flat=True)) == {7}
    assert ReadyTask.objects.get(task=ready).priority == 7
    assert check_invariants() == []


def test_cancel_ends_what_has_not_begun_and_asks_what_runs_to_end(operator: Client) -> None:
    ready, later, running, done = new_task(), scheduled(), new_task(State.RUNNING), new_task(State.SUCCEEDED)
    act(operator, "cancel", ready, later, running, done)
    assert state_of(ready) == state_of(later) == State.CANCELLED
    (note,) = CancelledTask.objects.all()
    assert (note.task_id, note.terminate) == (running.pk, False)
    assert state_of(done) is State.SUCCEEDED


def test_terminate_is_for_what_runs(operator: Client) -> None:
    ready, running = new_task(), new_task(State.RUNNING)
    act(operator, "terminate", ready, running)
    (note,) = CancelledTask.objects.all()
    assert (note.task_id, note.terminate) == (running.pk, True)
    assert state_of(ready) is State.READY


def test_delete_leaves_nothing_of_finished_tasks_and_all_of_others(operator: Client) -> None:
    ready, done = new_task(), new_task(State.SUCCEEDED)
    act(operator, "delete", ready, done)
    assert set(Task.objects.all()) == {ready}
    assert not TaskResult.objects.exists()
    assert said(operator) == "1 task is deleted."


# Questions


@pytest.mark.parametrize("action", PERMISSIONS)
def test_nothing_happens_before_it_is_confirmed(operator: Client, action: str) -> None:
    before = [new_task(state) for state in State if state is not State.WAITING]
    places = {task.pk: state_of(task) for task in before}
    response = act(operator, action, *before, confirmed=False)
    assert response.status_code == 200
    shown = response.content.decode()
    assert str(actions.ACTIONS[action].impact) in shown.replace("&#x27;", "'")
    fitting = [task for task in before if places[task.pk] in actions.ACTIONS[action].states]
    assert response.context["count"] == len(fitting)
    assert {pk for pk, _name in response.context["examples"]} == {task.pk for task in fitting}
    assert {task.pk: state_of(task) for task in before} == places
    assert not LogEntry.objects.exists()
    assert not CancelledTask.objects.exists()


@pytest.mark.parametrize(
    ("action", "given", "problem"),
    [
        ("prioritise", {"priority": "1000"}, "less than or equal to 100"),
        ("move", {"queue": "a" * 300}, "expected"),
        ("move", {"queue": ""}, "This field is required"),
        ("reschedule", {"run_at_0": "tomorrow"}, "Enter a valid date"),
    ],
)
def test_what_makes_no_sense_is_asked_again(operator: Client, action: str, given: dict[str, str], problem: str) -> None:
    task = new_task()
    response = act(operator, action, task, **given)
    assert response.status_code == 200
    assert problem in response.content.decode()
    assert ReadyTask.objects.get(task=task).queue == "default"


def test_all_that_match_are_acted_on_with_the_filters_of_the_list(operator: Client) -> None:
    mail = [new_task(queue="mail") for _ in range(3)]
    other = new_task()
    act(operator, "cancel", query="?queue=mail&state=ready")
    assert {state_of(task) for task in mail} == {State.CANCELLED}
    assert state_of(other) is State.READY


def test_more_than_a_list_shows_is_said_and_left(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "LISTED", 3)
    monkeypatch.setattr(actions, "BATCH", 2)
    tasks = [new_task() for _ in range(5)]
    response = act(operator, "cancel", confirmed=False)
    assert response.context["chosen"].more
    assert "Only the newest 3 are acted on" in response.content.decode()
    act(operator, "cancel")
    assert [state_of(task) for task in tasks] == [State.READY] * 2 + [State.CANCELLED] * 3


# Permissions


@pytest.mark.parametrize(("action", "permission"), PERMISSIONS.items())
def test_each_action_has_a_permission_of_its_own(staff: Callable[..., Client], action: str, permission: str) -> None:
    tasks = [new_task(state) for state in State if state is not State.WAITING]
    others = [codename for codename in PERMISSIONS.values() if codename != permission]
    forbidden = staff("view_task", *others)
    assert f'<option value="{action}"' not in body(forbidden, LIST)
    for task in tasks:
        response = forbidden.post(page_of(task).replace("/change/", "/act/"), {"action": action, "confirmed": "yes"})
        assert response.status_code == 403
    act(forbidden, action, *tasks)
    assert not LogEntry.objects.exists()
    # Who may do it but not see tasks may not do it.
    assert act(staff(permission), action, *tasks).status_code == 403
    assert f'<option value="{action}"' in body(staff("view_task", permission), LIST)


def test_who_may_only_look_is_offered_nothing(staff: Callable[..., Client]) -> None:
    task = new_task(State.FAILED)
    viewer = staff("view_task", "view_taskresult", "view_queue")
    for url in (LIST, page_of(task), page_of(Queue.objects.create(name="mail"))):
        text = body(viewer, url)
        assert 'name="action"' not in text
    assert "djqueue-tool" not in text


@pytest.mark.parametrize("url", ["act/", "retry/"])
def test_actions_are_posted_and_bear_a_token(operator: Client, url: str) -> None:
    task = new_task(State.FAILED)
    path = page_of(task).replace("change/", url) if url == "act/" else "/admin/djqueue/taskresult/failures/retry/"
    assert operator.get(path).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(path, {"action": "retry", "confirmed": "yes"}).status_code == 403
    assert state_of(task) is State.FAILED


# One task, a group


def test_a_tasks_page_offers_what_fits_its_state(operator: Client) -> None:
    assert offered(operator, new_task(State.FAILED)) == ["retry", "delete"]
    assert offered(operator, new_task(State.RUNNING)) == ["cancel", "terminate"]
    assert offered(operator, new_task()) == ["reschedule", "move", "prioritise", "cancel"]


def offered(client: Client, task: Task) -> list[str]:
    return [action.name for action in client.get(page_of(task)).context["fitting"]]


def test_a_tasks_page_asks_acts_and_comes_back(operator: Client) -> None:
    task = new_task(State.FAILED)
    path = page_of(task).replace("/change/", "/act/")
    assert "Run these tasks again?" in operator.post(path, {"action": "retry"}).content.decode()
    assert operator.post(path, {"action": "retry", "confirmed": "yes"})["Location"] == page_of(task)
    assert state_of(task) is State.READY
    done = new_task(State.SUCCEEDED)
    path = page_of(done).replace("/change/", "/act/")
    assert operator.post(path, {"action": "delete", "confirmed": "yes"})["Location"] == LIST


def test_a_group_of_failures_is_retried(operator: Client) -> None:
    group = [new_task(State.FAILED, name="shop.a") for _ in range(3)]
    other = new_task(State.FAILED, name="shop.b")
    page = operator.get("/admin/djqueue/taskresult/failures/")
    (key,) = [found.key for found in page.context["groups"] if found.name == "shop.a"]
    operator.post("/admin/djqueue/taskresult/failures/retry/", {"group": key, "span": "24h"})
    assert {state_of(task) for task in group} == {State.READY}
    assert state_of(other) is State.FAILED
    assert LogEntry.objects.count() == 3


# The log


def test_what_was_done_is_logged_for_each_task(operator: Client) -> None:
    tasks = [new_task(), new_task()]
    act(operator, "prioritise", *tasks)
    entries = LogEntry.objects.all()
    assert {entry.object_id for entry in entries} == {str(task.pk) for task in tasks}
    assert {entry.change_message for entry in entries} == {"prioritise(priority=7): 2 of 2 tasks"}
    assert "prioritise" in body(operator, page_of(tasks[0]).replace("/change/", "/history/"))


# Search


def test_tasks_are_found_by_what_their_arguments_contain(operator: Client) -> None:
    one = new_task(args=[1, {"city": "Berlin"}], kwargs={"order": 17, "nested": {"a": [1, 2]}})
    two = new_task(args=["x"], kwargs={"order": "17"}, options={"headers": {"tenant": "a"}})
    assert listed(operator, '?q={"order": 17}') == {one.pk}
    assert listed(operator, '?q={"nested": {"a": [2]}}') == {one.pk}
    assert listed(operator, '?q=[{"city": "Berlin"}]') == {one.pk}
    assert listed(operator, '?q=args:["x"]') == {two.pk}
    assert listed(operator, '?q=kwargs:{"order":"17"}') == {two.pk}
    assert listed(operator, '?q=headers:{"tenant": "a"}') == {two.pk}
    assert listed(operator, '?q={"order": 17}&state=failed') == set()


@pytest.mark.parametrize("term", ['{"order": ', "args:{}", "kwargs:[1]", '{"password": "x"}', '[{"api_token": 1}]'])
def test_what_cannot_be_searched_for_is_said(operator: Client, term: str) -> None:
    new_task(args=[{"api_token": 1}], kwargs={"password": "x"})
    response = operator.get(LIST, {"q": term})
    assert list(response.context["cl"].result_list) == []
    assert len(response.context["messages"]) == 1


def test_only_the_newest_are_looked_at_and_that_is_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "LOOKED_AT", 2)
    tasks = [new_task(kwargs={"a": 1}) for _ in range(4)]
    response = operator.get(LIST, {"q": '{"a": 1}'})
    assert {task.pk for task in response.context["cl"].result_list} == {task.pk for task in tasks[2:]}
    assert "newest 2 tasks" in str(next(iter(response.context["messages"])))


def test_what_no_index_answers_is_looked_for_among_the_newest(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "WALKED", 2)
    monkeypatch.setattr(filters, "LOOKED_AT", 2)
    ready = [new_task(queue="mail", name="shop.a") for _ in range(3)]
    failed = [new_task(State.FAILED, queue="mail", name="shop.a") for _ in range(3)]
    newest = {task.pk for task in failed[1:]}
    for query, words in (
        ("?queue=mail", "newest 2 tasks."),
        ("?q=shop.a", "newest 2 tasks."),
        ("?queue=mail&state=failed", "newest 2 tasks that are failed."),
    ):
        response = operator.get(LIST + query)
        assert {task.pk for task in response.context["cl"].result_list} == newest
        assert words in str(next(iter(response.context["messages"])))
    # The line has an index by queue.
    assert listed(operator, "?queue=mail&state=ready") == {task.pk for task in ready}


def test_filters_by_worker_and_age(operator: Client) -> None:
    running, ready = new_task(State.RUNNING), new_task()
    worker = RunningTask.objects.get(task=running).worker_id
    assert listed(operator, f"?worker={worker}") == {running.pk}
    assert listed(operator, "?enqueued=1h") == {running.pk, ready.pk}
    for wrong in ("?worker=x", "?worker=99999999999999999999", "?enqueued=1y"):
        assert operator.get(LIST + wrong).status_code == 302


# Queues


def queue_act(client: Client, queue: Queue, action: str, **given: str) -> Any:
    return client.post(page_of(queue).replace("/change/", "/act/"), {"action": action, "confirmed": "yes", **given})


def test_a_queue_is_paused_until_a_time_and_resumed(operator: Client) -> None:
    queue = Queue.objects.create(name="a/b:queue")
    response = operator.post(page_of(queue).replace("/change/", "/act/"), {"action": "pause"})
    assert "Workers start nothing from it until then" in response.content.decode()
    queue_act(operator, queue, "pause", until_0="2090-01-02", until_1="03:00")
    queue.refresh_from_db()
    assert queue.paused_until is not None
    assert queue.paused_until.year == 2090
    assert "Resume" in body(operator, page_of(queue))
    queue_act(operator, queue, "resume")
    queue.refresh_from_db()
    assert queue.paused_until is None
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")][1] == "Resumed."


def test_a_pause_that_has_ended_is_asked_again(operator: Client) -> None:
    queue = Queue.objects.create(name="mail")
    response = queue_act(operator, queue, "pause", until_0="2020-01-01", until_1="00:00")
    assert "Expected a time that lies ahead" in response.content.decode()


def test_purge_cancels_the_line_once_its_name_is_typed(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "BATCH", 2)
    queue = Queue.objects.create(name="mail")
    ready = [new_task(queue="mail", priority=number) for number in range(5)]
    chain(identity.s(1), identity.s()).apply_async(queue="mail")
    other, later, running = new_task(), scheduled(queue="mail"), new_task(State.RUNNING, queue="mail")
    assert "Expected mail, got: male" in queue_act(operator, queue, "purge", typed="male").content.decode()
    assert ReadyTask.objects.filter(queue="mail").count() == 6
    queue_act(operator, queue, "purge", typed="mail")
    assert {state_of(task) for task in ready} == {State.CANCELLED}
    assert not ReadyTask.objects.filter(queue="mail").exists()
    assert not WaitingTask.objects.exists()
    assert [state_of(task) for task in (other, later, running)] == [State.READY, State.SCHEDULED, State.RUNNING]
    assert check_invariants() == []
    assert LogEntry.objects.get().change_message == "Purged: 6 tasks cancelled."


@pytest.mark.parametrize(
    ("action", "codename"), [("pause", "pause_queue"), ("resume", "pause_queue"), ("purge", "purge_queue")]
)
def test_what_is_done_to_queues_has_permissions(staff: Callable[..., Client], action: str, codename: str) -> None:
    queue = Queue.objects.create(name="mail", paused_until=timezone.now() + timedelta(hours=1))
    other = "purge_queue" if codename == "pause_queue" else "pause_queue"
    assert queue_act(staff("view_queue", other), queue, action, typed="mail").status_code == 403
    assert queue_act(staff(codename), queue, action, typed="mail").status_code == 403
    assert not LogEntry.objects.exists()
