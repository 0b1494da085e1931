"""The worker pages: who is alive, by the database's clock, and what each holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.db.models import DurationField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.control.asking import ask_one
from djqueue.exceptions import WorkerNotFound
from djqueue.models import RunningTask, Task, Worker

from . import display
from .steps import Step, SteppedAdmin

RUNNING_SHOWN = 100
ANSWERS_WITHIN = 3.0
"""Seconds that a worker has to answer."""


class NumberForm(forms.Form):
    number = forms.IntegerField(label=_("Executors"), min_value=1, max_value=64, initial=1)


CONTROL = "djqueue.control_worker"
STEPS = {
    step.name: step
    for step in (
        Step("quiet", CONTROL, _("Quiet"), _("It claims nothing more and stays. What runs goes on.")),
        Step("unquiet", CONTROL, _("Go on"), _("It claims tasks again.")),
        Step("grow", CONTROL, _("Grow"), _("It starts so many more executors.")),
        Step("shrink", CONTROL, _("Shrink"), _("So many executors end, each when it has finished what it runs.")),
        Step(
            "stop", CONTROL, _("Stop"),
            _("It claims nothing more, finishes what runs, and ends. A service manager may start it again."),
            grave=True,
        ),
    )
}  # fmt: skip
COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "quiet": ("quiet", {"on": True}),
    "unquiet": ("quiet", {"on": False}),
    "grow": ("pool_grow", {}),
    "shrink": ("pool_shrink", {}),
    "stop": ("shutdown", {}),
}


@admin.register(Worker)
class WorkerAdmin(SteppedAdmin):
    steps = STEPS
    list_display = (
        "named", "lease", "queues", "slots",
        "count_running", "count_succeeded", "count_failed", "count_lost", "heartbeat_age",
    )  # fmt: skip
    ordering = ("name", "pk")
    fields = (
        ("name", "host", "pid", "version"),
        ("lease", "heartbeat_age", "started"),
        ("queues", "pool", "processes", "concurrency"),
        ("count_running", "count_succeeded", "count_failed", "count_lost"),
        "held",
    )
    readonly_fields = tuple(flatten(fields))

    count_running = display.number_of("running", _("running now"))
    count_succeeded = display.number_of("succeeded", _("succeeded"))
    count_failed = display.number_of("failed", _("failed"))
    count_lost = display.number_of("lost", _("lost"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        queryset = queryset.annotate(
            silent_for=ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField()),
            lease_left=ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()),
        )
        return queryset

    def fits(self, request: HttpRequest, step: Step, row: Any) -> bool:
        if row.lease_left < timedelta(0) or not self.may(request, step):
            return False
        match step.name:
            case "quiet" | "unquiet":
                return bool(row.draining) == (step.name == "unquiet")
            case "grow" | "shrink":
                return row.pool != "solo" and not row.draining
        return True

    def form_of(self, step: Step, row: Any, data: Any) -> forms.Form:
        return NumberForm(data) if step.name in ("grow", "shrink") else forms.Form(data)

    def page_of(self, row: Any) -> str:
        return reverse("admin:djqueue_worker_change", args=[row.pk])

    def carry_out(self, request: HttpRequest, step: Step, row: Any, values: dict[str, Any]) -> None:
        """Ask the worker, and say what it answers."""
        command, arguments = COMMANDS[step.name]
        if "number" in values:
            arguments = {"n": values["number"]}
        try:
            # Two workers may have one name, so not by the name.
            answer = ask_one(row.pk, command, arguments, ANSWERS_WITHIN)
        except WorkerNotFound as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        if answer is None:
            said = gettext("%(worker)s has not answered, so it will not do it.") % {"worker": row.name}
            self.message_user(request, said, messages.ERROR)
        elif "error" in answer:
            self.message_user(request, f"{row.name}: {answer['error']}", messages.ERROR)
        else:
            self.log_change(request, row, f"{command}({arguments}): {answer.get('ok')}")
            self.message_user(request, f"{row.name}: {answer.get('ok')}", messages.SUCCESS)

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
