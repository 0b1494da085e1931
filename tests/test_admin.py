"""The admin pages: who may see them, what they show, that they change nothing, and what they cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.utils import flatten_fieldsets
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djqueue.admin import filters, lines, paging, queues
from djqueue.admin.display import duration
from djqueue.admin.tasks import TaskAdmin
from djqueue.models import (
    Queue,
    ReadyTask,
    RunningTask,
    Schedule,
    ScheduledTask,
    Task,
    TaskAttempt,
    TaskResult,
    Worker,
)
from djqueue.states import Ending, ScheduleReason, State

from . import rows_read

pytestmark = pytest.mark.django_db

MODELS = ("task", "taskresult", "queue", "worker")
LISTS = [f"/admin/djqueue/{model}/" for model in MODELS]
HOSTILE = "<script>alert(1)</script>"
ERROR = {
    "exc_type": "TooSour",
    "exc_message": ["lemon"],
    "exc_module": "shop.tasks",
    "traceback": 'Traceback (most recent call last):\n  File "shop/tasks.py", line 3, in squeeze\nTooSour: lemon\n',
}


def new_worker(name: str = "w1@host", *, silent: float = 0, lease: float = 20) -> Worker:
    now = timezone.now()
    return Worker.objects.create(
        name=name, host="host", pid=7, queues="*", pool="processes", concurrency=4, version="1.2.3",
        heartbeat_at=now - timedelta(seconds=silent), lease_until=now + timedelta(seconds=lease),
    )  # fmt: skip


def new_task(state: State = State.READY, **values: Any) -> Task:
    """Insert a task that stands in ``state``."""
    task = Task.objects.create(**{"name": "shop.tasks.squeeze", "queue": "default", **values})
    now = timezone.now()
    match state:
        case State.READY:
            ReadyTask.objects.create(queue=task.queue, priority=task.priority, task=task)
        case State.SCHEDULED:
            ScheduledTask.objects.create(
                run_at=now + timedelta(hours=1), task=task, attempt=2, reason=ScheduleReason.RETRY
            )
        case State.RUNNING:
            RunningTask.objects.create(task=task, attempt=1, worker=new_worker(), claimed_at=now)
        case _:
            TaskResult.objects.create(
                task=task, state=state, attempt=3, worker="w1@host",
                value={"juice": 12} if state is State.SUCCEEDED else None,
                error=ERROR if state is State.FAILED else None,
                started_at=now - timedelta(seconds=2), finished_at=now,
            )  # fmt: skip
    return task


@pytest.fixture
def client(viewer: Callable[..., Client]) -> Client:
    return viewer(*MODELS, "taskattempt")


def page_of(row: Any) -> str:
    from django.contrib.admin.utils import quote

    return f"/admin/djqueue/{row._meta.model_name}/{quote(str(row.pk))}/change/"


def body(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


def listed(client: Client, query: str = "") -> set[Any]:
    """Return the keys of the tasks that the list shows."""
    response = client.get(f"/admin/djqueue/task/{query}")
    assert response.status_code == 200, response
    return {task.pk for task in response.context["cl"].result_list}


# Who may see what


@pytest.mark.parametrize("url", LISTS)
def test_without_permission_a_list_is_refused(viewer: Callable[..., Client], url: str) -> None:
    assert viewer().get(url).status_code == 403


@pytest.mark.parametrize("model", MODELS)
def test_a_permission_opens_its_own_list_only(viewer: Callable[..., Client], model: str) -> None:
    client = viewer(model)
    assert [other for other in MODELS if client.get(f"/admin/djqueue/{other}/").status_code == 200] == [model]


def test_without_permission_a_page_is_refused(viewer: Callable[..., Client]) -> None:
    task = new_task(State.FAILED)
    assert viewer().get(page_of(task)).status_code == 403
    assert viewer("task").get(page_of(task.result)).status_code == 403


def test_results_and_attempts_are_hidden_from_who_may_view_only_tasks(viewer: Callable[..., Client]) -> None:
    task = new_task(State.FAILED)
    assert "TooSour" not in body(viewer("task"), page_of(task))
    assert "TooSour" in body(viewer("task", "taskresult"), page_of(task))


@pytest.mark.parametrize("model", MODELS)
def test_nobody_may_add_change_or_delete(admin_client: Client, model: str) -> None:
    row = {
        "task": lambda: new_task(),
        "taskresult": lambda: new_task(State.SUCCEEDED).result,
        "queue": lambda: Queue.objects.create(name="mail"),
        "worker": new_worker,
    }[model]()
    page = page_of(row)
    assert admin_client.get(f"/admin/djqueue/{model}/add/").status_code == 403
    assert admin_client.post(page, {"name": "other"}).status_code == 403
    assert admin_client.post(page.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()
    # What can be done to tasks is in test_monitor_actions.py.
    assert ('name="action"' in body(admin_client, f"/admin/djqueue/{model}/")) == (model == "task")


# What they show


@pytest.mark.parametrize("state", [state for state in State if state is not State.WAITING])
def test_the_list_says_where_each_task_stands_and_filters_by_it(client: Client, state: State) -> None:
    task = new_task(state)
    others = {new_task(other).pk for other in State if other not in (state, State.WAITING)}
    word = state.name.lower()
    assert listed(client) == {task.pk, *others}
    assert listed(client, f"?state={word}") == {task.pk}
    assert re.search(rf'field-state">.*{word}</span></td>', body(client, f"/admin/djqueue/task/?state={word}"))


def test_filters_and_search_narrow_each_other(client: Client) -> None:
    new_task(State.READY, queue="default")
    mail = new_task(State.READY, queue="mail")
    sent = new_task(State.SUCCEEDED, queue="mail")
    other = new_task(State.READY, queue="mail", name="shop.tasks.peel")
    assert listed(client, "?queue=mail") == {mail.pk, sent.pk, other.pk}
    assert listed(client, "?queue=mail&state=ready") == {mail.pk, other.pk}
    assert listed(client, "?queue=mail&state=ready&q=shop.tasks.peel") == {other.pk}
    assert listed(client, "?queue=nowhere") == set()


def test_search_finds_whole_ids_and_whole_names(client: Client) -> None:
    task = new_task()
    assert listed(client, f"?q={task.pk}") == {task.pk}
    assert listed(client, f"?q=%20{task.pk.hex.upper()}%20") == {task.pk}
    assert listed(client, "?q=shop.tasks.squeeze") == {task.pk}
    assert listed(client, "?q=squeeze") == set()
    assert listed(client, f"?q={uuid4()}") == set()
    result = new_task(State.SUCCEEDED).result
    found = client.get(f"/admin/djqueue/taskresult/?q={result.pk}").context["cl"]
    assert [row.pk for row in found.result_list] == [result.pk]
    assert "No results" not in body(client, f"/admin/djqueue/taskresult/?q={result.pk}")
    assert client.get("/admin/djqueue/taskresult/?q=squeeze").context["cl"].result_count == 0


def test_an_unknown_state_is_an_incorrect_parameter(client: Client) -> None:
    response = client.get("/admin/djqueue/task/?state=tired")
    assert (response.status_code, response["Location"]) == (302, "/admin/djqueue/task/?e=1")


def test_the_queue_filter_offers_known_queues_and_takes_any(client: Client) -> None:
    Queue.objects.create(name="mail")
    task = new_task(queue="unheard")
    assert "?queue=mail" in body(client, "/admin/djqueue/task/")
    assert listed(client, "?queue=unheard") == {task.pk}


def test_the_task_page_shows_every_field() -> None:
    shown = set(flatten_fieldsets(TaskAdmin.fieldsets))
    own_words = {
        "pretty_args": "args",
        "pretty_kwargs": "kwargs",
        "pretty_options": "options",
        "created": "created_at",
        "expires": "expires_at",
        "parent": "parent_id",
        "root": "root_id",
    }
    shown = {own_words.get(field, field) for field in shown}
    assert {field.name for field in Task._meta.concrete_fields} - shown == set()


def test_the_task_page_shows_what_was_asked(client: Client) -> None:
    parent = new_task()
    task = new_task(
        args=[1, {"fruit": "Zitrone", "größe": 2**70}], kwargs={"dry": True}, options={"ignore_result": True},
        parent_id=parent.pk,
    )  # fmt: skip
    page = body(client, page_of(task))
    for part in ("größe", str(2**70), "&quot;dry&quot;: true", "ignore_result"):
        assert part in page
    assert page_of(parent) in page
    assert "in line in queue default with priority 0" in page


def test_the_task_page_shows_its_place(client: Client) -> None:
    scheduled, running = new_task(State.SCHEDULED), new_task(State.RUNNING)
    run_at = timezone.localtime(scheduled.scheduled.run_at).strftime("%Y-%m-%d %H:%M:%S")
    assert f"due at {run_at} (before its next attempt)" in body(client, page_of(scheduled))
    assert "held by worker w1@host since" in body(client, page_of(running))


def test_a_running_task_whose_worker_has_no_row_can_still_be_seen(client: Client) -> None:
    task = new_task(State.RUNNING)
    Worker.objects.all().delete()
    assert f"held by worker #{task.running.worker_id} since" in body(client, page_of(task))


def test_the_task_page_shows_value_error_and_attempts(client: Client) -> None:
    assert "&quot;juice&quot;: 12" in body(client, page_of(new_task(State.SUCCEEDED)))
    failed = new_task(State.FAILED)
    for number, outcome in enumerate((Ending.LOST, Ending.RETRIED, Ending.FAILED), start=1):
        TaskAttempt.objects.create(
            task=failed, attempt=number, outcome=outcome, worker=f"w{number}", error=ERROR,
            started_at=timezone.now(), finished_at=timezone.now(),
        )  # fmt: skip
    page = body(client, page_of(failed))
    assert "<strong>TooSour: lemon</strong>" in page
    # The attempt that is the task's result is shown as such only.
    assert page.count("shop/tasks.py:3</code> <strong>squeeze") == 3
    assert page.index("attempt 2: <strong>retried</strong> · w2") < page.index("attempt 1: <strong>lost</strong> · w1")


def test_the_attempt_comes_from_where_the_task_stands(client: Client) -> None:
    fresh, finished, retried = new_task(), new_task(State.FAILED), new_task()
    TaskAttempt.objects.create(
        task=retried, attempt=4, outcome=Ending.FAILED, worker="w", error=ERROR, finished_at=timezone.now()
    )
    attempts = {t.pk: t.attempt for t in client.get("/admin/djqueue/task/").context["cl"].result_list}
    assert attempts == {fresh.pk: 0, finished.pk: 3, retried.pk: 4}


def test_a_long_value_is_cut(client: Client) -> None:
    task = new_task(args=["x" * 60_000])
    page = body(client, page_of(task))
    assert "more characters" in page
    assert page.count("x") < 60_000


def test_the_result_list_shows_waiting_and_running_times(client: Client) -> None:
    task = new_task(State.SUCCEEDED)
    Task.objects.filter(pk=task.pk).update(created_at=task.result.started_at - timedelta(minutes=5))
    page = body(client, "/admin/djqueue/taskresult/")
    assert "5 min 0 s" in page
    assert "2.0 s" in page
    assert "shop.tasks.squeeze" in page
    assert "&quot;juice&quot;: 12" in body(client, page_of(task.result))


def test_a_result_without_its_task_is_still_listed(client: Client) -> None:
    result = new_task(State.SUCCEEDED).result
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM djqueue_task")
    assert str(result.pk) in body(client, "/admin/djqueue/taskresult/")
    assert body(client, page_of(result))


def test_workers_are_alive_late_or_lost(client: Client) -> None:
    new_worker("a-alive@host")
    new_worker("b-late@host", silent=90)
    lost = new_worker("c-lost@host", silent=90, lease=-70)
    page = body(client, "/admin/djqueue/worker/")
    words = re.findall(r'<td class="field-lease">.*?</span> (\w+)</span></td>', page)
    assert words == ["alive", "late", "lost"]
    assert "1 min 30 s ago" in page
    assert "1.2.3" in body(client, page_of(lost))


def test_counts_have_their_thousands_apart(staff: Callable[..., Client]) -> None:
    client = staff("view_worker", "view_schedule")
    worker = new_worker()
    Worker.objects.update(succeeded=7654321, failed=1234)
    for url in ("/admin/djqueue/worker/", "/admin/djqueue/worker/?o=-6", page_of(worker)):
        assert {"7,654,321", "1,234"} <= set(re.findall(r">([\d,]+)<", body(client, url))), url
    schedule = Schedule.objects.create(name="often", task="x", kind="interval", every=timedelta(days=1))
    Schedule.objects.update(total_runs=12345, total_skipped=2345)
    assert ">12,345<" in body(client, "/admin/djqueue/schedule/")
    assert {"12,345", "2,345"} <= set(re.findall(r">([\d,]+)<", body(client, page_of(schedule))))


def test_the_worker_page_lists_what_it_holds(client: Client) -> None:
    task = new_task(State.RUNNING)
    assert page_of(task) in body(client, page_of(task.running.worker))


def test_the_queue_list_counts_its_line(client: Client) -> None:
    queue = Queue.objects.create(name="a/b:c")
    Queue.objects.create(name="empty")
    for priority in (5, -5):
        new_task(queue="a/b:c", priority=priority, created_at=timezone.now() - timedelta(minutes=10 + priority))
    new_task(State.RUNNING, queue="a/b:c")
    page = body(client, "/admin/djqueue/queue/")
    rows = re.findall(r"<tr>(<th class=\"field-name\">.*?)</tr>", page)
    cells = [re.findall(r">([^<]+)</", row) for row in rows]
    assert [row[:4] + row[5:] for row in cells] == [["a/b:c", "-", "-", "2", "1"], ["empty", "-", "-", "0", "0"]]
    assert [row[4].partition(" min")[0] for row in cells] == ["15", "-"]
    assert "15 min" in body(client, page_of(queue))


def test_a_long_line_is_not_counted_to_its_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "COUNTED", 3)
    monkeypatch.setattr(queues, "COUNTED", 3)
    Queue.objects.create(name="default")
    for _ in range(5):
        new_task()
    assert ">3+<" in body(client, "/admin/djqueue/queue/")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (1.26, "1.3 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (180000, "2 d 2 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


# What they never contain


def hostile_pages() -> Iterator[str]:
    worker = new_worker(HOSTILE)
    error = {key: HOSTILE if key != "exc_message" else [HOSTILE] for key in ERROR}
    finished = new_task(
        State.FAILED, name=HOSTILE, queue=HOSTILE, args=[HOSTILE], kwargs={HOSTILE: HOSTILE},
        options={"headers": HOSTILE},
    )  # fmt: skip
    TaskResult.objects.update(error=error, worker=HOSTILE)
    TaskAttempt.objects.create(
        task=finished,
        attempt=1,
        outcome=Ending.FAILED,
        worker=HOSTILE,
        error=error,
        finished_at=timezone.now(),
    )
    running = new_task(State.RUNNING)
    RunningTask.objects.update(worker=worker)
    queue = Queue.objects.create(name=HOSTILE)
    new_task(State.SUCCEEDED)
    TaskResult.objects.filter(state=State.SUCCEEDED).update(value=HOSTILE)
    yield from LISTS
    for row in (worker, finished, finished.result, running, queue, *TaskResult.objects.all()):
        yield page_of(row)


def test_whatever_users_store_is_escaped(client: Client) -> None:
    for url in hostile_pages():
        page = body(client, url)
        assert HOSTILE not in page, url
        assert "&lt;script&gt;" in page or page_is_harmless(url), url


def page_is_harmless(url: str) -> bool:
    """Whether a page shows nothing of the hostile rows at all."""
    return "/taskresult/" in url


def test_no_page_has_inline_styles_scripts_or_handlers(client: Client) -> None:
    for url in hostile_pages():
        page = body(client, url)
        assert "style=" not in page, url
        assert "<style" not in page, url
        assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page), url
        assert not re.findall(r"<[^>]+\son\w+=", page), url
        assert "djqueue/admin.css" in page, url


# What they cost


@pytest.mark.django_db(transaction=True)
def test_a_list_ends_at_its_cap_and_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "LISTED", 150)
    with rows_read.statistics("analysed when emptied", rows_read.execute):
        new_tasks(200)
    first = client.get("/admin/djqueue/task/")
    assert first.context["cl"].result_count == 150
    assert "More than 150 match; the newest 150 are listed" in first.content.decode()
    with rows_read.statistics("analysed", rows_read.execute):
        pass
    assert "About 200 in all; the newest 150 are listed" in body(client, "/admin/djqueue/task/")
    assert len(listed(client, "?p=2")) == 50
    assert client.get("/admin/djqueue/task/?p=3")["Location"] == "/admin/djqueue/task/?e=1"
    assert "More than 150 match" in body(client, "/admin/djqueue/task/?queue=default")
    ids = [task.pk for task in first.context["cl"].result_list]
    assert ids == sorted(ids, reverse=True)


def test_a_short_list_is_counted_exactly(client: Client) -> None:
    new_tasks(120)
    page = body(client, "/admin/djqueue/task/")
    assert "120 tasks" in page
    assert "are listed" not in page
    assert len(listed(client, "?p=2")) == 20


def test_no_column_can_be_sorted_by(client: Client) -> None:
    new_tasks(3)
    response = client.get("/admin/djqueue/task/?o=1.2")
    ids = [task.pk for task in response.context["cl"].result_list]
    assert ids == sorted(ids, reverse=True)
    assert 'class="sortable' not in response.content.decode()


MANY = 100_000

NEW_TASKS = """
WITH task AS (
    INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)
    SELECT (lpad(to_hex(n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
        'shop.tasks.t' || n % 7, 'default', 0, '[1, 2, 3]', '{{}}'
    FROM generate_series(1, {many}) AS n
    RETURNING id
)
{places}
"""
FINISHED = """
INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, started_at, finished_at)
SELECT id, CASE WHEN n % 20 = 0 THEN 6 ELSE 5 END, 1, 'w', CASE WHEN n % 20 = 0 THEN '{{}}'::jsonb END,
    now(), now() + make_interval(secs => n)
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM task) AS numbered
WHERE n <= {many} / 2
"""
SCHEDULED = """
, later AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT now() + make_interval(secs => n), id, 0, 1
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM task) AS numbered
    WHERE n > {many} * 3 / 4
)
"""
READY = "INSERT INTO djqueue_readytask (queue, priority, task_id, attempt) SELECT 'default', 0, id, 0 FROM task"


def new_tasks(many: int, places: str = READY) -> None:
    with connection.cursor() as cursor:
        cursor.execute(NEW_TASKS.format(many=many, places=places.format(many=many)))


@pytest.fixture
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tasks as make the planner choose, for a list that is small beside them."""
    monkeypatch.setattr(paging, "LISTED", 1000)
    monkeypatch.setattr(filters, "LISTED", 1000)
    new_tasks(MANY, SCHEDULED + FINISHED)
    with connection.cursor() as cursor:
        # For a hundred probes into a table of this size the planner's prices are close; a million rows decide as
        # this does.
        cursor.execute("SET LOCAL random_page_cost = 1.1")
        cursor.execute("ANALYZE djqueue_task, djqueue_taskresult, djqueue_scheduledtask, djqueue_runningtask")


def queries_of(client: Client, url: str) -> list[str]:
    """Return the statements on our tables that a page runs."""
    with CaptureQueriesContext(connection) as queries:
        body(client, url)
    return [query["sql"] for query in queries if "djqueue_" in query["sql"] and "auth_" not in query["sql"]]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


# How many statements on our tables a page may need (its keys, its rows, and for some the queues and workers to filter
# by and the estimate), and the tables of which none may be read from end to end or sorted.
TASKS, RESULTS = "djqueue_task", "djqueue_taskresult"
SCHEDULE = "djqueue_scheduledtask"
PLANNED: dict[str, tuple[int, set[str]]] = {
    "task/": (5, {TASKS, RESULTS, SCHEDULE}),
    "task/?p=10": (5, {TASKS, RESULTS, SCHEDULE}),
    f"task/?q={UUID(int=0x170008000000000000001)}": (4, {TASKS, RESULTS, SCHEDULE}),
    "task/?state=scheduled": (4, {RESULTS, SCHEDULE}),
    "task/?state=running": (4, {TASKS, RESULTS, SCHEDULE}),
    "task/?state=succeeded": (4, {RESULTS, SCHEDULE}),
    "task/?state=failed": (4, {RESULTS, SCHEDULE}),
    "task/?state=cancelled": (4, {TASKS, RESULTS, SCHEDULE}),
    "taskresult/": (3, {TASKS, RESULTS}),
    "taskresult/?p=10": (3, {TASKS, RESULTS}),
    "taskresult/?state__exact=6": (2, {TASKS, RESULTS}),
    "worker/": (2, {TASKS, RESULTS}),
}
A_FEW = 5000


def test_lists_read_big_tables_by_index_with_few_statements(client: Client, many_tasks: None) -> None:
    for url, (most, tables) in PLANNED.items():
        queries = queries_of(client, f"/admin/djqueue/{url}")
        assert len(queries) <= most, (url, queries)
        for query in queries:
            assert "COUNT(" not in query.upper()
            assert "DISTINCT" not in query.upper()
            plan = list(nodes(explained(query)))
            assert not {n["Relation Name"] for n in plan if n["Node Type"] == "Seq Scan"} & tables, (url, query)
            assert not [n for n in plan if n["Node Type"] == "Sort" and n["Plan Rows"] > A_FEW], (url, query)


def explained(query: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {query}")
        plan = cursor.fetchone()[0]
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


def test_wide_columns_are_not_read_for_a_list(client: Client) -> None:
    new_task(State.SUCCEEDED)
    for url in LISTS[:2]:
        for query in queries_of(client, url):
            for column in ('"args"', '"kwargs"', '"options"', '"value"', '"error"'):
                assert column not in query


def test_states_are_looked_up_for_the_rows_of_one_page_only(client: Client, many_tasks: None) -> None:
    on_tasks = [query for query in queries_of(client, "/admin/djqueue/task/") if 'FROM "djqueue_task"' in query]
    keys, rows = sorted(on_tasks, key=len)
    assert "CASE" not in keys
    assert rows.count("::uuid") >= 100
