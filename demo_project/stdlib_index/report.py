"""What a run of the demonstration found, and how the queue did, both read from the database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min, QuerySet, Sum

from djqueue.models import Task, TaskResult
from djqueue.states import State

from .models import SourceFile

FAILURES_SHOWN = 5

# Percentiles over one run; the wait counts from enqueueing, which is once for all tasks of it.
TIMINGS = f"""
SELECT count(*),
       extract(epoch FROM max(result.finished_at) - min(result.started_at)),
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM result.started_at - task.created_at)),
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM result.finished_at - result.started_at))
  FROM {TaskResult._meta.db_table} AS result
  JOIN {Task._meta.db_table} AS task ON task.id = result.task_id
 WHERE result.task_id = ANY(%s)
"""

FINISHED = f"SELECT count(*) FROM {TaskResult._meta.db_table} WHERE task_id = ANY(%s)"


@dataclass(frozen=True)
class Timings:
    """Times of one run in seconds; wait and run are the 50th, 95th and 99th percentile."""

    tasks: int
    elapsed: float
    wait: list[float]
    run: list[float]


def count_finished(task_ids: Sequence[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(FINISHED, [task_ids])
        return cursor.fetchone()[0]


def read_timings(task_ids: Sequence[UUID]) -> Timings:
    with connection.cursor() as cursor:
        cursor.execute(TIMINGS, [task_ids])
        tasks, elapsed, wait, run = cursor.fetchone()
    return Timings(tasks, float(elapsed or 0), wait or [], run or [])


def unsuccessful(task_ids: Sequence[UUID]) -> QuerySet[TaskResult]:
    return TaskResult.objects.filter(task_id__in=task_ids).exclude(state=State.SUCCEEDED)


def describe_files(paths: Sequence[str], root: Path) -> Iterator[str]:
    """The lines of the summary about what is in the files."""
    files = SourceFile.objects.filter(path__in=paths)
    total = files.aggregate(
        files=Count("pk"),
        lines=Sum("lines", default=0),
        functions=Sum("functions", default=0),
        classes=Sum("classes", default=0),
        documentable=Sum("documentable", default=0),
        documented=Sum("documented", default=0),
    )
    for name in ("files", "lines", "functions", "classes"):
        yield _row(name, f"{total[name]:,}")
    coverage = total["documented"] / max(total["documentable"], 1)
    yield _row("docstrings", f"{coverage:.1%}", f"{total['documented']:,} of {total['documentable']:,}")
    longest = files.order_by("-longest_function_lines", "path").first()
    if longest and longest.longest_function:
        where = f"{longest.longest_function}() in {_relative(longest.path, root)}"
        yield _row("longest function", f"{longest.longest_function_lines:,}", f"lines: {where}")
    unparsed = files.filter(parsed=False)
    yield _row("do not parse", f"{unparsed.count():,}", "files")
    kinds = unparsed.order_by().values("problem_kind").annotate(number=Count("pk"), example=Min("path"))
    for kind in kinds.order_by("-number", "problem_kind"):
        example = _relative(kind["example"], root)
        yield _row(f"  {kind['problem_kind']}", f"{kind['number']:,}", f"for example {example}")


def describe_queue(timings: Timings, enqueue_seconds: float, concurrency: int) -> Iterator[str]:
    """The lines of the summary about the tasks."""
    rate = timings.tasks / max(timings.elapsed, 0.001)
    yield _row("enqueued", f"{timings.tasks / max(enqueue_seconds, 0.001):,.0f}", "tasks per second")
    yield _row("run", f"{rate:,.0f}", f"tasks per second, {timings.elapsed:.1f} s, {concurrency} at a time")
    yield f"  {'':<18}{'p50':>12}{'p95':>12}{'p99':>12}"
    yield _percentiles("wait in the queue", timings.wait)
    yield _percentiles("run time", timings.run)


def describe_result(found: dict[str, int]) -> Iterator[str]:
    """The line of the summary about what the last task of the workflow returned."""
    yield _row("summarise got", f"{found['files']:,}", f"results: {found['lines']:,} lines in all")


def describe_failures(results: QuerySet[TaskResult]) -> Iterator[str]:
    """The lines of the summary about tasks that did not succeed."""
    count = results.count()
    yield _row("failed", f"{count:,}", "tasks")
    for result in results.select_related("task")[:FAILURES_SHOWN]:
        error = result.error or {}
        reason = f"{error.get('exc_type', State(result.state).name.lower())}: {error.get('exc_message', '')}"
        yield f"    {result.task_id} {result.task.args}: {reason}"
    if count > FAILURES_SHOWN:
        yield f"    and {count - FAILURES_SHOWN:,} more, see the results in the admin (make demo-site)"


def _row(label: str, value: str, note: str = "") -> str:
    return f"  {label:<18}{value:>12}  {note}".rstrip()


def _percentiles(label: str, seconds: list[float]) -> str:
    return f"  {label:<18}" + "".join(f"{_duration(value):>12}" for value in seconds)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _relative(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root))
