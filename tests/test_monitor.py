"""The monitor: what the dashboard, a task's page and the failures say, to whom, and how seldom they ask."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djqueue.admin import failures, filters
from djqueue.admin.actions import ACTIONS
from djqueue.admin.charts import Series, bars, chart, decades, lines, nice_top
from djqueue.admin.figures import SPANS, read_overview
from djqueue.admin.overview import read_queues
from djqueue.admin.paging import LISTED
from djqueue.admin.searching import LOOKED_AT, WALKED
from djqueue.admin.tracebacks import last_own_frame, parse
from djqueue.histogram import RUNS, step_of
from djqueue.models import Queue, ReadyTask, RunningTask, Statistic, Task, TaskAttempt, TaskResult
from djqueue.serializers import encode_error
from djqueue.states import Ending, State

from .test_admin import ERROR, HOSTILE, body, new_task, new_worker, page_of

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin/djqueue/statistic/"
LIVE = f"{DASHBOARD}live/"
FAILURES = "/admin/djqueue/taskresult/failures/"
EVERYTHING = ("statistic", "task", "taskresult", "taskattempt", "queue", "worker", "schedule")


@pytest.fixture
def client(viewer: Callable[..., Client]) -> Client:
    return viewer(*EVERYTHING)


def counted(ago: timedelta = timedelta(), *, resolution: int = 1, now: datetime | None = None, **values: Any) -> None:
    """Add a row of statistics; times are given as ``waits`` and ``runs`` in seconds."""
    steps = [step_of(s) for s in values.pop("waits", ())] + [RUNS + step_of(s) for s in values.pop("runs", ())]
    given = {"name": "shop.squeeze", "queue": "default", "steps": steps, "counts": [1] * len(steps), **values}
    Statistic.objects.create(at=(now or timezone.now()) - ago, resolution=resolution, **given)


# Figures


def test_rows_of_every_resolution_add_up_at_their_points() -> None:
    now = datetime(2026, 5, 4, 12, 34, 56, tzinfo=UTC)
    counted(timedelta(minutes=3), now=now, succeeded=2, failed=1, waits=[0.1, 0.1, 0.1], runs=[2, 2, 2])
    counted(timedelta(minutes=3), now=now, resolution=0, succeeded=5, queue="mail")
    counted(timedelta(hours=5), now=now, resolution=15, succeeded=10, retried=4)
    counted(timedelta(days=3), now=now, resolution=60, succeeded=100, lost=1, name="other")
    counted(timedelta(days=9), now=now, resolution=60, succeeded=1000)
    hour, day, week = (read_overview("default", SPANS[key], now) for key in ("1h", "24h", "7d"))
    assert [figures.total.succeeded for figures in (hour, day, week)] == [7, 17, 117]
    assert (week.total.failed, week.total.retried, week.total.lost) == (1, 4, 1)
    (busy,) = [number for number, point in enumerate(hour.points) if point.succeeded]
    assert hour.times[busy] == datetime(2026, 5, 4, 12, 31, tzinfo=UTC)
    assert hour.times[-1] == datetime(2026, 5, 4, 12, 34, tzinfo=UTC)
    assert hour.points[busy].wait(50) == pytest.approx(0.1, rel=0.2)
    assert hour.points[busy].run(95) == pytest.approx(2, rel=0.2)
    assert hour.total.failure_share == 1 / 8
    assert [name for name, _ in week.tasks] == ["shop.squeeze", "other"] or week.tasks[0][0] == "other"
    assert dict(week.tasks)["other"].succeeded == 100


def test_a_span_in_which_nothing_happened() -> None:
    overview = read_overview("default", SPANS["24h"])
    assert len(overview.points) == len(overview.times) == 96
    assert overview.total.failure_share is None
    assert overview.total.wait(95) is None


# Charts


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.1, 2), (7, 10), (10, 10), (4321, 5000), (99_999, 100_000)]
)
def test_the_edge_of_a_chart_is_a_round_number(highest: float, top: float) -> None:
    assert nice_top(highest) == pytest.approx(top)


@pytest.mark.parametrize(
    ("times", "ticks"),
    [
        ([], [0.01, 0.001]),
        ([0], [0.01, 0.001]),
        ([1], [10, 1]),
        ([0.2, 31.5], [100, 10, 1, 0.1]),
        ([0.02, 90], [100, 10, 1, 0.1, 0.01]),
        ([0.004, 90], [100, 1, 0.01, 0.0001]),
        ([0.004, 90000], [100_000, 1000, 10, 0.1, 0.001]),
    ],
)
def test_times_are_drawn_on_a_scale_of_powers_of_ten(times: list[float], ticks: list[float]) -> None:
    assert decades(times) == pytest.approx(ticks)


def test_a_chart_is_an_svg_that_says_its_numbers() -> None:
    series = [Series("failed", HOSTILE, [1, None, 3]), Series("lost", "lost", [1, 0, 0])]
    text = chart("t", series, bars, labels=["a", "b", "c"], shown=str, ticked=str, summary="4 in all")
    assert HOSTILE not in text
    svg = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + len("</svg>")])
    assert svg.attrib["aria-label"] == "4 in all"
    assert [title.text for title in svg.iter("title")][2] == f"c\n{HOSTILE}: 3\nlost: 0"
    # Stacked: what was lost stands on what has failed.
    assert "M0.1 60.00h0.8v20.00h-0.8z" in text


def test_a_line_is_broken_where_there_is_nothing() -> None:
    drawing, ticks = lines([Series("p50", "", [1.0, None, 0.1, 0.01, 0.01])])
    assert ticks == pytest.approx([1, 0.1, 0.01])
    assert 'd="M0.1 0.00H0.9M2.1 50.00H2.9L3.1 100.00H3.9L4.1 100.00H4.9"' in drawing


# The dashboard


def fill() -> None:
    counted(succeeded=3, failed=1, waits=[0.5], runs=[2.0])
    Queue.objects.create(name="default")
    Queue.objects.create(name="mail", paused_until=timezone.now() + timedelta(hours=1))
    new_task(queue="nobody", name="unserved")
    new_task(State.RUNNING)
    new_task(State.SCHEDULED)
    new_task(State.FAILED)


def test_the_dashboard_shows_what_there_is(client: Client) -> None:
    fill()
    text = body(client, DASHBOARD)
    for shown in ("w1@host", "TooSour: lemon", "nobody", "no worker has served it", "shop.squeeze", "every 5 s"):
        assert shown in text, shown
    assert text.count("<svg viewBox") == 4
    assert 'aria-current="true">1 hour' in text
    assert 'aria-current="true">7 days' in body(client, f"{DASHBOARD}?span=7d")


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("queue", "no worker has served it"),
        ("worker", "w1@host"),
        ("taskresult", "TooSour"),
        ("schedule", "Next sched"),
    ],
)
def test_the_dashboard_shows_nothing_of_what_one_may_not_view(
    viewer: Callable[..., Client], model: str, shown: str
) -> None:
    fill()
    assert shown not in body(viewer("statistic"), DASHBOARD)
    assert shown in body(viewer("statistic", model), DASHBOARD)
    # Names of tasks are no secret of the statistics, but lead nowhere.
    assert "shop.tasks.squeeze</a>" not in body(viewer("statistic"), DASHBOARD)


@pytest.mark.parametrize("url", [DASHBOARD, LIVE])
def test_without_permission_there_is_no_dashboard(viewer: Callable[..., Client], url: str) -> None:
    assert viewer("task").get(url).status_code == 403
    assert Client().get(url).status_code == 302


def test_the_live_part_is_sent_only_when_it_has_changed(client: Client) -> None:
    counted(succeeded=1)
    first = client.get(LIVE)
    assert "no-store" in first["Cache-Control"]
    again = client.get(LIVE, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    counted(succeeded=1)
    changed = client.get(LIVE, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]
    assert "<html" not in changed.content.decode()


def test_the_dashboard_says_what_needs_attention(client: Client) -> None:
    new_task()
    assert "no worker is alive" in body(client, DASHBOARD)
    new_worker()
    assert "no worker is alive" not in body(client, DASHBOARD)


def test_the_dashboard_counts_no_table(client: Client) -> None:
    fill()
    with CaptureQueriesContext(connection) as queries:
        body(client, DASHBOARD)
    ours = [query["sql"] for query in queries if "djqueue_" in query["sql"] and "auth_" not in query["sql"]]
    assert len(ours) <= 20
    for query in ours:
        assert "COUNT(*)" not in query, query


def test_the_apps_index_leads_to_the_dashboard(client: Client, viewer: Callable[..., Client]) -> None:
    assert f'href="{DASHBOARD}">Dashboard' in body(client, "/admin/djqueue/")
    assert DASHBOARD not in body(viewer("task"), "/admin/djqueue/")


# Tracebacks


def raise_from_a_library() -> BaseException:
    import json

    try:
        try:
            json.loads("{")
        except ValueError as error:
            raise LookupError("two\nlines") from error
    except LookupError as error:
        return error
    raise AssertionError


def test_a_traceback_tells_own_code_from_libraries_and_one_cause_from_another() -> None:
    import json

    text = json.loads(encode_error(raise_from_a_library()))["traceback"]
    first, second = parse(text)
    assert [frame.own for frame in first.frames] == [True, False, False, False]
    assert first.said.startswith("json.decoder.JSONDecodeError")
    assert first.link.startswith("The above exception")
    assert second.said == "LookupError: two\nlines"
    assert "tests/test_monitor.py:" in last_own_frame(text)
    assert last_own_frame(text).endswith(" raise_from_a_library")


@pytest.mark.parametrize(
    "text",
    [
        "", "[encrypted]", "no traceback", "Traceback (most recent call last):",
        "+ Exception Group Traceback (most recent call last):\n",
    ],
)  # fmt: skip
def test_what_is_no_traceback_is_shown_as_it_is(client: Client, text: str) -> None:
    task = new_task(State.FAILED)
    TaskResult.objects.filter(pk=task.pk).update(error={**ERROR, "traceback": f"{text}{HOSTILE}"})
    shown = body(client, page_of(task))
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown
    assert last_own_frame(text) == ""


# A task's page


def test_the_timeline_tells_a_tasks_life_in_order(client: Client) -> None:
    task = new_task(State.SUCCEEDED)
    began = task.created_at
    TaskAttempt.objects.create(
        task=task, attempt=1, outcome=Ending.RETRIED, worker="w0@host", error=ERROR,
        started_at=began + timedelta(seconds=5), finished_at=began + timedelta(seconds=7),
    )  # fmt: skip
    TaskResult.objects.filter(pk=task.pk).update(
        attempt=2, started_at=began + timedelta(minutes=1), finished_at=began + timedelta(seconds=63)
    )
    text = body(client, page_of(task))
    life = text[text.index('<ol class="djqueue-timeline">') :]
    places = [
        life.index(words)
        for words in (
            "enqueued in default", "attempt 1 began on w0@host", "+7.0 s", "retried: TooSour: lemon",
            "attempt 2 began on w1@host", "succeeded (3.0 s)",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_the_timeline_tells_no_more_than_one_may_view(viewer: Callable[..., Client]) -> None:
    task = new_task(State.FAILED)
    TaskAttempt.objects.create(
        task=task, attempt=1, outcome=Ending.LOST, worker="w0@host", error=ERROR, finished_at=timezone.now()
    )
    text = body(viewer("task"), page_of(task))
    assert "enqueued in default" in text
    assert "TooSour" not in text
    assert "w0@host" not in text


@pytest.mark.parametrize(
    ("meta", "bar"),
    [
        ({"current": 3, "total": 12}, '<progress value="25" max="100"'),
        ({"current": 30, "total": 12}, '<progress value="100" max="100"'),
        ({"current": "3", "total": 12}, None),
        ({"current": 3, "total": 0}, None),
        ([1, 2], None),
    ],
)
def test_progress_is_a_bar_where_it_is_a_part_of_a_whole(client: Client, meta: Any, bar: str | None) -> None:
    task = new_task(State.RUNNING)
    RunningTask.objects.filter(pk=task.pk).update(state="PROGRESS", meta=meta)
    text = body(client, page_of(task))
    assert "PROGRESS" in text
    assert bar in text if bar else "<progress" not in text


def test_a_workflow_is_drawn_with_links_to_its_steps(client: Client) -> None:
    first = new_task(State.SUCCEEDED, name="shop.first")
    workflow = {"workflow_id": first.pk, "root_id": first.pk}
    Task.objects.filter(pk=first.pk).update(workflow_id=first.pk)
    second = new_task(State.FAILED, name=f"shop.{HOSTILE}", parent_id=first.pk, **workflow)
    text = body(client, page_of(second))
    begin = text.index("<svg", text.index("djqueue-workflow"))
    picture = ElementTree.fromstring(text[begin : text.index("</svg>", begin) + len("</svg>")])
    links = [one.attrib["href"] for one in picture.iter("{http://www.w3.org/2000/svg}a")]
    assert links == [page_of(first), page_of(second)]
    assert HOSTILE not in text
    assert "djqueue-workflow" not in body(client, page_of(new_task()))


# Failures


def failed(name: str, ago: float = 0, **error: Any) -> Task:
    task = new_task(State.FAILED, name=name)
    TaskResult.objects.filter(pk=task.pk).update(
        error={**ERROR, **error}, finished_at=timezone.now() - timedelta(minutes=ago)
    )
    return task


def test_failures_are_grouped_by_task_exception_and_own_line(client: Client) -> None:
    for number in range(3):
        failed("shop.a", ago=number, exc_message=[f"lemon {number}"])
    failed("shop.a", exc_type="Other")
    failed("shop.a", traceback=ERROR["traceback"].replace("line 3", "line 9"))
    failed("shop.b")
    failed("shop.old", ago=3 * 1440)
    groups = client.get(FAILURES).context["groups"]
    assert (groups[0].name, groups[0].exception, groups[0].count) == ("shop.a", "TooSour", 3)
    assert sorted(group.count for group in groups) == [1, 1, 1, 3]
    assert groups[0].frame == "shop/tasks.py:3 squeeze"
    assert groups[0].message == "TooSour: lemon 0"
    assert groups[0].last - groups[0].first > timedelta(minutes=1)
    assert len(client.get(f"{FAILURES}?span=7d").context["groups"]) == 5


def test_failures_are_for_those_who_may_view_results(viewer: Callable[..., Client]) -> None:
    assert viewer("task").get(FAILURES).status_code == 403
    failed("shop.a")
    assert "Retry" not in body(viewer("taskresult"), FAILURES)


def test_queues_are_found_where_no_worker_was() -> None:
    """The walk over the line's key yields each queue once."""
    for queue in ("a", "b", "b", "c"):
        new_task(queue=queue, priority=5)
        new_task(queue=queue)
    assert ReadyTask.objects.count() == 8
    assert [(queue.name, queue.line.ready, queue.known) for queue in read_queues("default")] == [
        ("a", 2, False),
        ("b", 4, False),
        ("c", 2, False),
    ]


# The page about all this


def test_the_examples_of_its_page_run() -> None:
    counted(succeeded=1, failed=2)
    text = (Path(__file__).parent.parent / "docs/monitor.md").read_text(encoding="utf-8")
    example, forms = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(forms, {})
    names: dict[str, Any] = {}
    *setup, expression = example.strip().split("\n")
    exec("\n".join(setup), names)
    assert list(eval(expression, names)) == [{"name": "shop.squeeze", "failed": 2}]


def test_its_page_names_every_action_and_bound() -> None:
    text = (Path(__file__).parent.parent / "docs/monitor.md").read_text(encoding="utf-8")
    for action in ACTIONS.values():
        states = [state.name.lower() for state in sorted(action.states)]
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {action.title} |")]
        assert action.permission.removeprefix("djqueue.") in row
        if not {"finished", "not finished"} & set(row.split(" | ")):
            assert all(state in row for state in states), row
    for number in (LOOKED_AT, WALKED, filters.LOOKED_AT, LISTED, failures.LOOKED_AT):
        assert f"{number:,}" in text
