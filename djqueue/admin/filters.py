"""Filters of the task list, each from the table that knows; none reads the tasks for its choices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.models import Queue, ReadyTask, RunningTask, ScheduledTask, TaskResult
from djqueue.routing import front_of
from djqueue.states import State

from .display import STATE_WORDS
from .paging import LISTED

QUEUES_OFFERED = 200

FILTERED_STATES = {state.name.lower(): state for state in State if state is not State.WAITING}


def standing_in(state: State) -> QuerySet[Any]:
    """Return the narrow rows of the tasks that stand in ``state``."""
    match state:
        case State.SCHEDULED:
            return ScheduledTask.objects.all()
        case State.READY:
            return ReadyTask.objects.all()
        case State.RUNNING:
            return RunningTask.objects.all()
    return TaskResult.objects.filter(state=state)


class StateFilter(admin.SimpleListFilter):
    """List it after the other filters: it looks at whether they narrowed the query."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, STATE_WORDS[state]) for name, state in FILTERED_STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in FILTERED_STATES:
            raise IncorrectLookupParameters(f"unknown state: {value!r}")
        ids = standing_in(FILTERED_STATES[value]).values("task_id")
        if value == "ready" and (queue := request.GET.get(QueueFilter.parameter_name)):
            # The same rows as without, by the line's only index.
            ids = ids.filter(queue__in=[queue, front_of(queue)])
        if not queryset.query.where and not request.GET.get(SEARCH_VAR):
            # Alone, it lists the newest of the narrow table. Were that not said here, the planner might walk all
            # tasks until it meets them.
            ids = ids.order_by("-task_id")[: LISTED + 1]
        return queryset.filter(pk__in=ids)


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
