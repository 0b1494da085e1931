"""The queue pages: how long each line is, how old its first task is, and whether it is paused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten, quote
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.db import connections
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.control.pausing import FOREVER, pause, resume
from djqueue.control.purging import purge_for
from djqueue.models import Queue, RateLimit
from djqueue.models.limits import Limited

from . import display
from .limits import in_words
from .lines import COUNTED, Line, read_lines
from .steps import Step, SteppedAdmin

HELD_BACK = """
SELECT count(*) FILTER (WHERE task.queue = asked.name), count(*)
FROM (SELECT task_id FROM djqueue_parkedtask ORDER BY gate, rank, seq LIMIT %s) AS parked
CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = parked.task_id LIMIT 1) AS task
CROSS JOIN (SELECT %s AS name) AS asked
"""
PAUSE_FOR = timedelta(hours=1)
"""What the form proposes."""
MOST_SECONDS = 20.0
"""Time that a request may take to purge; what is left then is for the next."""


class PauseForm(forms.Form):
    until = forms.SplitDateTimeField(
        label=_("Pause until"), required=False, widget=AdminSplitDateTime,
        help_text=_("Empty: until it is resumed."),
    )  # fmt: skip

    def clean_until(self) -> datetime:
        until: datetime = self.cleaned_data["until"] or FOREVER
        if until <= timezone.now():
            raise ValidationError(_("Expected a time that lies ahead."))
        return until


class PurgeForm(forms.Form):
    """Whoever drops tasks types the name of their queue."""

    typed = forms.CharField(
        label=_("Type the name of the queue"), widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, queue: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self.queue:
            raise ValidationError(_("Expected %(queue)s, got: %(typed)s"), params={"queue": self.queue, "typed": typed})
        return typed


STEPS = {
    step.name: step
    for step in (
        Step(
            "pause", "djqueue.pause_queue", _("Pause"),
            _("Workers start nothing from it until then. What runs goes on."),
        ),
        Step("resume", "djqueue.pause_queue", _("Resume"), _("Workers go on with it at once.")),
        Step(
            "purge", "djqueue.purge_queue", _("Purge"),
            _("All tasks in line are cancelled, and what waits for them. What runs, or is scheduled, stays."),
            grave=True,
        ),
    )
}  # fmt: skip


@admin.register(Queue)
class QueueAdmin(SteppedAdmin):
    steps = STEPS
    list_display = ("name", "paused", "limit", "ready", "oldest", "running")
    ordering = ("name",)
    fields = (("name", "paused", "limit", "held_back"), ("ready", "oldest", "running", "first_seen"))
    readonly_fields = tuple(flatten(fields))

    def fits(self, request: HttpRequest, step: Step, row: Any) -> bool:
        paused = row.paused_until is not None and row.paused_until > timezone.now()
        return self.may(request, step) and (step.name != "resume" or paused)

    def form_of(self, step: Step, row: Any, data: Any) -> forms.Form:
        match step.name:
            case "pause":
                return PauseForm(data, initial={"until": timezone.now() + PAUSE_FOR})
            case "purge":
                return PurgeForm(data, queue=row.name)
        return forms.Form(data)

    def fact_of(self, step: Step, row: Any) -> str:
        return gettext("In line now: %(ready)s") % {"ready": self.ready(row)} if step.name == "purge" else ""

    def page_of(self, row: Any) -> str:
        return reverse("admin:djqueue_queue_change", args=[quote(row.name)])

    def carry_out(self, request: HttpRequest, step: Step, row: Any, values: dict[str, Any]) -> None:
        queue = row
        if step.name == "pause":
            pause(queue=queue.name, until=values["until"])
            said = gettext("%(queue)s is paused.") % {"queue": queue.name}
            self.log_change(request, queue, f"Paused until {display.pause_end(values['until'])}.")
        elif step.name == "resume":
            resume(queue=queue.name)
            said = gettext("%(queue)s goes on.") % {"queue": queue.name}
            self.log_change(request, queue, "Resumed.")
        else:
            dropped, left = purge_for(queue.name, MOST_SECONDS)
            self.log_change(request, queue, f"Purged: {dropped} tasks cancelled.")
            said = ngettext(
                "%(count)s task of %(queue)s is cancelled.", "%(count)s tasks of %(queue)s are cancelled.", dropped
            ) % {
                "count": display.number(dropped),
                "queue": queue.name,
            }
            if left:
                said += " " + gettext("There are more: purge again.")
        self.message_user(request, said, messages.SUCCESS)

    def list_rows(self, request: HttpRequest, keys: Sequence[Any]) -> list[Any]:
        return with_lines(super().list_rows(request, keys))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        queue = super().get_object(request, object_id, from_field)
        return None if queue is None else with_lines([queue])[0]

    @admin.display(description=_("paused until"))
    def paused(self, queue: Queue) -> str:
        return display.pause_end(queue.paused_until)

    @admin.display(description=_("rate limit"))
    def limit(self, queue: Any) -> SafeString | str:
        if queue.limit is None:
            return display.EMPTY
        return display.page_link("ratelimit", queue.limit.pk, in_words(queue.limit.per_second))

    @admin.display(description=_("held back by limits"))
    def held_back(self, queue: Any) -> str:
        """Of the tasks that are parked, which have no index by queue, so many are looked at."""
        with connections[settings.DATABASE].cursor() as cursor:
            cursor.execute(HELD_BACK, (COUNTED + 1, queue.name))
            held, looked_at = cursor.fetchone()
        return f"{display.number(held)}{'+' if looked_at > COUNTED else ''}"

    @admin.display(description=_("ready"))
    def ready(self, queue: Any) -> str:
        count = display.number(min(queue.line.ready, COUNTED))
        return f"{count}+" if queue.line.ready > COUNTED else count

    @admin.display(description=_("oldest first in line"))
    def oldest(self, queue: Any) -> str:
        """The age since it was enqueued; a task that was scheduled also waited for its time."""
        return display.duration(queue.line.oldest)

    @admin.display(description=_("running"))
    def running(self, queue: Any) -> int:
        return int(queue.line.running)

    @admin.display(description=_("first seen"))
    def first_seen(self, queue: Queue) -> str:
        return display.moment(queue.created_at)


def with_lines(queues: list[Any]) -> list[Any]:
    """Attach to each queue its ``line`` and its rate ``limit``."""
    if queues:
        limited = RateLimit.objects.using(queues[0]._state.db).filter(kind=Limited.QUEUE, per_second__isnull=False)
        limits = {limit.name: limit for limit in limited.filter(name__in=[queue.name for queue in queues])}
        lines = read_lines(queues[0]._state.db, [queue.name for queue in queues])
        for queue in queues:
            queue.line = lines.get(queue.name, Line())
            queue.limit = limits.get(queue.name)
    return queues
