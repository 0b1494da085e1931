"""What a task's own page says beyond its columns: its life, its attempts, its progress and its workflow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import connections
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.models import ParkedTask, RunningTask, ScheduledTask, TaskAttempt, TaskLog, TaskResult, WaitingTask, Worker
from djqueue.observability.picture import draw
from djqueue.observability.tree import folded, read_tree
from djqueue.states import Ending, ScheduleReason, State
from djqueue.store.gates import SEPARATOR

from . import arguments, display, tags
from .tracebacks import error_details

ATTEMPTS_SHOWN = 50
STEPS_DRAWN = 200

REASON_WORDS = {
    ScheduleReason.ETA: _("as asked"),
    ScheduleReason.RETRY: _("before its next attempt"),
    ScheduleReason.RATE: _("held back by a rate limit"),
    ScheduleReason.PAUSED: _("its name or key is paused"),
}

Moment = tuple[datetime | None, str, Any]
"""When something happened or will, its kind, and words."""


def attempts_of(task: Any) -> list[TaskAttempt]:
    """Return the latest attempts that did not succeed, the latest first."""
    attempts = TaskAttempt.objects.using(task._state.db).filter(task_id=task.pk).order_by("-attempt")
    return list(attempts[:ATTEMPTS_SHOWN])


def timeline(task: Any, *, with_outcome: bool, with_attempts: bool) -> SafeString:
    """Return what happened to a task, and what is to come, with the time since it was enqueued."""
    items = []
    for moment, kind, words in _moments(task, with_outcome=with_outcome, with_attempts=with_attempts):
        since = "" if moment is None else f"+{display.between(task.created_at, moment)}"
        items.append((kind, display.moment(moment), since if moment != task.created_at else "", words))
    return format_html(
        '<ol class="djqueue-timeline">{}</ol>',
        format_html_join("", '<li class="djqueue-{}"><time>{}</time> <small>{}</small> <span>{}</span></li>', items),
    )


def _moments(task: Any, *, with_outcome: bool, with_attempts: bool) -> Iterator[Moment]:
    yield task.created_at, "enqueued", gettext("enqueued in %(queue)s") % {"queue": task.queue}
    result = TaskResult.objects.using(task._state.db).filter(pk=task.pk).first() if with_outcome else None
    last = result.attempt if result is not None and result.state == State.FAILED else None
    for attempt in reversed(attempts_of(task)) if with_attempts else ():
        if attempt.attempt != last:
            yield from _attempt(attempt)
    if result is not None:
        yield from _ending(result)
    yield from _standing(task)


def _attempt(attempt: TaskAttempt) -> Iterator[Moment]:
    number = {"number": attempt.attempt, "worker": attempt.worker}
    yield attempt.started_at, "running", gettext("attempt %(number)s began on %(worker)s") % number
    words = display.OUTCOME_WORDS[Ending(attempt.outcome)]
    said = f"{words}: {display.error_line(attempt.error)}"
    yield attempt.finished_at, "failed" if attempt.outcome != Ending.RETRIED else "retried", said


def _ending(result: TaskResult) -> Iterator[Moment]:
    state = State(result.state)
    if result.started_at is not None:
        number = {"number": result.attempt, "worker": result.worker}
        yield result.started_at, "running", gettext("attempt %(number)s began on %(worker)s") % number
    took = display.between(result.started_at, result.finished_at)
    words = display.STATE_WORDS[state] if took == display.EMPTY else f"{display.STATE_WORDS[state]} ({took})"
    yield result.finished_at, state.name.lower(), words


def _standing(task: Any) -> Iterator[Moment]:
    database, place = task._state.db, {"task_id": task.pk}
    match State(task.state_code):
        case State.RUNNING:
            running = RunningTask.objects.using(database).filter(**place).first()
            if running is not None:
                number = {"number": running.attempt, "worker": worker_name(database, running.worker_id)}
                yield running.claimed_at, "running", gettext("attempt %(number)s runs on %(worker)s") % number
        case State.SCHEDULED:
            scheduled = ScheduledTask.objects.using(database).filter(**place).first()
            if scheduled is not None:
                reason = {"reason": REASON_WORDS[ScheduleReason(scheduled.reason)]}
                yield scheduled.run_at, "scheduled", gettext("due (%(reason)s)") % reason
        case State.READY:
            yield None, "ready", gettext("stands in line")
        case State.WAITING:
            yield None, "waiting", gettext("waits")


def worker_name(database: str, worker_id: int) -> str:
    """Return the name of a worker; its row may be gone, which no constraint prevents."""
    worker = Worker.objects.using(database).filter(pk=worker_id).first()
    return f"#{worker_id}" if worker is None else worker.name


def place_of(task: Any) -> SafeString | str:
    """Say in words where an unfinished task stands."""
    database, place = task._state.db, {"task_id": task.pk}
    match State(task.state_code):
        case State.SCHEDULED:
            scheduled = ScheduledTask.objects.using(database).filter(**place).first()
            if scheduled is not None:
                return gettext("due at %(run_at)s (%(reason)s)") % {
                    "run_at": display.moment(scheduled.run_at),
                    "reason": REASON_WORDS[ScheduleReason(scheduled.reason)],
                }
        case State.RUNNING:
            running = RunningTask.objects.using(database).filter(**place).first()
            if running is not None:
                return gettext("held by worker %(worker)s since %(claimed_at)s") % {
                    "worker": worker_name(database, running.worker_id),
                    "claimed_at": display.moment(running.claimed_at),
                }
        case State.READY:
            return gettext("in line in queue %(queue)s with priority %(priority)s") % {
                "queue": task.queue,
                "priority": task.priority,
            }
        case State.WAITING:
            waiting = WaitingTask.objects.using(database).filter(**place).first()
            if waiting is not None:
                return format_html("{} {}", gettext("waits for"), waiting.waits_for)
            parked = ParkedTask.objects.using(database).filter(**place).first()
            if parked is not None:
                return gettext("held back by %(gate)s since %(parked_at)s") % {
                    "gate": parked.gate.replace(SEPARATOR, " ").strip(),
                    "parked_at": display.moment(parked.parked_at),
                }
    return display.EMPTY


def progress_of(task: Any) -> SafeString | str:
    """Show what a running task says of its progress: as a bar where it says ``current`` and ``total``."""
    running = RunningTask.objects.using(task._state.db).filter(task_id=task.pk).first()
    if running is None or running.state is None:
        return display.EMPTY
    meta = running.meta if isinstance(running.meta, dict) else {}
    current, total = _number(meta.get("current")), _number(meta.get("total"))
    bar = ""
    if current is not None and total is not None and total > 0:
        share = max(0, min(100, round(current / total * 100)))
        bar = format_html(
            '<progress value="{}" max="100" aria-label="{}"></progress> {} % ({} / {})',
            share, gettext("progress"), share, current, total,
        )  # fmt: skip
    return format_html("<p>{} {}</p>{}", running.state, bar, arguments.value(running.meta))


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def empty_fields(task: Any) -> set[str]:
    """Return the fields of which there is nothing to say."""
    state = State(task.state_code)
    columns = {"expires": "expires_at", "parent": "parent_id", "root": "root_id", "pretty_options": "options"}
    same = ("max_retries", "group_id", "group_index", "workflow_id")
    empty = {
        field for field, column in (*columns.items(), *zip(same, same, strict=True)) if getattr(task, column) is None
    }
    if state.finished:
        empty.add("place")
    else:
        empty.add("outcome")
    if state is not State.RUNNING or progress_of(task) == display.EMPTY:
        empty.add("progress")
    if not task.picture:
        empty.add("workflow")
    for field, show in (("headers", tags.shown), ("logs", logs_of)):
        if show(task) == display.EMPTY:
            empty.add(field)
    if attempts_list(task, but_the_last=task.seen["outcome"]) == display.EMPTY:
        empty.add("unsuccessful_attempts")
    return empty


def without(fields: Iterable[Any], hidden: Collection[str]) -> tuple[Any, ...]:
    """Return the fields of a fieldset, in which a tuple is a row, but for some."""
    rows = (f if isinstance(f, str) else tuple(one for one in f if one not in hidden) for f in fields)
    return tuple(row for row in rows if row and row not in hidden)


def logs_of(task: Any) -> SafeString | str:
    """Show what attempts logged, the latest first, where that is kept."""
    logs = TaskLog.objects.using(task._state.db).filter(task_id=task.pk).order_by("-pk")[:ATTEMPTS_SHOWN]
    rows = [(gettext("attempt %(number)s") % {"number": log.attempt}, display.preformatted(log.text)) for log in logs]
    return format_html_join("", "<h4>{}</h4>{}", rows) if rows else display.EMPTY


def workflow_of(task: Any) -> SafeString | str:
    """Draw the tasks of one root; "" for a task that stands alone."""
    with connections[task._state.db].cursor() as cursor:
        nodes = folded(read_tree(cursor, str(task.pk)))
    if len(nodes) < 2:
        return ""
    picture = draw(nodes[:STEPS_DRAWN], lambda node: reverse("admin:djqueue_task_change", args=[node.id]))
    note = gettext("The first %(count)s steps.") % {"count": STEPS_DRAWN} if len(nodes) > STEPS_DRAWN else ""
    return format_html(
        '<div class="djqueue-wide djqueue-workflow">{}</div><p class="djqueue-note">{}</p>',
        mark_safe(picture),  # noqa: S308 - drawn by us, names escaped
        note,
    )


def attempts_list(task: Any, *, but_the_last: bool) -> SafeString | str:
    """Show attempts that did not succeed, the latest first and unfolded.

    ``but_the_last`` leaves out the one that is the task's result, which is shown as such.
    """
    attempts = attempts_of(task)
    if but_the_last and State(task.state_code) is State.FAILED and attempts and attempts[0].attempt == task.attempt:
        attempts = attempts[1:]
    if not attempts:
        return display.EMPTY
    rows = [
        (
            mark_safe(" open") if place == 0 else "",
            gettext("attempt %(number)s") % {"number": attempt.attempt},
            display.OUTCOME_WORDS[Ending(attempt.outcome)],
            attempt.worker,
            display.moment(attempt.started_at),
            display.between(attempt.started_at, attempt.finished_at),
            error_details(attempt.error),
        )
        for place, attempt in enumerate(attempts)
    ]
    return format_html_join(
        "",
        '<details class="djqueue-attempt"{}><summary>{}: <strong>{}</strong> · {} · {} · {}</summary>{}</details>',
        rows,
    )


def outcome_of(result: TaskResult) -> SafeString:
    """Show a result: its value or error, and by whom and when."""
    if result.state == State.SUCCEEDED:
        value: tuple[Any, Any] = (_("value"), arguments.value(result.value))
    else:
        value = (_("error"), error_details(result.error) if result.error else display.EMPTY)
    return display.facts(
        [
            (_("state"), display.state_label(result.state)),
            (_("attempt"), result.attempt),
            (_("worker"), result.worker or display.EMPTY),
            (_("started"), display.moment(result.started_at)),
            (_("finished"), display.moment(result.finished_at)),
            (_("took"), display.between(result.started_at, result.finished_at)),
            value,
        ]
    )
