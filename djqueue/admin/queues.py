"""The queue pages: how long each line is, how old its first task is, and whether it is paused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from djqueue.control.pausing import FOREVER, pause, resume
from djqueue.control.purging import purge_for
from djqueue.models import Queue

from . import display
from .lines import COUNTED, Line, read_lines
from .readonly import ReadOnlyAdmin

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


class Step(NamedTuple):
    """Something to do to a queue."""

    name: str
    permission: str
    title: Any
    impact: Any
    grave: bool = False


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
class QueueAdmin(ReadOnlyAdmin):
    list_display = ("name", "paused", "ready", "oldest", "running")
    ordering = ("name",)
    fields = ("name", "paused", "ready", "oldest", "running", "first_seen")
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        act = self.admin_site.admin_view(require_POST(self.act_view))
        return [path("<path:object_id>/act/", act, name="djqueue_queue_act"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        queue = self.get_object(request, unquote(object_id))
        fitting = [] if queue is None else [step for step in STEPS.values() if fits(step, queue, request)]
        return super().change_view(request, object_id, form_url, {"fitting": fitting, **(extra_context or {})})

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause, resume or purge a queue, once it is confirmed."""
        step = STEPS.get(request.POST.get("action", ""))
        if step is None or not may(request, step):
            raise PermissionDenied
        queue = self.get_object(request, unquote(object_id))
        if queue is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        confirmed = "confirmed" in request.POST
        form = form_of(step, queue, request.POST if confirmed else None)
        if confirmed and form.is_valid():
            self._carry_out(request, step, queue, form.cleaned_data)
            return HttpResponseRedirect(page_of(queue))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{step.title}: {queue.name}",
            "opts": self.opts,
            "media": self.media + form.media,
            "step": step,
            "form": form,
            "back": page_of(queue),
            "ready": self.ready(queue) if step.name == "purge" else "",
        }
        return TemplateResponse(request, "admin/djqueue/queue/confirm.html", context)

    def _carry_out(self, request: HttpRequest, step: Step, queue: Any, values: dict[str, Any]) -> None:
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
                "count": number_format(dropped, force_grouping=True),
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

    @admin.display(description=_("ready"))
    def ready(self, queue: Any) -> str:
        count = number_format(min(queue.line.ready, COUNTED), force_grouping=True)
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
    """Attach to each queue its ``line``."""
    if queues:
        lines = read_lines(queues[0]._state.db, [queue.name for queue in queues])
        for queue in queues:
            queue.line = lines.get(queue.name, Line())
    return queues


def may(request: HttpRequest, step: Step) -> bool:
    user: Any = request.user
    return bool(user.has_perm(step.permission) and user.has_perm("djqueue.view_queue"))


def fits(step: Step, queue: Queue, request: HttpRequest) -> bool:
    """Whether there is something to do, by someone who may."""
    paused = queue.paused_until is not None and queue.paused_until > timezone.now()
    return may(request, step) and (step.name != "resume" or paused)


def form_of(step: Step, queue: Queue, data: Any) -> forms.Form:
    match step.name:
        case "pause":
            return PauseForm(data, initial={"until": timezone.now() + PAUSE_FOR})
        case "purge":
            return PurgeForm(data, queue=queue.name)
    return forms.Form(data)


def page_of(queue: Queue) -> str:
    return reverse("admin:djqueue_queue_change", args=[quote(queue.name)])
