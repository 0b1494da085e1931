"""What the monitor says of lines, and that it reads no line to its end for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from djqueue.admin.filters import ids_of_newest, newest_in_line, one_of
from djqueue.admin.lines import read_lines
from djqueue.models import ParkedTask, Queue, RateLimit, ReadyTask, Task
from djqueue.routing import front_of
from djqueue.states import State
from djqueue.store.gates import SEPARATOR
from djqueue.store.lines import queue_lines

from . import rows_read
from .test_admin import new_task, new_tasks

pytestmark = pytest.mark.django_db(transaction=True)

IN_LINE, A_FEW = 10_000, 1_000
IDLE = [f"idle{number}" for number in range(20)]


@pytest.fixture(params=rows_read.STATISTICS)
def most(request: pytest.FixtureRequest) -> int:
    """One long line, beside queues that are empty; return the most rows that may be read."""
    with rows_read.statistics(request.param, rows_read.execute):
        new_tasks(IN_LINE)
        Queue.objects.bulk_create(Queue(name=name) for name in ("default", *IDLE))
    return A_FEW


def newest(number: int) -> list[Task]:
    return list(Task.objects.filter(one_of(ids_of_newest(State.READY, number))).order_by("-pk"))


def test_empty_queues_beside_a_long_line_cost_nothing(most: int) -> None:
    lines = read_lines("default", ["default", *IDLE], 100)
    assert (lines["default"].ready, {lines[name].ready for name in IDLE}) == (101, {0})
    assert rows_read.by_call(lambda: read_lines("default", ["default", *IDLE], 100)) < most


def test_nor_do_they_where_queues_are_listed(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("djqueue.store.lines.COUNTED", 100)
    with connection.cursor() as cursor:
        assert {line.name: line.ready for line in queue_lines(cursor)} == {"default": 100, **dict.fromkeys(IDLE, 0)}
        assert rows_read.by_call(lambda: queue_lines(cursor)) < most


def test_the_newest_in_line_are_read_from_its_end(most: int) -> None:
    assert [task.pk for task in newest(100)] == list(Task.objects.order_by("-pk").values_list("pk", flat=True)[:100])
    assert rows_read.by_call(lambda: newest(100)) < most


def test_the_newest_of_one_queue_are_read_from_the_end_of_its_line(most: int) -> None:
    few = [new_task(queue=queue) for queue in ("mail", front_of("mail"), "other")]

    def newest_of(*queues: str) -> list[Task]:
        return list(Task.objects.filter(one_of(newest_in_line(100, list(queues)))))

    assert set(newest_of("mail", front_of("mail"))) == set(few[:2])
    assert rows_read.by_call(lambda: newest_of("mail", front_of("mail"))) < most
    assert len(newest_of("default")) == 100
    assert rows_read.by_call(lambda: newest_of("default")) < most


def test_what_limits_hold_back_is_counted_in_one_statement(staff: Callable[..., Client]) -> None:
    RateLimit.objects.bulk_create(RateLimit(kind=2, name=f"queue{n}", per_second=1) for n in range(30))
    RateLimit.objects.create(kind=1, name="queue1", per_second=1)
    for number in range(3):
        gate = f"queue queue1{SEPARATOR}{number}"
        ParkedTask.objects.create(gate=gate, rank=0, task=Task.objects.create(name="x", queue="queue1"), attempt=0)
    client = staff("view_ratelimit")
    with CaptureQueriesContext(connection) as queries:
        rows = client.get("/admin/djqueue/ratelimit/").context["cl"].result_list
    assert {(limit.kind, limit.name): limit.held_back for limit in rows if limit.held_back} == {(2, "queue1"): 3}
    assert len([query for query in queries if "djqueue_parkedtask" in query["sql"]]) == 1


def test_the_newest_in_line_are_those_of_all_lanes() -> None:
    tasks = [new_task(queue=queue, priority=priority) for queue in "ba" for priority in (5, -5) for _ in range(3)]
    front = new_task(queue="b")
    ReadyTask.objects.filter(task=front).delete()
    ReadyTask.objects.create(queue=front_of("b"), priority=0, task=front, attempt=1)
    assert newest(4) == [front, *tasks[:-4:-1]]
    assert newest(100) == [front, *tasks[::-1]]
    ReadyTask.objects.all().delete()
    assert newest(4) == []


def test_the_front_of_a_line_counts_with_it() -> None:
    new_task(queue="mail")
    front = new_task(queue="mail")
    ReadyTask.objects.filter(task=front).update(queue=front_of("mail"))
    assert read_lines("default", ["mail"], 10)["mail"].ready == 2
    assert read_lines("default", ["mail"], 0)["mail"].ready == 1
