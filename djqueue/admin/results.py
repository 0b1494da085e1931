"""The result pages: what finished, newest first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from djqueue.conf import settings
from djqueue.models import Task, TaskResult

from . import display
from .acting import carry_out, has_permission
from .actions import ACTIONS
from .failures import LOOKED_AT, read_failures
from .figures import SPANS, Span
from .readonly import ReadOnlyAdmin
from .task_page import outcome_of


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    list_display = ("task_id", "name", "shown_state", "worker", "waited", "ran", "finished")
    list_filter = ("state",)
    list_only = ("task_id", "state", "worker", "started_at", "finished_at")
    # Alone, so that the index on finished_at gives the order; a second column would need a sort.
    ordering = ("-finished_at",)
    search_fields = ("=task_id",)
    search_help_text = _("The whole id of a task.")
    fields = ("task", ("name", "queue", "created", "waited"), "outcome")
    readonly_fields = tuple(flatten(fields))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("failures/", view(self.failures_view), name="djqueue_failures"),
            path("failures/retry/", view(require_POST(self.retry_view)), name="djqueue_failures_retry"),
            *super().get_urls(),
        ]

    def failures_view(self, request: HttpRequest) -> HttpResponse:
        """List failures by what they have in common."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        span = SPANS.get(request.GET.get("span", ""), SPANS["24h"])
        groups, more = read_failures(settings.DATABASE, length_of(span))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Failures"),
            "opts": self.opts,
            "media": self.media,
            "span": span,
            "spans": SPANS.values(),
            "groups": groups,
            "more": more,
            "looked_at": LOOKED_AT,
            "may_retry": has_permission(request, ACTIONS["retry"]),
        }
        return TemplateResponse(request, "admin/djqueue/taskresult/failures.html", context)

    def retry_view(self, request: HttpRequest) -> HttpResponse:
        """Have the tasks of a group run again: those that are in it now."""
        action = ACTIONS["retry"]
        if not (self.has_view_permission(request) and has_permission(request, action)):
            raise PermissionDenied
        span = SPANS.get(request.POST.get("span", ""), SPANS["24h"])
        groups, _more = read_failures(settings.DATABASE, length_of(span))
        ids = next((group.ids for group in groups if group.key == request.POST.get("group")), [])
        if ids:
            carry_out(request, action, ids, {})
        else:
            self.message_user(request, gettext("None of these failures is there any more."), messages.WARNING)
        return HttpResponseRedirect(f"{reverse('admin:djqueue_failures')}?span={span.key}")

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


def length_of(span: Span) -> timedelta:
    return timedelta(minutes=span.minutes * span.points)
