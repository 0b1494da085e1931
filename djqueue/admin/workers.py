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
from djqueue.models import RunningTask, Task, Worker

from . import display
from .readonly import ReadOnlyAdmin

RUNNING_SHOWN = 100


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "named", "lease", "queues", "slots", "running", "succeeded", "failed", "lost", "heartbeat_age",
    )  # fmt: skip
    ordering = ("name", "pk")
    fields = (
        "name", "host", "pid", "version", "lease", "heartbeat_age", "started", "queues", "pool", "processes",
        "concurrency", "draining", "running", "succeeded", "failed", "lost", "held",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        queryset = queryset.annotate(
            silent_for=ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField()),
            lease_left=ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()),
        )
        return queryset

    @admin.display(description=_("worker"))
    def named(self, worker: Worker) -> SafeString:
        """The name, and below it where it is."""
        where = gettext("%(host)s, process %(pid)s") % {"host": worker.host, "pid": worker.pid}
        return format_html('{}<br><small class="djqueue-quiet">{}</small>', worker.name, where)

    @admin.display(description=_("pool"))
    def slots(self, worker: Worker) -> str:
        """The pool, with its executors and the tasks of each where these are two numbers."""
        return slots_of(worker)

    @admin.display(description=_("last heartbeat"))
    def heartbeat_age(self, worker: Any) -> str:
        return gettext("%(duration)s ago") % {"duration": display.duration(worker.silent_for)}

    @admin.display(description=_("lease"))
    def lease(self, worker: Any) -> SafeString:
        label = lease_of(worker)
        return format_html("{} ({})", label, gettext("draining")) if worker.draining else label

    @admin.display(description=_("started"))
    def started(self, worker: Worker) -> str:
        return display.moment(worker.started_at)

    @admin.display(description=_("holds"))
    def held(self, worker: Any) -> SafeString | str:
        leases = RunningTask.objects.using(worker._state.db).filter(worker_id=worker.pk)
        rows = leases.order_by("task_id").values_list("task_id", "attempt", "claimed_at")[:RUNNING_SHOWN]
        names = dict(Task.objects.using(worker._state.db).filter(pk__in=[r[0] for r in rows]).values_list("pk", "name"))
        if not rows:
            return display.EMPTY
        titles = (_("task"), _("attempt"), _("since"))
        cells = (
            (display.page_link("task", pk, names.get(pk, pk)), attempt, display.moment(since))
            for pk, attempt, since in rows
        )
        return format_html(
            '<table class="djqueue-attempts"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
            format_html_join("", '<th scope="col">{}</th>', ((title,) for title in titles)),
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", cells),
        )


def lease_of(worker: Any) -> SafeString:
    """Return alive; late, when heartbeats are missing; or lost, when its tasks may be reclaimed."""
    if worker.lease_left < timedelta(0):
        return display.labelled("lost", "✗", gettext("lost"))
    if worker.silent_for > timedelta(seconds=2 * settings.HEARTBEAT):
        return display.labelled("late", "◷", gettext("late"))
    return display.labelled("alive", "✓", gettext("alive"))


def slots_of(worker: Worker) -> str:
    """Return the pool with its size; on ``processes`` an executor is one slot."""
    processes = "" if worker.pool in ("processes", "solo") else f"{worker.processes} x "
    return f"{worker.pool} {processes}{worker.concurrency}"
