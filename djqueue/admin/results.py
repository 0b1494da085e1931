"""The result pages: what finished, newest first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from djqueue.models import Task, TaskResult

from . import display
from .readonly import ReadOnlyAdmin
from .tasks import outcome_of


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    list_display = ("task_id", "name", "shown_state", "worker", "waited", "ran", "finished")
    list_filter = ("state",)
    list_only = ("task_id", "state", "worker", "started_at", "finished_at")
    # Alone, so that the index on finished_at gives the order; a second column would need a sort.
    ordering = ("-finished_at",)
    search_fields = ("=task_id",)
    search_help_text = _("The whole id of a task.")
    fields = ("task", "name", "queue", "created", "waited", "outcome")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add what the task itself knows. Not by a join, which would hide a result whose task is gone."""
        task = Task.objects.filter(pk=OuterRef("pk"))
        queryset: QuerySet[Any] = super().get_queryset(request)
        queryset = queryset.annotate(
            name=Subquery(task.values("name")),
            queue=Subquery(task.values("queue")),
            created_at=Subquery(task.values("created_at")),
        )
        return queryset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.none(), False

    @admin.display(description=_("task"))
    def task(self, result: TaskResult) -> SafeString:
        return display.task_link(result.pk)

    @admin.display(description=_("name"))
    def name(self, result: Any) -> str:
        return result.name or display.EMPTY

    @admin.display(description=_("queue"))
    def queue(self, result: Any) -> str:
        return result.queue or display.EMPTY

    @admin.display(description=_("state"))
    def shown_state(self, result: TaskResult) -> SafeString:
        return display.state_label(result.state)

    @admin.display(description=_("created"))
    def created(self, result: Any) -> str:
        return display.moment(result.created_at)

    @admin.display(description=_("waited"))
    def waited(self, result: Any) -> str:
        """From the enqueueing to the start of the last attempt."""
        return display.between(result.created_at, result.started_at)

    @admin.display(description=_("ran"))
    def ran(self, result: TaskResult) -> str:
        return display.between(result.started_at, result.finished_at)

    @admin.display(description=_("finished"))
    def finished(self, result: TaskResult) -> str:
        return display.moment(result.finished_at)

    @admin.display(description=_("result"))
    def outcome(self, result: TaskResult) -> SafeString:
        return outcome_of(result)
