"""How the slots of schedules went, as marks in the list and as a table on a schedule's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.models import Schedule, ScheduleRun, TaskResult
from djqueue.schedules.rules import Fate
from djqueue.states import State

from . import display

MARKS = 5
RUNS_SHOWN = 20

# Why this shape. For each schedule of the page the index on (schedule, due_at) yields the last slots, however many
# there are; results are looked up by their key.
LAST_RUNS = """
SELECT asked.id, run.due_at, run.fate, run.note, result.state
FROM unnest(%s::bigint[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT due_at, fate, note, task_id
    FROM djqueue_schedulerun WHERE schedule_id = asked.id ORDER BY due_at DESC LIMIT %s
) AS run
LEFT JOIN LATERAL (SELECT state FROM djqueue_taskresult WHERE task_id = run.task_id LIMIT 1) AS result ON true
ORDER BY asked.id, run.due_at
"""

FATE_MARKS = {
    Fate.ENQUEUED: ("enqueued", "•", _("enqueued")),
    Fate.SKIPPED: ("skipped", "⊘", _("skipped: the last run had not finished")),
    Fate.MISSED: ("missed", "◷", _("missed: no beat was there")),
    Fate.FAILED: ("failed", "✗", _("could not be enqueued")),
    Fate.BY_HAND: ("enqueued", "•", _("run by hand")),
}


def attach_runs(schedules: list[Any]) -> list[Any]:
    """Attach to each schedule its ``marks``: the last slots, oldest first, in one query for all."""
    marks: dict[int, list[SafeString]] = {schedule.pk: [] for schedule in schedules}
    if schedules:
        with connections[schedules[0]._state.db].cursor() as cursor:
            cursor.execute(LAST_RUNS, [list(marks), MARKS])
            for schedule_id, due_at, fate, note, state in cursor.fetchall():
                marks[schedule_id].append(_mark(due_at, fate, note, state))
    for schedule in schedules:
        schedule.marks = marks[schedule.pk]
    return schedules


def _mark(due_at: Any, fate: int, note: str, state: int | None) -> SafeString:
    kind, symbol, word = label_of(fate, state)
    title = f"{display.moment(due_at)}: {word}" + (f" ({note})" if note else "")
    return format_html(
        '<span class="djqueue-mark djqueue-{}" role="img" aria-label="{}" title="{}">{}</span>',
        kind, title, title, symbol,
    )  # fmt: skip


def label_of(fate: int, state: int | None) -> tuple[str, str, str]:
    """Return a class, a symbol and words: how the task ended if it has, else what became of the slot."""
    if state is not None:
        ended = State(state)
        return ended.name.lower(), display.STATE_SYMBOLS[ended], str(display.STATE_WORDS[ended])
    kind, symbol, word = FATE_MARKS[Fate(fate)]
    return kind, symbol, str(word)


def run_marks(schedule: Any) -> SafeString | str:
    return format_html_join(" ", "{}", ((mark,) for mark in schedule.marks)) if schedule.marks else display.EMPTY


def next_run(schedule: Any) -> SafeString | str:
    """Return the next slot, and that it is overdue if nobody has fired it."""
    if not schedule.enabled:
        return display.labelled("off", "-", gettext("off"))
    if schedule.next_run_at is None:
        return display.EMPTY
    moment = display.moment(schedule.next_run_at)
    if schedule.held_until is not None and schedule.last_error:
        return format_html("{}<br>{}", display.labelled("late", "✗", gettext("tried again after an error")), moment)
    if schedule.held_until is not None:
        return format_html("{}<br>{}", display.labelled("held", "…", gettext("waits for the last run")), moment)
    if schedule.overdue:
        return format_html("{}<br>{}", display.labelled("late", "✗", gettext("overdue")), moment)
    return moment


def runs_table(schedule: Schedule) -> SafeString | str:
    """Return the last slots of a schedule, the latest first."""
    database = schedule._state.db
    runs: Sequence[ScheduleRun] = list(
        ScheduleRun.objects.using(database).filter(schedule=schedule).order_by("-due_at")[:RUNS_SHOWN]
    )
    if not runs:
        return display.EMPTY
    ids = [run.task_id for run in runs if run.task_id is not None]
    states = dict(TaskResult.objects.using(database).filter(task_id__in=ids).values_list("task_id", "state"))
    rows = [_row(run, states.get(run.task_id) if run.task_id else None) for run in runs]
    titles = (_("due"), _("fired after"), _("outcome"), _("task"), _("note"))
    return format_html(
        '<table class="djqueue-attempts"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        format_html_join("", '<th scope="col">{}</th>', ((title,) for title in titles)),
        format_html_join("", "<tr>" + "<td>{}</td>" * len(titles) + "</tr>", rows),
    )


def _row(run: ScheduleRun, state: int | None) -> tuple[Any, ...]:
    return (
        display.moment(run.due_at),
        display.between(run.due_at, run.fired_at),
        display.labelled(*label_of(run.fate, state)),
        display.task_link(run.task_id) if run.task_id else display.EMPTY,
        run.note,
    )
