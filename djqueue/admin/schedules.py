"""The schedule pages: what is due when, how it went, and how to change it, switch it and run it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from djqueue.beat.firing import run_now
from djqueue.beat.sync import RETIRED
from djqueue.conf import settings
from djqueue.models import Schedule
from djqueue.schedules.rules import Source
from djqueue.schedules.words import in_words

from . import display
from .schedule_form import ScheduleForm, offered, preview_of
from .schedule_runs import attach_runs, next_run, run_marks, runs_table

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Schedule]
else:
    ModelAdmin = admin.ModelAdmin

OVERDUE = timedelta(seconds=60)
"""A slot that nobody has fired for so long means that no beat is there."""


class ScheduleChangeList(ChangeList):
    """Attaches to the schedules of a page how their last slots went."""

    overdue = 0

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = attach_runs(list(self.result_list))
        self.overdue = Schedule.objects.using(settings.DATABASE).overdue(OVERDUE).count()


@admin.register(Schedule)
class ScheduleAdmin(ModelAdmin):
    form = ScheduleForm
    list_display = ("named", "when", "enabled", "next", "last_runs", "count_runs")
    list_filter = ("enabled", "kind", "source")
    search_fields = ("name", "task", "description")
    ordering = ("name",)
    list_per_page = 100
    show_full_result_count = False
    actions = ("enable", "disable", "run")
    readonly_fields = ("preview", "standing", "recent_runs")
    count_runs = display.number_of("total_runs", _("runs"))
    fieldsets = (
        (None, {"fields": ("name", "task", "args", "kwargs", "enabled", "description")}),
        (
            _("When"),
            {
                "fields": (
                    "kind", "expression", "every", "relative", "clocked_at", "solar_event", "latitude", "longitude",
                    "timezone", "start_at", "end_at", "one_off", "preview",
                )
            },
        ),
        (_("Lateness and overlap"), {"fields": ("misfire", "misfire_limit", "overlap", "jitter", "expires")}),
        (_("Queue and options"), {"fields": ("queue", "priority", "options"), "classes": ("collapse",)}),
        (_("So far"), {"fields": ("standing", "recent_runs")}),
    )  # fmt: skip

    class Media:
        css = {"all": ["djqueue/admin.css", "djqueue/schedules.css"]}
        js = ["djqueue/schedule_form.js"]

    # Who may do what

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whoever may change a schedule may also switch it. Nobody does anything to what they may not see."""
        user: Any = request.user
        switches = user.has_perm("djqueue.switch_schedule") and self.has_view_permission(request)
        return bool(switches or self.has_change_permission(request))

    def has_run_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.has_perm("djqueue.run_schedule") and self.has_view_permission(request))

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """What is declared in code would come back; it can be switched off."""
        return super().has_delete_permission(request, obj) and (obj is None or not is_declared(obj))

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[Any], Any, set[Any], list[Any]]:
        """Name the schedules only: what became of their slots may be a million rows."""
        schedules = list(objs)
        named = [format_html("{}: {}", self.opts.verbose_name, schedule) for schedule in schedules]
        kept = [schedule for schedule in schedules if not self.has_delete_permission(request, schedule)]
        return named, {self.opts.verbose_name_plural: len(named)}, {self.opts.verbose_name} if kept else set(), []

    # Which rows

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        overdue = Q(enabled=True, next_run_at__lt=Now() - OVERDUE)
        rows = super().get_queryset(request).using(settings.DATABASE)
        return rows.annotate(overdue=ExpressionWrapper(overdue, output_field=BooleanField()))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ScheduleChangeList]:
        return ScheduleChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is not None else fieldsets[:-1]

    # What is done

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("preview/", view(require_POST(self.preview_view)), name="djqueue_schedule_preview"),
            path("<path:object_id>/run/", view(require_POST(self.run_view)), name="djqueue_schedule_run"),
            path("<path:object_id>/switch/", view(require_POST(self.switch_view)), name="djqueue_schedule_switch"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Say what the form means as it stands, without storing anything."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        form: Any = self.get_form(request)(request.POST)
        return JsonResponse(dict(form.preview()))

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_run_permission(request):
            raise PermissionDenied
        schedule = self.get_object(request, unquote(object_id))
        if schedule is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        self._run(request, schedule)
        return HttpResponseRedirect(reverse("admin:djqueue_schedule_change", args=[schedule.pk]))

    def switch_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_switch_permission(request):
            raise PermissionDenied
        schedule = self.get_object(request, unquote(object_id))
        if schedule is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        self._switch(request, [schedule], on=not schedule.enabled)
        return HttpResponseRedirect(reverse("admin:djqueue_schedule_change", args=[schedule.pk]))

    @admin.action(description=_("Switch on"), permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description=_("Switch off"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._switch(request, queryset, on=False)

    @admin.action(description=_("Run now"), permissions=["run"])
    def run(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset:
            self._run(request, schedule)

    def _switch(self, request: HttpRequest, schedules: Iterable[Schedule], *, on: bool) -> None:
        changed = [schedule for schedule in schedules if schedule.enabled is not on]
        number = 0
        for schedule in changed:
            row = Schedule.objects.using(settings.DATABASE).filter(pk=schedule.pk)
            try:
                number += row.enable() if on else row.disable()
            except ValidationError as error:  # it may have been valid where it was saved
                self.message_user(request, f"{schedule}: {' '.join(error.messages)}", messages.ERROR)
            else:
                self.log_change(request, schedule, "Switched on." if on else "Switched off.")
        if changed and not number:
            return
        said = ngettext("%(n)s schedule is on now.", "%(n)s schedules are on now.", number)
        if not on:
            said = ngettext("%(n)s schedule is off now.", "%(n)s schedules are off now.", number)
        self.message_user(request, said % {"n": number}, messages.SUCCESS)

    def _run(self, request: HttpRequest, schedule: Schedule) -> None:
        try:
            task_id = run_now(schedule.pk, settings.DATABASE)
        except Exception as error:  # what the call raised is for whoever asked to read
            self.message_user(request, f"{schedule}: {type(error).__name__}: {error}", messages.ERROR)
            return
        self.log_change(request, schedule, "Run by hand.")
        text = format_html("{}: {} {}", schedule, gettext("enqueued as"), display.task_link(task_id))
        self.message_user(request, text, messages.SUCCESS)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        schedule = self.get_object(request, unquote(object_id)) if object_id else None
        context = {
            "offered": offered(),
            "preview_url": reverse("admin:djqueue_schedule_preview"),
            "may_run": schedule is not None and self.has_run_permission(request),
            "may_switch": schedule is not None and self.has_switch_permission(request),
            "declared": schedule is not None and is_declared(schedule),
        }
        return super().changeform_view(request, object_id, form_url, {**context, **(extra_context or {})})

    # What is shown

    @admin.display(description=_("name"), ordering="name")
    def named(self, schedule: Schedule) -> SafeString:
        """The name, and below it the task."""
        return format_html(
            '{}<br><small class="djqueue-quiet">{}</small>', schedule.name, display.breakable(schedule.task)
        )

    @admin.display(description=_("when"), ordering="kind")
    def when(self, schedule: Schedule) -> str:
        try:
            return in_words(schedule.timing())
        except (ValueError, TypeError, ImportError) as error:
            return str(error)

    @admin.display(description=_("next run"), ordering="next_run_at")
    def next(self, schedule: Schedule) -> SafeString | str:
        return next_run(schedule)

    @admin.display(description=_("last runs"))
    def last_runs(self, schedule: Any) -> SafeString | str:
        return run_marks(schedule)

    @admin.display(description=_("next runs"))
    def preview(self, schedule: Schedule) -> SafeString:
        """Filled by the script as one types; without it, what is stored."""
        found = preview_of(schedule) if schedule.pk else None
        return preview_box(found)

    @admin.display(description=_("state"))
    def standing(self, schedule: Schedule) -> SafeString:
        facts: list[tuple[Any, Any]] = [
            (_("next run"), next_run(schedule)),
            (_("last run"), display.moment(schedule.last_run_at)),
            (_("runs"), display.number(schedule.total_runs)),
            (_("skipped"), display.number(schedule.total_skipped)),
            (_("source"), schedule.get_source_display()),
        ]
        if schedule.last_error:
            facts.append((_("last error"), f"{schedule.last_error} ({display.moment(schedule.last_error_at)})"))
        return display.facts(facts)

    @admin.display(description=_("last runs"))
    def recent_runs(self, schedule: Schedule) -> SafeString | str:
        return runs_table(schedule)


def is_declared(schedule: Schedule) -> bool:
    """Whether the code still declares it."""
    return schedule.source == Source.CODE and RETIRED not in (schedule.declared or {})


def preview_box(found: Any) -> SafeString:
    """Return the box that the script fills: words, slots in local time and UTC, and what is to be noted."""
    rows: Sequence[Any] = found["slots"] if found else ()
    items = format_html_join("", "<tr><td>{}</td><td>{}</td></tr>", ((slot["local"], slot["utc"]) for slot in rows))
    return format_html(
        '<div id="djqueue-preview" role="status" aria-live="polite"><p class="djqueue-words">{}</p>'
        '<table class="djqueue-slots"{}><thead><tr><th scope="col">{}</th><th scope="col">UTC</th></tr></thead>'
        '<tbody>{}</tbody></table><p class="djqueue-note">{}</p></div>',
        found["words"] if found else "",
        "" if rows else SafeString(" hidden"),
        found["zone"] if found else "",
        items,
        found["note"] if found else "",
    )
