"""The worker pages: who is alive, by the database's clock, and what each holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import DurationField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.models import RunningTask, Worker

from . import display
from .readonly import ReadOnlyAdmin

RUNNING_SHOWN = 100


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "name", "host", "pid", "queues", "pool", "processes", "concurrency", "version", "draining",
        "running", "succeeded", "failed", "lost", "heartbeat_age", "lease",
    )  # fmt: skip
    ordering = ("name", "pk")
    fields = (*list_display, "started", "held")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        queryset = queryset.annotate(
            silent_for=ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField()),
            lease_left=ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()),
        )
        return queryset

    @admin.display(description=_("last heartbeat"))
    def heartbeat_age(self, worker: Any) -> str:
        return gettext("%(duration)s ago") % {"duration": display.duration(worker.silent_for)}

    @admin.display(description=_("lease"))
    def lease(self, worker: Any) -> SafeString:
        return lease_of(worker)

    @admin.display(description=_("started"))
    def started(self, worker: Worker) -> str:
        return display.moment(worker.started_at)

    @admin.display(description=_("holds"))
    def held(self, worker: Any) -> SafeString | str:
        leases = RunningTask.objects.using(worker._state.db).filter(worker_id=worker.pk)
        rows = leases.order_by("task_id").values_list("task_id", "attempt", "claimed_at")[:RUNNING_SHOWN]
        items = [
            (
                display.task_link(task_id),
                gettext("attempt %(number)s") % {"number": attempt},
                display.moment(since),
            )
            for task_id, attempt, since in rows
        ]
        if not items:
            return display.EMPTY
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}, {}, {}</li>", items))


def lease_of(worker: Any) -> SafeString:
    """Return alive; late, when heartbeats are missing; or lost, when its tasks may be reclaimed."""
    if worker.lease_left < timedelta(0):
        return display.labelled("lost", "✗", gettext("lost"))
    if worker.silent_for > timedelta(seconds=2 * settings.HEARTBEAT):
        return display.labelled("late", "◷", gettext("late"))
    return display.labelled("alive", "✓", gettext("alive"))
