"""Filters of the task list, each from the table that knows; none reads the tasks for its choices."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import BooleanField, F, Func, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.models import ParkedTask, Queue, ReadyTask, RunningTask, ScheduledTask, TaskResult, WaitingTask, Worker
from djqueue.routing import front_of
from djqueue.states import State

from .display import STATE_WORDS
from .lines import NEWEST
from .paging import LISTED
from .searching import note_bound

QUEUES_OFFERED = 200
LOOKED_AT = 5_000
"""No index answers what else is asked of the tasks in a state, so only so many of the newest are looked at."""
WORKERS_OFFERED = 100

FILTERED_STATES = {state.name.lower(): state for state in State}


def newest_in_line(number: int, queues: list[str] | None = None) -> RawSQL:
    """Return what selects the ids of so many of the newest tasks in line, in some queues or in all."""
    return RawSQL(NEWEST, (number, queues, number))  # noqa: S611 - a constant, and its parameters


def ids_of_newest(state: State, number: int) -> RawSQL | Subquery:
    """Return what selects the ids of so many of the newest tasks in ``state``, of each table, by its index."""
    if state is State.READY:
        return newest_in_line(number)
    first, *others = [rows.values("task_id")[:number] for rows in rows_in(state)]
    return Subquery(first.union(*others, all=True) if others else first)


def one_of(ids: RawSQL | Subquery) -> Func:
    """Return the condition that a task is one of those, looked up by their key: IN may be planned as a walk of all."""
    return Func(F("pk"), ids, arg_joiner=" = ANY (ARRAY", template="%(expressions)s)", output_field=BooleanField())


def rows_in(state: State) -> list[QuerySet[Any]]:
    """Return the narrow rows of the tasks that stand in ``state``, in the order of an index: the newest first, but for
    those in line."""
    match state:
        case State.WAITING:  # for another, or for a limit
            return [model.objects.order_by("-task_id") for model in (WaitingTask, ParkedTask)]
        case State.SCHEDULED:
            return [ScheduledTask.objects.order_by("-task_id")]
        case State.READY:
            return [ReadyTask.objects.order_by("queue", "priority", "seq")]
        case State.RUNNING:
            return [RunningTask.objects.order_by("-task_id")]
        case State.SUCCEEDED:
            return [TaskResult.objects.filter(state=state).order_by("-task_id")]
    # What did not succeed has an index by when it ended.
    return [TaskResult.objects.filter(state=state).exclude(state=State.SUCCEEDED).order_by("-finished_at")]


class StateFilter(admin.SimpleListFilter):
    """List it after the other filters: it looks at whether they narrowed the query. It is shown as tabs."""

    title = _("state")
    template = "admin/djqueue/task/shown_as_tabs.html"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, STATE_WORDS[state]) for name, state in FILTERED_STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in FILTERED_STATES:
            raise IncorrectLookupParameters(f"unknown state: {value!r}")
        state = FILTERED_STATES[value]
        searched = request.GET.get(SEARCH_VAR) or request.GET.get("tag")
        if state is State.READY and (queue := request.GET.get(QueueFilter.parameter_name)) and not searched:
            # The same rows as without, by the line's only index.
            return queryset.filter(one_of(newest_in_line(LISTED + 1, [queue, front_of(queue)])))
        if not queryset.query.where and not request.GET.get(SEARCH_VAR):
            # Alone, it lists the newest of the narrow table. Were that not said here, the planner might walk all
            # tasks until it meets them.
            return queryset.filter(one_of(ids_of_newest(state, LISTED + 1)))
        for rows in rows_in(state):
            if rows.using(settings.DATABASE).values_list("task_id")[LOOKED_AT : LOOKED_AT + 1]:
                note_bound(request, LOOKED_AT, STATE_WORDS[state])
        return queryset.filter(one_of(ids_of_newest(state, LOOKED_AT)))


class QueueFilter(admin.SimpleListFilter):
    """Offers the queues that workers have met; ``?queue=`` takes any other name as well."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Queue.objects.using(settings.DATABASE).order_by("name").values_list("name", flat=True)
        offered = list(names[:QUEUES_OFFERED])
        if (asked := request.GET.get(self.parameter_name)) and asked not in offered:
            offered.append(asked)
        return [(name, name) for name in offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(queue=value)


class WorkerFilter(admin.SimpleListFilter):
    """What a worker runs now, by the index on its leases."""

    title = _("worker that runs it")
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        workers = Worker.objects.using(settings.DATABASE).order_by("name").values_list("pk", "name")
        return [(str(pk), name) for pk, name in workers[:WORKERS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise IncorrectLookupParameters(f"expected the id of a worker, got: {value!r}")
        return queryset.filter(one_of(Subquery(RunningTask.objects.filter(worker_id=int(value)).values("task_id"))))


class AgeFilter(admin.SimpleListFilter):
    """When it was enqueued, by the time that its id tells: ids that callers chose say nothing of it."""

    title = _("enqueued")
    parameter_name = "enqueued"
    spans = {
        "10min": (timedelta(minutes=10), _("in the last 10 minutes")),
        "1h": (timedelta(hours=1), _("in the last hour")),
        "24h": (timedelta(days=1), _("in the last 24 hours")),
        "7d": (timedelta(days=7), _("in the last 7 days")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(key, title) for key, (_length, title) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in self.spans:
            raise IncorrectLookupParameters(f"expected one of {', '.join(self.spans)}, got: {value!r}")
        return queryset.filter(pk__gte=first_id_of(timezone.now() - self.spans[value][0]))


def first_id_of(moment: datetime) -> UUID:
    """Return the least id of a task that is enqueued at a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 0x7000 << 64)
