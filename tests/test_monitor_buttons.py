"""Every button of the monitor, pressed in a real browser; ``visit`` sees to it that the console stays empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from djqueue import chain
from djqueue.admin.actions import ACTIONS
from djqueue.models import (
    CancelledTask,
    Exchange,
    Pause,
    Queue,
    RateLimit,
    ReadyTask,
    Statistic,
    Task,
    TaskLog,
    TaskResult,
    Worker,
)
from djqueue.models.schedules import Schedule
from djqueue.states import State

from .browsing import choose, photograph, press, told, until, write
from .site.form_tasks import many_kinds, says
from .site.tasks import add, fails
from .test_admin import new_task, page_of
from .test_monitor import FAILURES
from .test_monitor_actions import FORMS, state_of
from .worker_process import Workers, eventually, stored

pytestmark = pytest.mark.django_db(transaction=True)

Visit = Callable[[str], Any]
ADMIN = "/admin/djqueue/"
TASKS = f"{ADMIN}task/"
SURE = "Yes, I\N{RIGHT SINGLE QUOTATION MARK}m sure"


def text_of(page: Any, selector: str = "#content") -> str:
    from selenium.webdriver.common.by import By

    return " ".join(str(found.text) for found in page.find_elements(By.CSS_SELECTOR, selector))


# Tasks


@pytest.mark.parametrize(
    ("action", "state", "said", "then"),
    [
        ("retry", State.FAILED, "back in line", State.READY),
        ("run", State.SCHEDULED, "in line now", State.READY),
        ("reschedule", State.READY, "rescheduled", State.SCHEDULED),
        ("move", State.READY, "moved", State.READY),
        ("prioritise", State.SCHEDULED, "of another priority now", State.SCHEDULED),
        ("cancel", State.READY, "cancelled, or asked to end", State.CANCELLED),
        ("terminate", State.RUNNING, "being terminated", State.RUNNING),
        ("delete", State.SUCCEEDED, "deleted", None),
    ],
)
def test_an_action_on_what_is_ticked_and_on_one_task(
    visit: Visit, action: str, state: State, said: str, then: State | None
) -> None:
    """From the list for two, and from its own page for a third."""
    tasks = [new_task(state) for _ in range(2)]
    title = str(ACTIONS[action].title)
    page = visit(f"{TASKS}?state={state.name.lower()}")
    choose(page, action)
    assert "2 tasks" in text_of(page)
    photograph(page, f"confirm-{action}")
    if action in FORMS:
        write(page, **FORMS[action])
    press(page, title)
    assert told(page, f"2 tasks are {said}.")

    tasks.append(new_task(state))
    page = visit(page_of(tasks[-1]))
    press(page, title)
    if action in FORMS:
        write(page, **FORMS[action])
    press(page, title)
    assert told(page, f"1 task is {said}.")
    stand = {state_of(task) for task in Task.objects.all()}
    assert stand == (set() if then is None else {then})
    if action == "move":
        assert set(Task.objects.values_list("queue", flat=True)) == {"other"}
    if action == "prioritise":
        assert set(Task.objects.values_list("priority", flat=True)) == {7}
    if action == "terminate":
        assert list(CancelledTask.objects.values_list("terminate", flat=True)) == [True] * 3


def test_an_action_on_all_that_match(visit: Visit) -> None:
    for number in range(101):
        new_task(args=[number])
    new_task(queue="other")
    page = visit(f"{TASKS}?state=ready&queue=default")
    choose(page, "cancel", everything=True)
    assert "101 tasks" in text_of(page)
    press(page, "Go back")
    assert ReadyTask.objects.count() == 102
    choose(page, "cancel", everything=True)
    press(page, "Cancel")
    assert told(page, "101 tasks are cancelled")
    assert [row.queue for row in ReadyTask.objects.all()] == ["other"]


def test_a_task_is_enqueued_by_hand_and_tells_what_it_logged(visit: Visit, workers: Workers) -> None:
    workers.start("-c", "1", CAPTURE_LOGS="INFO", IMPORTS=["tests.site.form_tasks"])
    page = visit(TASKS)
    press(page, "Enqueue a task")
    press(page, many_kinds.name)
    write(page, arg_number="3", arg_text="t", arg_when="2030-01-02T03:04:05+00:00", arg_items="[1,")
    press(page, "Enqueue")
    assert "This is no JSON" in text_of(page, ".errorlist")
    photograph(page, "enqueue-error")
    write(page, arg_items="[1]", arg_when="soon")
    press(page, "Enqueue")
    assert "argument when of task" in text_of(page, ".errorlist")
    write(page, arg_when="2030-01-02T03:04:05+00:00", arg_loud="true", priority="5")
    press(page, "Enqueue")
    assert told(page, f"{many_kinds.name} is enqueued.")
    assert Task.objects.get().priority == 5
    press(visit(f"{TASKS}enqueue/"), says.name)
    write(page, arg_words="hello <b>")
    press(page, "Enqueue")
    task = Task.objects.get(name=says.name)
    eventually(lambda: TaskLog.objects.filter(task_id=task.pk).exists(), what="its log")
    page.refresh()
    assert "plain hello <b>" in text_of(page, ".field-logs")
    assert "own hello <b>" in text_of(page, ".field-logs")


def test_what_failed_is_retried_in_a_group_and_in_a_workflow(visit: Visit, workers: Workers) -> None:
    workers.start("-c", "1", "-Q", "failing")
    result = chain(fails.s("first").set(queue="failing"), add.si(1, 2)).apply_async()
    stored(result)
    page = visit(f"{TASKS}workflows/")
    press(page, "Retry the failed part")
    assert told(page, "1 task is back in line.")
    first = Task.objects.get(name=fails.name)
    eventually(lambda: TaskResult.objects.filter(task=first).exists(), what="that it fails again")
    stored(result)
    for _ in range(2):
        new_task(State.FAILED)
    page = visit(FAILURES)
    photograph(page, "failures-few")
    press(page, "Retry all 2")
    assert told(page, "2 tasks are back in line.")
    assert ReadyTask.objects.filter(queue="default").count() == 2


# Workers


def test_a_worker_obeys(visit: Visit, workers: Workers) -> None:
    process = workers.run("-c", "1", "-n", "one@host")
    worker = Worker.objects.get()
    page = visit(page_of(worker))

    def order(title: str, answer: str, **given: str) -> None:
        press(page, title)
        write(page, **given)
        press(page, title)
        assert told(page, f"one@host: {answer}")

    order("Grow", "3 executors", number="2")
    eventually(lambda: len(process.executors()) == 3, what="executors")
    order("Shrink", "1 executors", number="2")
    press(page, "Grow")
    write(page, number="")
    page.execute_script("document.querySelector('.djqueue-confirm').noValidate = true")
    press(page, "Grow")
    assert "This field is required" in text_of(page, ".errorlist")
    press(page, "Go back")
    order("Quiet", "claims nothing more")
    eventually(lambda: Worker.objects.get().draining, what="a heartbeat that says so")
    page.refresh()
    assert "draining" in text_of(page, ".field-lease")
    order("Go on", "claims again")
    eventually(lambda: not Worker.objects.get().draining, what="a heartbeat that says so")
    order("Stop", "shutting down")
    assert process.wait() == 0


# Queues, limits, pauses, exchanges


def test_a_queue_is_paused_resumed_and_purged(visit: Visit) -> None:
    queue = Queue.objects.create(name="mail")
    new_task(queue="mail")
    page = visit(page_of(queue))
    press(page, "Pause")
    photograph(page, "pause")
    write(page, until_0="2001-01-01")
    press(page, "Pause")
    assert "Expected a time that lies ahead." in text_of(page, ".errorlist")
    write(page, until_0="2090-01-02", until_1="03:04:05")
    press(page, "Pause")
    assert told(page, "mail is paused.")
    assert "2090-01-02" in text_of(page, ".field-paused")
    press(page, "Resume")
    press(page, "Resume")
    assert told(page, "mail goes on.")
    queue.refresh_from_db()
    assert queue.paused_until is None or queue.paused_until <= timezone.now()
    press(page, "Purge")
    photograph(page, "purge")
    write(page, typed="male")
    press(page, "Purge")
    assert "Expected mail, got: male" in text_of(page, ".errorlist")
    assert ReadyTask.objects.count() == 1
    write(page, typed="mail")
    press(page, "Purge")
    assert told(page, "1 task of mail is cancelled")
    assert not ReadyTask.objects.exists()
    assert Statistic.objects.get().cancelled == 1


def test_a_rate_limit_is_set_changed_and_deleted(visit: Visit) -> None:
    page = visit(f"{ADMIN}ratelimit/add/")
    write(page, kind="2", name="mail", rate="ten")
    press(page, "Save")
    assert "ten" in text_of(page, ".errorlist")
    write(page, rate="10/m")
    press(page, "Save")
    assert told(page, "was added successfully")
    limit = RateLimit.objects.get()
    page = visit(page_of(limit))
    write(page, rate="20/s")
    press(page, "Save")
    assert told(page, "was changed successfully")
    limit.refresh_from_db()
    assert limit.per_second == 20
    page = visit(f"{ADMIN}ratelimit/?kind__exact=2")
    choose(page, "delete_selected")
    press(page, SURE)
    assert told(page, "Successfully deleted 1 rate limit")
    assert not RateLimit.objects.exists()


def test_a_task_and_a_key_are_paused_and_resumed(visit: Visit) -> None:
    page = visit(f"{ADMIN}pause/add/")
    write(page, kind="task", name="shop.squeeze", until_0="2001-01-01", until_1="00:00")
    press(page, "Save")
    assert "This time has passed." in text_of(page, ".errorlist")
    write(page, until_0="", until_1="")
    press(page, "Save")
    assert told(page, "was added successfully")
    page = visit(page_of(Pause.objects.get()))
    assert "it is resumed" in text_of(page, ".field-ends")
    press(page, "Delete")
    press(page, SURE)
    assert told(page, "was deleted successfully")
    assert not Pause.objects.exists()


def test_an_exchange_gets_a_binding(visit: Visit) -> None:
    page = visit(f"{ADMIN}exchange/add/")
    write(page, name="orders", kind="topic")
    write(page, **{"bindings-0-routing_key": "order.*.paid", "bindings-0-queue": "mail"})
    press(page, "Save")
    assert told(page, "was added successfully")
    assert Exchange.objects.get().bindings.get().queue == "mail"


# Schedules


def test_schedules_are_switched_and_run_from_the_list(visit: Visit) -> None:
    names = ("clean up", "report")
    made = [Schedule.objects.create(name=name, task=add.name, args=[1, 2], expression="0 4 * * *") for name in names]
    page = visit(f"{ADMIN}schedule/")

    def enabled() -> list[bool]:
        return list(Schedule.objects.values_list("enabled", flat=True))

    choose(page, "disable")
    assert told(page, "2 ")
    assert enabled() == [False, False]
    choose(page, "enable")
    until(page, lambda: enabled() == [True, True])
    choose(page, "run")
    assert told(page, "enqueued as")
    assert Task.objects.filter(name=add.name).count() == len(made)


def test_a_schedule_is_changed_while_the_page_says_what_it_means(visit: Visit) -> None:
    schedule = Schedule.objects.create(name="clean up", task=add.name, args=[1, 2], expression="0 4 * * *")
    page = visit(page_of(schedule))
    until(page, lambda: text_of(page, "#djqueue-preview .djqueue-words") == "at 04:00")
    write(page, expression="0 25 * * *")
    until(page, lambda: "expected hour to be 0 to 23" in text_of(page, ".field-expression .errorlist"))
    write(page, expression="0 5 * * *")
    until(page, lambda: text_of(page, "#djqueue-preview .djqueue-words") == "at 05:00")
    press(page, "Save")
    assert told(page, "was changed successfully")
    schedule.refresh_from_db()
    assert schedule.expression == "0 5 * * *"
