"""Lists: what the pages of the admin show, as JSON, with the same filters, search and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest

from djqueue.admin import arguments, overview
from djqueue.admin.dashboard import span_of
from djqueue.admin.failures import read_failures
from djqueue.admin.figures import Figures, recent_overview
from djqueue.admin.readonly import may_view
from djqueue.conf import settings
from djqueue.models import RunningTask, Schedule, Task, TaskAttempt, TaskResult
from djqueue.redaction import redact
from djqueue.states import Ending, State

from .access import Refused

ATTEMPTS_SHOWN = 50


def tasks(request: HttpRequest) -> dict[str, Any]:
    """Return a page of tasks; parameters are those of the admin's page: ``state queue worker enqueued tag q p``."""
    change_list = listed(request, Task)
    page, pages = change_list.page_num, change_list.paginator.num_pages
    return {
        "tasks": [short(task) for task in change_list.result_list],
        "listed": change_list.result_count,
        "more_match": change_list.paginator.has_more,
        "page": page,
        "pages": pages,
        "next": change_list.get_query_string({"p": page + 1}) if page < pages else None,
    }


def listed(request: HttpRequest, model: Any) -> Any:
    """Return the list of a model as the admin makes it for this request."""
    change_list: Any = admin.site.get_model_admin(model).get_changelist_instance(request)
    return change_list


def short(task: Any) -> dict[str, Any]:
    return {
        "id": str(task.pk),
        "name": task.name,
        "queue": task.queue,
        "priority": task.priority,
        "state": State(task.state_code).name.lower(),
        "attempt": task.attempt,
        "created_at": task.created_at,
    }


def task(request: HttpRequest, task_id: UUID) -> dict[str, Any]:
    """Return everything about a task that this user may see."""
    model_admin: Any = admin.site.get_model_admin(Task)
    found = model_admin.get_object(request, str(task_id))
    if found is None:
        raise Http404(f"no task has the id {task_id}")
    args, kwargs = arguments.shown(found)
    running = RunningTask.objects.using(settings.DATABASE).filter(pk=found.pk).first()
    return {
        **short(found),
        "args": args,
        "kwargs": kwargs,
        "options": redact(found.options),
        "expires_at": found.expires_at,
        "parent_id": found.parent_id,
        "root_id": found.root_id,
        "workflow_id": found.workflow_id,
        "progress": None if running is None or running.state is None else [running.state, redact(running.meta)],
        "result": _result(found) if may_view(request, TaskResult) else None,
        "attempts": _attempts(found) if may_view(request, TaskAttempt) else None,
    }


def _result(task: Any) -> dict[str, Any] | None:
    result = TaskResult.objects.using(settings.DATABASE).filter(pk=task.pk).first()
    if result is None:
        return None
    return {
        "state": State(result.state).name.lower(),
        "value": arguments.plain(result.value),
        "error": redact(result.error),
        "attempt": result.attempt,
        "worker": result.worker,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
    }


def _attempts(task: Any) -> list[dict[str, Any]]:
    attempts = TaskAttempt.objects.using(settings.DATABASE).filter(task_id=task.pk).order_by("-attempt")
    return [
        {
            "attempt": attempt.attempt,
            "outcome": Ending(attempt.outcome).name.lower(),
            "worker": attempt.worker,
            "error": redact(attempt.error),
            "started_at": attempt.started_at,
            "finished_at": attempt.finished_at,
        }
        for attempt in attempts[:ATTEMPTS_SHOWN]
    ]


def queues(request: HttpRequest) -> dict[str, Any]:
    found = overview.read_queues(settings.DATABASE)
    return {
        "queues": [
            {
                "name": queue.name,
                "ready": queue.ready,
                "more_ready": queue.more,
                "oldest_seconds": None if queue.line.oldest is None else queue.line.oldest.total_seconds(),
                "running": queue.line.running,
                "scheduled_soon": queue.scheduled,
                "paused_until": queue.paused_until,
                "rate_limit_per_second": queue.per_second,
            }
            for queue in found
        ]
    }


def workers(request: HttpRequest) -> dict[str, Any]:
    return {"workers": [worker_as_json(worker) for worker in overview.read_workers(settings.DATABASE)]}


def worker_as_json(worker: Any) -> dict[str, Any]:
    names = (
        "id", "name", "host", "pid", "version", "queues", "pool", "processes", "concurrency", "draining", "running",
        "succeeded", "failed", "lost", "started_at", "heartbeat_at", "lease_until",
    )  # fmt: skip
    return {"alive": worker.lease_left > timedelta(0), **{name: getattr(worker, name) for name in names}}


def schedules(request: HttpRequest) -> dict[str, Any]:
    rows = Schedule.objects.using(settings.DATABASE).order_by("name")
    names = ("id", "name", "task", "kind", "enabled", "next_run_at", "last_run_at", "total_runs")
    return {"schedules": [{name: getattr(row, name) for name in names} for row in rows]}


def failures(request: HttpRequest) -> dict[str, Any]:
    span = span_of(request)
    groups, more = read_failures(settings.DATABASE, timedelta(minutes=span.minutes * span.points))
    return {
        "failures": [
            {
                "key": group.key,
                "task": group.name,
                "exception": group.exception,
                "frame": group.frame,
                "message": group.message,
                "count": group.count,
                "first": group.first,
                "last": group.last,
                "example": group.example,
            }
            for group in groups
        ],
        "more": more,
    }


def statistics(request: HttpRequest) -> dict[str, Any]:
    if (asked := request.GET.get("span", "1h")) != span_of(request).key:
        raise Refused(f"expected span to be 1h, 24h or 7d, got: {asked}")
    figures = recent_overview(settings.DATABASE, span_of(request))
    return {
        "span": figures.span.key,
        "total": sums(figures.total),
        "points": [
            {"at": time, **sums(point)} for time, point in zip(figures.times, figures.points, strict=True) if point.runs
        ],
        "tasks": {name: sums(one) for name, one in figures.tasks},
    }


def sums(figures: Figures) -> Mapping[str, Any]:
    """Return figures with times in seconds."""
    return {
        **{name: getattr(figures, name) for name in ("succeeded", "failed", "retried", "cancelled", "lost")},
        "wait": {"p50": figures.wait(50), "p95": figures.wait(95)},
        "run": {"p50": figures.run(50), "p95": figures.run(95)},
    }
