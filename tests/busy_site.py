"""A site on a busy afternoon: some of everything that the monitor shows, with names as long as they are in life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from djqueue import chain, chord, group
from djqueue.control.pausing import pause
from djqueue.models import (
    Binding,
    Exchange,
    Queue,
    RateLimit,
    ReadyTask,
    RunningTask,
    ScheduledTask,
    Task,
    TaskAttempt,
    TaskLog,
    TaskResult,
    WaitingTask,
    Worker,
)
from djqueue.models.schedules import Schedule
from djqueue.states import Ending, ScheduleReason, State

from .site.canvas_tasks import add, identity, tsum
from .site.form_tasks import many_kinds
from .test_admin import page_of
from .test_monitor import DASHBOARD, FAILURES, counted

ADMIN = "/admin/djqueue/"
TASKS = f"{ADMIN}task/"
ENQUEUE = f"{TASKS}enqueue/?task={many_kinds.name}"
WORKFLOWS = f"{TASKS}workflows/"
LONG_QUEUE = "imports-from-the-legacy-warehouse-eu-central-1"
LONG_NAME = "warehouse.integrations.legacy.tasks.synchronise_stock_levels_of_all_distribution_centres"
# Name, queue, successes a minute, waits and runs in seconds.
BUSY = (
    ("shop.tasks.charge_card", "payments", 90, [0.01, 0.03, 0.2], [0.3, 0.6, 2.1]),
    ("shop.mail.send_receipt", "mail", 140, [0.02, 0.05, 0.9], [0.1, 0.2, 0.4]),
    ("media.thumbnails.make", "media", 60, [0.2, 0.9, 4.0], [1.2, 2.5, 7.0]),
    ("search.index.update_product", "default", 35, [0.01, 0.02, 0.1], [0.02, 0.05, 0.2]),
    (LONG_NAME, LONG_QUEUE, 4, [1.5, 8.0, 30.0], [20.0, 45.0, 110.0]),
)
DECLINED = (
    'Traceback (most recent call last):\n  File "/srv/shop/payments/gateway.py", line 88, in post\n'
    "    return self.session.post(url, json=body, timeout=10).json()[name]\n"
    "           ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~^^^^^^\nKeyError: 'charge'\n\n"
    "The above exception was the direct cause of the following exception:\n\n"
    'Traceback (most recent call last):\n  File "/usr/lib/python3.13/asyncio/runners.py", line 118, in run\n'
    "    return self._loop.run_until_complete(task)\n"
    '  File "/srv/shop/tasks.py", line 41, in charge_card\n    raise CardDeclined(order.pk) from error\n'
    "shop.payments.CardDeclined: order 48213 of customer 917 was declined by the issuer\n"
)
REFUSED = (
    'Traceback (most recent call last):\n  File "/usr/lib/python3.13/smtplib.py", line 256, in __init__\n'
    "    (code, msg) = self.connect(host, port)\n"
    '  File "/srv/shop/mail.py", line 19, in send_receipt\n    with SMTP(settings.RELAY) as relay:\n'
    "ConnectionRefusedError: [Errno 111] Connection refused\n"
)
LATE = (
    'Traceback (most recent call last):\n  File "/srv/warehouse/integrations/legacy/tasks.py", line 203, in page\n'
    "    raise TimeLimitExceeded(110)\ndjqueue.exceptions.TimeLimitExceeded: 110 s\n"
)
ERRORS = (
    ("shop.tasks.charge_card", "payments", 23, "CardDeclined", "shop.payments", DECLINED,
     "order 48213 of customer 917 was declined by the issuer"),
    ("shop.mail.send_receipt", "mail", 9, "ConnectionRefusedError", "builtins", REFUSED,
     "[Errno 111] Connection refused"),
    (LONG_NAME, LONG_QUEUE, 2, "TimeLimitExceeded", "djqueue.exceptions", LATE, "110 s"),
)  # fmt: skip
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"name": "send reminders", "task": "shop.mail.send_reminders", "expression": "30 7 * * mon-fri",
     "timezone": "Europe/Berlin", "description": "To those who have left something in their basket."},
    {"name": "synchronise the stock of all distribution centres with the legacy warehouse", "task": LONG_NAME,
     "kind": "interval", "every": timedelta(minutes=10), "queue": LONG_QUEUE},
    {"name": "monthly report", "task": "reports.monthly.build", "expression": "0 4 1 * *", "kwargs": {"format": "pdf"}},
    {"name": "move to the new gateway", "task": "shop.payments.migrate", "kind": "clocked",
     "clocked_at": datetime(2090, 1, 2, 3, tzinfo=UTC)},
    {"name": "clean up", "task": "shop.tasks.clean_up", "expression": "15 3 * * *", "enabled": False},
)  # fmt: skip


def fill() -> dict[str, str]:
    """Make something of everything; return the paths of the pages by name."""
    _statistics()
    workers = _workers()
    _lines()
    failed = _failures()
    running = _running(workers)
    scheduled = Task.objects.filter(scheduled__isnull=False).first()
    succeeded = _task("search.index.update_product", "default", State.SUCCEEDED)
    step = _workflows()
    limit = RateLimit.objects.create(kind=2, name="mail", rate="600/m", per_second=10)
    RateLimit.objects.create(kind=1, name=LONG_NAME, declared="10/m", per_second=10 / 60, strict=True)
    pause(task="media.thumbnails.make")
    pause(key="tenant-0193f1f0-6d1c-7c7e-9a53-d39f2f9a1c77", until=timezone.now() + timedelta(hours=3))
    exchange = Exchange.objects.create(name="orders", kind="topic", description="What happens to orders")
    Binding.objects.create(exchange=exchange, routing_key="order.*.paid", queue="mail")
    schedules = [Schedule.objects.create(**values) for values in SCHEDULES]
    return {
        "index": ADMIN, "dashboard": DASHBOARD,
        "tasks": TASKS, "tasks-failed": f"{TASKS}?state=failed",
        "task-failed": page_of(failed), "task-running": page_of(running), "task-scheduled": page_of(scheduled),
        "task-succeeded": page_of(succeeded), "task-workflow": page_of(step),
        "failures": FAILURES, "workflows": WORKFLOWS, "enqueue": ENQUEUE,
        "results": f"{ADMIN}taskresult/", "result": f"{ADMIN}taskresult/{failed.pk}/change/",
        "queues": f"{ADMIN}queue/", "queue": page_of(Queue.objects.get(name=LONG_QUEUE)),
        "workers": f"{ADMIN}worker/", "worker": page_of(workers[0]),
        "schedules": f"{ADMIN}schedule/", "schedule": page_of(schedules[0]), "schedule-new": f"{ADMIN}schedule/add/",
        "limits": f"{ADMIN}ratelimit/", "limit": page_of(limit), "pauses": f"{ADMIN}pause/",
        "pause-new": f"{ADMIN}pause/add/", "exchanges": f"{ADMIN}exchange/", "exchange": page_of(exchange),
    }  # fmt: skip


def _statistics() -> None:
    """The last hour: a wave, with a bad quarter of an hour in it."""
    for minute in range(60):
        for place, (name, queue, rate, waits, runs) in enumerate(BUSY):
            wave = rate * (14 + (minute * 7 + place * 3) % 9) // 18
            bad = 30 <= minute < 42 and place < 2
            counted(
                timedelta(minutes=minute), name=name, queue=queue, succeeded=wave // (2 if bad else 1),
                failed=wave // 9 if bad else minute * (place + 3) % 11 // 9, retried=wave // 5 if bad else minute % 3,
                lost=int(minute == 37 and place == 0),
                waits=[wait * (3 if bad else 1 + minute % 4 / 9) for wait in waits],
                runs=[run * (1 + minute % 5 / 7) for run in runs],
            )  # fmt: skip


def _workers() -> list[Worker]:
    now = timezone.now()
    kinds = (
        ("payments@web-03.fra1.shop.example.net", "payments,mail,default", "processes", 8, 0, 4),
        ("media@gpu-01.fra1.shop.example.net", "media", "threads", 16, 260, 30),
        ("everything@web-04.fra1.shop.example.net", "*", "async", 200, 1900, -20),
    )
    return [
        Worker.objects.create(
            name=name, host=name.split("@")[1], pid=4711 + place, queues=queues, pool=pool, concurrency=slots,
            version="1.2.3", succeeded=184_223 // (place + 1), failed=312 // (place + 1), running=0 if place else 2,
            started_at=now - timedelta(days=3, hours=place), heartbeat_at=now - timedelta(seconds=silent),
            lease_until=now + timedelta(seconds=3600 if lease > 0 else lease),
        )
        for place, (name, queues, pool, slots, silent, lease) in enumerate(kinds)
    ]  # fmt: skip


def _task(name: str, queue: str, state: State, *, ago: timedelta = timedelta(minutes=4), **values: Any) -> Task:
    """Insert a task that was enqueued so long ago, and stands in ``state``; ``error`` is for one that failed."""
    now = timezone.now()
    error = values.pop("error", None)
    task = Task.objects.create(
        **{"name": name, "queue": queue, "kwargs": {"order": 48213}, "created_at": now - ago, **values}
    )
    match state:
        case State.READY:
            ReadyTask.objects.create(queue=queue, priority=task.priority, task=task)
        case State.SCHEDULED:
            ScheduledTask.objects.create(run_at=now + ago, task=task, attempt=1, reason=ScheduleReason.RETRY)
        case _:
            TaskResult.objects.create(
                task=task, state=state, attempt=3 if error else 1, worker="payments@web-03.fra1.shop.example.net",
                value={"order": 48213, "indexed": True} if state is State.SUCCEEDED else None, error=error,
                started_at=now - ago + timedelta(seconds=1), finished_at=now - ago + timedelta(seconds=2.4),
            )  # fmt: skip
    return task


def _lines() -> None:
    for name in ("default", "mail", "media", "payments", LONG_QUEUE):
        Queue.objects.create(name=name)
    pause(queue=LONG_QUEUE, until=timezone.now() + timedelta(hours=2))
    for place, (name, queue, rate, *_times) in enumerate(BUSY):
        for number in range(rate // 20 + 2):
            _task(name, queue, State.READY, ago=timedelta(seconds=3 + number), priority=place % 2 * 10)
        for number in range(2):
            _task(name, queue, State.SCHEDULED, ago=timedelta(minutes=number + 2))
    _task("shop.newsletter.send", "newsletters", State.READY, ago=timedelta(hours=5))


def _failures() -> Task:
    """Insert groups of failures; return the one with the longest story."""
    for name, queue, times, exception, module, traceback, message in ERRORS:
        error = {"exc_type": exception, "exc_message": [message], "exc_module": module, "traceback": traceback}
        for number in range(times, 0, -1):
            ago = timedelta(minutes=3 + number)
            given = {"kwargs": {"order": 48214 - number, "token": "secret"}, "args": [917, {"city": "Berlin"}]}
            task = _task(name, queue, State.FAILED, ago=ago, error=error, **given)
        if name == "shop.tasks.charge_card":
            first = task
            for attempt in (1, 2):
                at = task.created_at + timedelta(milliseconds=200 * attempt)
                TaskAttempt.objects.create(
                    task=task, attempt=attempt, outcome=Ending.RETRIED, worker="payments@web-03.fra1.shop.example.net",
                    error=error, started_at=at, finished_at=at + timedelta(milliseconds=180),
                )  # fmt: skip
            Task.objects.filter(pk=task.pk).update(options={"headers": {"tenant": "north", "token": "secret"}})
            lines = ("charging order 48213", "the gateway took 1.2 s", "declined by the issuer: insufficient funds")
            text = "".join(f"10:00:0{number} INFO    shop.tasks: {line}\n" for number, line in enumerate(lines))
            TaskLog.objects.create(task_id=task.pk, attempt=3, text=text)
    return first


def _running(workers: list[Worker]) -> Task:
    now = timezone.now()
    for name, queue, meta in (
        ("shop.mail.send_receipt", "mail", None),
        (LONG_NAME, LONG_QUEUE, {"current": 30, "total": 120}),
    ):
        task = Task.objects.create(name=name, queue=queue, created_at=now - timedelta(seconds=90))
        RunningTask.objects.create(
            task=task, attempt=1, worker=workers[0], claimed_at=now - timedelta(seconds=80), meta=meta,
            state="PROGRESS" if meta else None,
        )  # fmt: skip
    return task


def _workflows() -> Task:
    """One workflow that goes on, one with a failed step, one that is done; return a step of the second."""
    chord([identity.s(n) for n in range(12)], tsum.s()).apply_async()
    broken = chain(add.s(1, 2), group(identity.s() for _ in range(3)), tsum.s()).apply_async()
    chain(add.s(1, 2), identity.s()).apply_async()
    named = {
        identity.name: "media.thumbnails.make",
        tsum.name: "shop.tasks.publish",
        add.name: "shop.tasks.fetch_orders",
    }
    for old, new in named.items():
        Task.objects.filter(name=old).update(name=new)
    Task.objects.filter(name__in=named.values()).update(created_at=timezone.now() - timedelta(seconds=20))
    last = Task.objects.get(pk=broken.id)
    error = {
        "exc_type": "OSError",
        "exc_message": ["the image is truncated"],
        "exc_module": "builtins",
        "traceback": "",
    }
    steps = list(Task.objects.filter(workflow_id=last.workflow_id).order_by("pk"))
    others = Task.objects.filter(workflow_id__isnull=False).exclude(workflow_id=last.workflow_id).order_by("-pk")
    _end(steps[0], State.SUCCEEDED, {"value": 3})
    members = [step for step in steps if step.name == "media.thumbnails.make"]
    _end(members[0], State.SUCCEEDED, {"value": 1})
    _end(members[1], State.FAILED, {"error": error})
    for task in others[:7]:
        _end(task, State.SUCCEEDED, {"value": 1})
    return members[1]


def _end(task: Task, state: State, values: dict[str, Any]) -> None:
    """Take a step from where it stands, and have it end."""
    now = timezone.now()
    for model in (ReadyTask, WaitingTask):
        model.objects.filter(task=task).delete()
    TaskResult.objects.create(
        task=task, state=state, attempt=1, worker="media@gpu-01.fra1.shop.example.net", **values,
        started_at=now - timedelta(seconds=9), finished_at=now - timedelta(seconds=2),
    )  # fmt: skip
