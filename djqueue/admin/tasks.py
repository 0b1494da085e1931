"""The task pages: where each task stands, what was asked, and how its attempts ended."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.db.models import Max, OuterRef, QuerySet, SmallIntegerField, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from djqueue.models import RunningTask, ScheduledTask, Task, TaskAttempt, TaskLog, TaskResult, WaitingTask
from djqueue.states import State

from . import arguments, display, tags, task_page
from .acting import permitted
from .actions import ACTIONS
from .confirming import Chosen, act_on_chosen, in_list
from .filters import FILTERED_STATES, AgeFilter, QueueFilter, StateFilter, WorkerFilter
from .paging import CappedChangeList
from .readonly import ReadOnlyAdmin, may_view
from .searching import WALKED, among_the_newest, by_contents, named_in
from .task_pages import TaskPages, may_enqueue


def latest_attempt() -> Coalesce:
    """The number of a task's latest attempt, 0 before the first.

    The line has no index by task: what a task in line has behind it is what ``TaskAttempt`` remembers.
    """
    here = {"task_id": OuterRef("pk")}
    failed = TaskAttempt.objects.filter(**here).values("task_id").annotate(latest=Max("attempt"))
    return Coalesce(
        Subquery(TaskResult.objects.filter(**here).values("attempt")),
        Subquery(RunningTask.objects.filter(**here).values("attempt")),
        Subquery(ScheduledTask.objects.filter(**here).values("attempt")),
        Subquery(WaitingTask.objects.filter(**here).values("attempt")),
        Subquery(failed.values("latest")),
        Value(0),
        output_field=SmallIntegerField(),
    )


HIDDEN = (("outcome", TaskResult), ("unsuccessful_attempts", TaskAttempt), ("logs", TaskLog))
"""Fields that only those see who may view rows of these models."""
LIST = "admin:djqueue_task_changelist"


class TaskChangeList(CappedChangeList):
    """Tells its states as tabs."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return what the filters leave; what no index answers, only of the newest."""
        queryset: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if not self.params.get("state") and (self.params.get("queue") or named_in(self.query)):
            queryset = among_the_newest(request, queryset, WALKED)
        return queryset

    @property
    def tabs(self) -> list[tuple[str, Any, bool]]:
        """Return a link, a title and whether it is this one, for each state."""
        here = self.params.get("state")
        states = [(None, _("all")), *((name, display.STATE_WORDS[state]) for name, state in FILTERED_STATES.items())]
        return [
            (
                self.get_query_string({"state": name} if name else {}, ["p"] if name else ["p", "state"]),
                title,
                name == here,
            )
            for name, title in states
        ]


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("named", "state", "queue", "priority", "attempt", "created")
    list_filter = (QueueFilter, AgeFilter, tags.TagFilter, WorkerFilter, StateFilter)
    actions = tuple(in_list(action) for action in ACTIONS.values())
    actions_on_bottom = False
    list_only = ("id", "name", "queue", "priority", "created_at")
    # Ids are time-ordered, so this is newest first, from the end of the primary key.
    ordering = ("-pk",)
    # Makes the search box appear; get_search_results decides.
    search_fields = ("=id", "=name")
    search_help_text = _(
        "The whole id of a task, the whole name of its definition, or JSON that its arguments contain, "
        'such as {"order": 17}, ["Berlin"] or headers:{"tenant": "x"}.'
    )
    fieldsets = (
        (None, {"fields": (("name", "id"), ("state", "place", "queue", "priority", "attempt", "created"))}),
        (_("Life"), {"fields": ("progress", "timeline")}),
        (_("Outcome"), {"fields": ("outcome", "unsuccessful_attempts", "logs")}),
        (_("Call"), {"fields": ("pretty_args", "pretty_kwargs", "headers", "pretty_options")}),
        (_("Workflow"), {"fields": ("workflow",)}),
        (_("Limits"), {"fields": (("expires", "max_retries"),)}),
        (_("Family"), {"fields": (("parent", "root"), ("group_id", "group_index", "workflow_id"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tasks: Any = super().get_queryset(request)
        return cast("QuerySet[Any]", tasks.with_state().annotate(attempt=latest_attempt()))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (found := by_contents(request, queryset, term)) is not None:
            return found, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(name=term), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        task: Any = super().get_object(request, object_id, from_field)
        if task is not None:
            task.seen = {"outcome": may_view(request, TaskResult), "attempts": may_view(request, TaskAttempt)}
            task.picture = task_page.workflow_of(task)
        return task

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what the user may not view as a row of its own, and what there is nothing to say of."""
        hidden = {field for field, model in HIDDEN if not may_view(request, model)}
        if obj is not None:
            hidden |= task_page.empty_fields(obj)
        shown = [
            (title, {**options, "fields": task_page.without(options["fields"], hidden)})
            for title, options in super().get_fieldsets(request, obj)
        ]
        return [fieldset for fieldset in shown if fieldset[1]["fields"]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(flatten_fieldsets(self.get_fieldsets(request, obj)))

    # What is done

    def get_urls(self) -> list[Any]:
        act = self.admin_site.admin_view(require_POST(self.act_view))
        own = [path("<path:object_id>/act/", act, name="djqueue_task_act")]
        return [*TaskPages(self).urls, *own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"may_enqueue": may_enqueue(request), **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CappedChangeList]:
        return TaskChangeList

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Offer what the user may do; each is confirmed on a page of its own."""
        where = () if action_location is None else (action_location,)  # which Django before 6.1 does not know
        offered = super().get_actions(request, *where)
        may = {action.name for action in permitted(request)}
        return {name: action for name, action in offered.items() if name in may}

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Do something to one task, once it is confirmed."""
        task = self.get_object(request, unquote(object_id))
        if task is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        page = reverse("admin:djqueue_task_change", args=[task.pk])
        chosen = Chosen([str(task.pk)], {}, back=page)
        return act_on_chosen(self, request, chosen) or HttpResponseRedirect(
            page if Task.objects.using(task._state.db).filter(pk=task.pk).exists() else reverse(LIST)
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        task = self.get_object(request, unquote(object_id))
        fitting = [] if task is None else [a for a in permitted(request) if State(task.state_code) in a.states]
        return super().change_view(request, object_id, form_url, {"fitting": fitting, **(extra_context or {})})

    # What is shown

    @admin.display(description=_("state"))
    def state(self, task: Any) -> SafeString:
        return display.state_label(task.state_code)

    @admin.display(description=_("task"))
    def named(self, task: Task) -> SafeString:
        """The name, and below it the id."""
        return format_html('{}<br><small class="djqueue-quiet">{}</small>', display.breakable(task.name), task.pk)

    @admin.display(description=_("attempt"))
    def attempt(self, task: Any) -> int:
        return int(task.attempt)

    @admin.display(description=_("created"))
    def created(self, task: Task) -> str:
        return display.moment(task.created_at)

    @admin.display(description=_("expires"))
    def expires(self, task: Task) -> str:
        return display.moment(task.expires_at)

    @admin.display(description=_("stands"))
    def place(self, task: Any) -> SafeString | str:
        return task_page.place_of(task)

    @admin.display(description=_("progress"))
    def progress(self, task: Any) -> SafeString | str:
        return task_page.progress_of(task)

    @admin.display(description=_("timeline"))
    def timeline(self, task: Any) -> SafeString:
        return task_page.timeline(task, with_outcome=task.seen["outcome"], with_attempts=task.seen["attempts"])

    @admin.display(description=_("workflow"))
    def workflow(self, task: Any) -> SafeString | str:
        return task.picture or display.EMPTY

    @admin.display(description=_("arguments"))
    def pretty_args(self, task: Task) -> SafeString | str:
        return arguments.positional(task)

    @admin.display(description=_("keyword arguments"))
    def pretty_kwargs(self, task: Task) -> SafeString | str:
        return arguments.named(task)

    @admin.display(description=_("headers and stamps"))
    def headers(self, task: Task) -> SafeString | str:
        return tags.shown(task)

    @admin.display(description=_("options"))
    def pretty_options(self, task: Task) -> SafeString | str:
        return display.EMPTY if task.options is None else arguments.value(task.options)

    @admin.display(description=_("parent"))
    def parent(self, task: Task) -> SafeString | str:
        return display.task_link(task.parent_id) if task.parent_id else display.EMPTY

    @admin.display(description=_("root"))
    def root(self, task: Task) -> SafeString | str:
        return display.task_link(task.root_id) if task.root_id else display.EMPTY

    @admin.display(description=_("result"))
    def outcome(self, task: Any) -> SafeString | str:
        result = TaskResult.objects.using(task._state.db).filter(pk=task.pk).first()
        return display.EMPTY if result is None else task_page.outcome_of(result)

    @admin.display(description=_("logs"))
    def logs(self, task: Any) -> SafeString | str:
        return task_page.logs_of(task)

    @admin.display(description=_("unsuccessful attempts"))
    def unsuccessful_attempts(self, task: Any) -> SafeString | str:
        return task_page.attempts_list(task, but_the_last=task.seen["outcome"])
