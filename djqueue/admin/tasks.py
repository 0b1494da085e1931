"""The task pages: where each task stands, what was asked, and how its attempts ended."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.db.models import Max, OuterRef, QuerySet, SmallIntegerField, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.models import ParkedTask, RunningTask, ScheduledTask, Task, TaskAttempt, TaskResult, Worker
from djqueue.states import Ending, ScheduleReason, State
from djqueue.store.gates import SEPARATOR

from . import arguments, display
from .filters import QueueFilter, StateFilter
from .readonly import ReadOnlyAdmin, may_view

ATTEMPTS_SHOWN = 50

REASON_WORDS = {
    ScheduleReason.ETA: _("as asked"),
    ScheduleReason.RETRY: _("before its next attempt"),
    ScheduleReason.RATE: _("held back by a rate limit"),
}


def latest_attempt() -> Coalesce:
    """The number of a task's latest attempt, 0 before the first.

    The line has no index by task: what a task in line has behind it is what ``TaskAttempt`` remembers.
    """
    here = {"task_id": OuterRef("pk")}
    failed = TaskAttempt.objects.filter(**here).values("task_id").annotate(latest=Max("attempt"))
    return Coalesce(
        Subquery(TaskResult.objects.filter(**here).values("attempt")),
        Subquery(RunningTask.objects.filter(**here).values("attempt")),
        Subquery(ScheduledTask.objects.filter(**here).values("attempt")),
        Subquery(failed.values("latest")),
        Value(0),
        output_field=SmallIntegerField(),
    )


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "queue", "priority", "state", "attempt", "created")
    list_filter = (QueueFilter, StateFilter)
    list_only = ("id", "name", "queue", "priority", "created_at")
    # Ids are time-ordered, so this is newest first, from the end of the primary key.
    ordering = ("-pk",)
    # Makes the search box appear; get_search_results decides.
    search_fields = ("=id", "=name")
    search_help_text = _("The whole id of a task, or the whole name of its definition.")
    fieldsets = (
        (None, {"fields": ("id", "name", "state", "place", "queue", "priority", "attempt", "created")}),
        (_("Call"), {"fields": ("pretty_args", "pretty_kwargs", "pretty_options")}),
        (_("Outcome"), {"fields": ("outcome", "unsuccessful_attempts")}),
        (_("Limits"), {"fields": ("expires", "max_retries")}),
        (_("Family"), {"fields": ("parent", "root", "group_id", "group_index", "workflow_id")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tasks: Any = super().get_queryset(request)
        return cast("QuerySet[Any]", tasks.with_state().annotate(attempt=latest_attempt()))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(name=term), False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what the user may not view as a row of its own."""
        hidden = {
            field
            for field, model in (("outcome", TaskResult), ("unsuccessful_attempts", TaskAttempt))
            if not may_view(request, model)
        }
        shown = [
            (title, {**options, "fields": tuple(f for f in options["fields"] if f not in hidden)})
            for title, options in super().get_fieldsets(request, obj)
        ]
        return [fieldset for fieldset in shown if fieldset[1]["fields"]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(f for _title, options in self.get_fieldsets(request, obj) for f in options["fields"])

    @admin.display(description=_("state"))
    def state(self, task: Any) -> SafeString:
        return display.state_label(task.state_code)

    @admin.display(description=_("attempt"))
    def attempt(self, task: Any) -> int:
        return int(task.attempt)

    @admin.display(description=_("created"))
    def created(self, task: Task) -> str:
        return display.moment(task.created_at)

    @admin.display(description=_("expires"))
    def expires(self, task: Task) -> str:
        return display.moment(task.expires_at)

    @admin.display(description=_("stands"))
    def place(self, task: Any) -> str:
        return place_of(task)

    @admin.display(description=_("arguments"))
    def pretty_args(self, task: Task) -> SafeString | str:
        return arguments.positional(task)

    @admin.display(description=_("keyword arguments"))
    def pretty_kwargs(self, task: Task) -> SafeString | str:
        return arguments.named(task)

    @admin.display(description=_("options"))
    def pretty_options(self, task: Task) -> SafeString | str:
        return display.EMPTY if task.options is None else arguments.value(task.options)

    @admin.display(description=_("parent"))
    def parent(self, task: Task) -> SafeString | str:
        return display.task_link(task.parent_id) if task.parent_id else display.EMPTY

    @admin.display(description=_("root"))
    def root(self, task: Task) -> SafeString | str:
        return display.task_link(task.root_id) if task.root_id else display.EMPTY

    @admin.display(description=_("result"))
    def outcome(self, task: Any) -> SafeString | str:
        result = TaskResult.objects.using(task._state.db).filter(pk=task.pk).first()
        return display.EMPTY if result is None else outcome_of(result)

    @admin.display(description=_("unsuccessful attempts"))
    def unsuccessful_attempts(self, task: Any) -> SafeString | str:
        attempts = TaskAttempt.objects.using(task._state.db).filter(task_id=task.pk).order_by("-attempt")
        rows = [attempt_row(attempt) for attempt in attempts[:ATTEMPTS_SHOWN]]
        if not rows:
            return display.EMPTY
        titles = (_("attempt"), _("outcome"), _("worker"), _("started"), _("took"), _("error"))
        return format_html(
            '<table class="djqueue-attempts"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
            format_html_join("", '<th scope="col">{}</th>', ((title,) for title in titles)),
            format_html_join("", "<tr>" + "<td>{}</td>" * len(titles) + "</tr>", rows),
        )


def place_of(task: Any) -> str:
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
                # Its row may be gone, which no constraint prevents.
                worker = Worker.objects.using(database).filter(pk=running.worker_id).first()
                return gettext("held by worker %(worker)s since %(claimed_at)s") % {
                    "worker": f"#{running.worker_id}" if worker is None else worker.name,
                    "claimed_at": display.moment(running.claimed_at),
                }
        case State.WAITING:
            parked = ParkedTask.objects.using(database).filter(**place).first()
            if parked is not None:
                return gettext("held back by %(gate)s since %(parked_at)s") % {
                    "gate": parked.gate.replace(SEPARATOR, " ").strip(),
                    "parked_at": display.moment(parked.parked_at),
                }
        case State.READY:
            return gettext("in line in queue %(queue)s with priority %(priority)s") % {
                "queue": task.queue,
                "priority": task.priority,
            }
    return display.EMPTY


def outcome_of(result: TaskResult) -> SafeString:
    """Show a result: its value or error, and by whom and when."""
    if result.state == State.SUCCEEDED:
        value: tuple[Any, Any] = (_("value"), arguments.value(result.value))
    else:
        value = (_("error"), display.error_details(result.error) if result.error else display.EMPTY)
    return display.facts(
        [
            (_("state"), display.state_label(result.state)),
            (_("attempt"), result.attempt),
            (_("worker"), result.worker),
            (_("started"), display.moment(result.started_at)),
            (_("finished"), display.moment(result.finished_at)),
            (_("took"), display.between(result.started_at, result.finished_at)),
            value,
        ]
    )


def attempt_row(attempt: TaskAttempt) -> tuple[Any, ...]:
    return (
        attempt.attempt,
        display.OUTCOME_WORDS[Ending(attempt.outcome)],
        attempt.worker,
        display.moment(attempt.started_at),
        display.between(attempt.started_at, attempt.finished_at),
        format_html(
            "<details><summary>{}</summary>{}</details>",
            display.error_line(attempt.error),
            display.preformatted(str(attempt.error.get("traceback") or "")),
        ),
    )
