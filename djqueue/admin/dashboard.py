"""The dashboard: how much goes through, how long it takes, what waits, who works and what went wrong."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.formats import date_format, number_format
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.models import Queue, Schedule, Statistic, Task, TaskResult, Worker

from . import charts, display, overview
from .charts import Series
from .figures import SPANS, Figures, Overview, Span, recent_overview
from .limits import in_words
from .readonly import ReadOnlyAdmin, may_view
from .workers import lease_of, slots_of

RATES = (0, 2, 5, 15, 60)
"""Seconds between two looks at the dashboard; 0 is none."""


@admin.register(Statistic)
class DashboardAdmin(ReadOnlyAdmin):
    """The list of statistics is no list but what they say."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [path("live/", view(self.live_view), name="djqueue_dashboard_live"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the dashboard; the script on it replaces its live part."""
        live, etag = self._live(request)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Dashboard"),
            "opts": self.opts,
            "live": live,
            "etag": etag,
            "rates": RATES,
            "span": span_of(request),
            "spans": SPANS.values(),
            "media": self.media,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/djqueue/statistic/dashboard.html", context)

    def live_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the live part, or with 304 if it is what the browser has."""
        live, etag = self._live(request)
        if request.headers.get("If-None-Match") == etag:
            return HttpResponseNotModified(headers={"ETag": etag})
        return HttpResponse(live, headers={"ETag": etag})

    def _live(self, request: HttpRequest) -> tuple[SafeString, str]:
        if not self.has_view_permission(request):
            raise PermissionDenied
        text = render_to_string("admin/djqueue/statistic/live.html", live_context(request, span_of(request)), request)
        return text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def span_of(request: HttpRequest) -> Span:
    return SPANS.get(request.GET.get("span", ""), SPANS["1h"])


def live_context(request: HttpRequest, span: Span) -> dict[str, Any]:
    """Return what the live part shows: nothing of tables that the user may not view."""
    database = settings.DATABASE
    figures = recent_overview(database, span)
    within = timedelta(minutes=span.minutes * span.points)
    failures, more_failures = (
        overview.read_recent_failures(database, within) if may_view(request, TaskResult) else ([], 0)
    )
    workers = overview.read_workers(database) if may_view(request, Worker) else None
    return {
        "span": span,
        "charts": drawn(figures),
        "rows": rows_of(figures),
        "tiles": tiles(figures),
        "tasks": [(name, cells(one)) for name, one in figures.tasks] if may_view(request, Task) else None,
        "queues": [(queue, line_cells(queue)) for queue in overview.read_queues(database)]
        if may_view(request, Queue)
        else None,
        "may_view_tasks": may_view(request, Task),
        "workers": None if workers is None else [(worker, lease_of(worker), slots_of(worker)) for worker in workers],
        "schedules": overview.read_schedules(database) if may_view(request, Schedule) else None,
        "failures": failures if may_view(request, TaskResult) else None,
        "more_failures": more_failures,
        "health": overview.read_health(),
    }


def tiles(figures: Overview) -> list[tuple[Any, str, str, str]]:
    """Return the sums over the span: title, value, what is to be noted of it, and a kind."""
    total = figures.total
    share = total.failure_share
    noted = "" if share is None else gettext("%(share)s %% of what ended") % {"share": number_format(share * 100, 1)}
    return [
        (_("Succeeded"), count(total.succeeded), figures.span.each and per_second(figures), "succeeded"),
        (_("Failed"), count(total.failed), noted, "failed" if total.failed else ""),
        (_("Retried"), count(total.retried), "", ""),
        (_("Lost"), count(total.lost), "", "failed" if total.lost else ""),
        (_("Waited, 95 %"), duration(total.wait(95)), gettext("median %s") % duration(total.wait(50)), ""),
        (_("Ran, 95 %"), duration(total.run(95)), gettext("median %s") % duration(total.run(50)), ""),
    ]


def per_second(figures: Overview) -> str:
    rate = figures.total.succeeded / (figures.span.points * figures.span.minutes * 60)
    return gettext("%(rate)s per second on average") % {"rate": number_format(rate, 2 if rate < 10 else 0)}


def drawn(figures: Overview) -> list[SafeString]:
    """Return the charts."""
    labels = [label(time, figures.span) for time in figures.times]
    points, total = figures.points, figures.total

    def counted(name: str, title: Any) -> Series:
        return Series(name, title, [getattr(point, name) for point in points])

    def timed(kind: str, title: Any, percent: float, which: str) -> Series:
        return Series(kind, title, [getattr(point, which)(percent) for point in points])

    def both(which: str) -> list[Series]:
        return [timed("p95", _("95 %"), 95, which), timed("p50", _("median"), 50, which)]

    each = {"each": figures.span.each}
    return [
        charts.chart(
            gettext("Succeeded %(each)s") % each, [counted("succeeded", _("succeeded"))], charts.bars,
            labels=labels, shown=compact, ticked=compact,
            summary=gettext("%(count)s succeeded in all") % {"count": count(total.succeeded)},
        ),
        charts.chart(
            gettext("Went wrong %(each)s") % each,
            [counted("failed", _("failed")), counted("lost", _("lost")), counted("retried", _("retried"))],
            charts.bars, labels=labels, shown=compact, ticked=compact,
            summary=gettext("%(failed)s failed, %(lost)s lost, %(retried)s retried in all")
            % {name: count(getattr(total, name)) for name in ("failed", "lost", "retried")},
        ),
        *(
            charts.chart(
                title, both(which), charts.lines, labels=labels, shown=duration, ticked=tick,
                summary=gettext("95 %% took at most %(p95)s, half at most %(p50)s")
                % {"p95": duration(getattr(total, which)(95)), "p50": duration(getattr(total, which)(50))},
            )
            for title, which in ((_("Waited before the first attempt"), "wait"), (_("Ran"), "run"))
        ),
    ]  # fmt: skip


def rows_of(figures: Overview) -> list[tuple[str, list[str]]]:
    """Return the points in which anything happened, the latest first, for who reads tables."""
    rows = zip(figures.times, figures.points, strict=True)
    return [(label(time, figures.span), cells(point)) for time, point in rows if point.runs or point.lost][::-1]


def cells(figures: Figures) -> list[str]:
    """Return a row: endings, then how long half and 95 % waited and ran at most."""
    endings = (figures.succeeded, figures.failed, figures.retried, figures.lost)
    times = (figures.wait(50), figures.wait(95), figures.run(50), figures.run(95))
    return [*map(count, endings), *map(duration, times)]


def line_cells(queue: overview.QueueNow) -> list[str]:
    return [
        count(queue.ready) + ("+" if queue.more else ""),
        display.duration(queue.line.oldest),
        count(queue.line.running),
        count(queue.scheduled),
        display.pause_end(queue.paused_until),
        display.EMPTY if queue.per_second is None else in_words(queue.per_second),
    ]


def label(time: Any, span: Span) -> str:
    return date_format(localtime(time), "H:i" if span.key == "1h" else "D H:i")


def count(number: float) -> str:
    return display.number(round(number))


def compact(number: Any) -> str:
    """Return a number in few characters, as for the edge of a chart."""
    number = number or 0
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{short(number / size)} {unit}"
    return short(number)


def short(number: float) -> str:
    """Return a number with one decimal, or none where that is zero."""
    rounded = round(number, 1)
    return number_format(int(rounded) if rounded == int(rounded) else rounded)


def tick(seconds: float) -> str:
    """Return a power of ten, as it stands beside a scale."""
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{display.number(round(seconds))} s"


def duration(seconds: Any) -> str:
    return display.duration(None if seconds is None else timedelta(seconds=seconds))
