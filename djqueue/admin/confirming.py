"""Confirming: what an action will do to which tasks is said before it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from djqueue.conf import settings
from djqueue.models import Task
from djqueue.states import State

from . import display
from .acting import carry_out, has_permission
from .actions import ACTIONS, Action
from .paging import LISTED

# Why this shape. Each place is one probe, and only until the task is found; a list of ten thousand ids as parameters,
# or an EXISTS that is hashed, would cost more than all of them.
STATES = """
SELECT
    task.id::text,
    coalesce(
        (SELECT state FROM djqueue_taskresult WHERE task_id = task.id),
        (SELECT %(running)s::smallint FROM djqueue_runningtask WHERE task_id = task.id),
        (SELECT %(scheduled)s::smallint FROM djqueue_scheduledtask WHERE task_id = task.id),
        (SELECT %(waiting)s::smallint FROM djqueue_waitingtask WHERE task_id = task.id),
        (SELECT %(waiting)s::smallint FROM djqueue_parkedtask WHERE task_id = task.id),
        %(ready)s::smallint
    )
FROM djqueue_task AS task
WHERE task.id = ANY (%(ids)s::uuid[])
"""
EXAMPLES = 10
CONFIRMED = "confirmed"


@dataclass
class Chosen:
    """Tasks to do something to; ``again`` is what a form must send to choose the same ones."""

    ids: list[str]
    again: Mapping[str, Sequence[str]]
    back: str = ""
    more: bool = False
    """Whether others match as well, and stay as they are."""


def in_list(action: Action) -> Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse | None]:
    """Return an action as lists of the admin know it."""

    def chosen(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return act_on_chosen(model_admin, request, queryset)

    chosen.__name__ = action.name
    chosen.short_description = action.title  # type: ignore[attr-defined]
    return chosen


def chosen_in_list(request: Any, queryset: QuerySet[Any]) -> Chosen:
    """Return what is ticked, or all that match, up to as many as a list shows."""
    across = request.POST.get("select_across") == "1"
    listed = request.djqueue_listed if across else queryset.values_list("pk", flat=True)[: LISTED + 1]
    ids = [str(pk) for pk in listed]
    again = {
        "select_across": ["1" if across else "0"],
        "index": ["0"],
        ACTION_CHECKBOX_NAME: request.POST.getlist(ACTION_CHECKBOX_NAME),
    }
    return Chosen(ids[:LISTED], again, back=request.get_full_path(), more=len(ids) > LISTED)


def act_on_chosen(model_admin: Any, request: HttpRequest, chosen: Chosen | QuerySet[Any]) -> HttpResponse | None:
    """Do what ``action`` of the form says, once it is confirmed; until then return a page that asks."""
    action = ACTIONS.get(request.POST.get("action", ""))
    if action is None or not has_permission(request, action):
        raise PermissionDenied
    if not isinstance(chosen, Chosen):
        chosen = chosen_in_list(request, chosen)
    states = states_of(chosen.ids)
    fitting = [task_id for task_id in chosen.ids if states.get(task_id) in action.states]
    confirmed = CONFIRMED in request.POST
    form = action.form(request.POST if confirmed else None)
    if confirmed and form.is_valid():
        carry_out(request, action, fitting, form.cleaned_data)
        return None
    return _page(model_admin, request, action, chosen, states, fitting, form)


def states_of(ids: Sequence[str]) -> dict[str, State]:
    """Return where tasks stand, by id."""
    values: dict[str, Any] = {
        "ids": list(ids),
        **{state.name.lower(): state.value for state in (State.RUNNING, State.SCHEDULED, State.WAITING, State.READY)},
    }
    with connections[settings.DATABASE].cursor() as cursor:
        cursor.execute(STATES, values)
        return {task_id: State(code) for task_id, code in cursor.fetchall()}


def _page(
    model_admin: Any,
    request: HttpRequest,
    action: Action,
    chosen: Chosen,
    states: Mapping[str, State],
    fitting: Sequence[str],
    form: Any,
) -> HttpResponse:
    names = Task.objects.using(settings.DATABASE).filter(pk__in=fitting[:EXAMPLES]).values_list("pk", "name")
    counted = Counter(states[task_id] for task_id in fitting)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": action.asks,
        "opts": model_admin.opts,
        "media": model_admin.media + form.media,
        "action": action,
        "form": form,
        "chosen": chosen,
        "count": len(fitting),
        "left": len(chosen.ids) - len(fitting),
        "counted": [(display.state_label(state), counted[state]) for state in sorted(counted)],
        "examples": sorted(names),
        "others": max(0, len(fitting) - EXAMPLES),
        "listed": LISTED,
        "fitting_states": ", ".join(str(display.STATE_WORDS[state]) for state in sorted(action.states)),
        "subtitle": gettext("Confirm"),
    }
    return TemplateResponse(request, "admin/djqueue/task/confirm.html", context)
