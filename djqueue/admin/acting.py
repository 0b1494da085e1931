"""Carrying out actions: who may, what is confirmed, and the note that it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext

from djqueue.models import Task

from . import display
from .actions import ACTIONS, Action, perform

LOGGED = 100
"""Tasks that get an entry each in the log; beyond these, one entry says how many there were."""


def has_permission(request: HttpRequest, action: Action) -> bool:
    user: Any = request.user
    return bool(user.is_active and user.has_perm(action.permission) and user.has_perm("djqueue.view_task"))


def permitted(request: HttpRequest) -> list[Action]:
    """Return what the user may do."""
    return [action for action in ACTIONS.values() if has_permission(request, action)]


def carry_out(request: HttpRequest, action: Action, ids: Sequence[str], values: Mapping[str, Any]) -> int:
    """Do it, log it and say so; return to how many tasks it was done."""
    done = perform(action, ids, values)
    log(request, action, ids, values, done)
    shown = {"count": display.number(done), "done": action.done}
    said = ngettext("%(count)s task is %(done)s.", "%(count)s tasks are %(done)s.", done)
    level = messages.SUCCESS if done else messages.WARNING
    text = said % shown
    if left := len(ids) - done:
        left_shown = display.number(left)
        text += " " + gettext("%(count)s stay as they are: they have moved on, or wait for another.") % {
            "count": left_shown
        }
    messages.add_message(request, level, text)
    return done


def log(request: HttpRequest, action: Action, ids: Sequence[str], values: Mapping[str, Any], done: int) -> None:
    """Write to the admin's log who did what to which tasks. It is read by later administrators: in English."""
    user: Any = request.user
    given = ", ".join(f"{name}={value}" for name, value in values.items())
    what = f"{action.name}({given}): {done} of {len(ids)} tasks"
    flag = DELETION if action.name == "delete" else CHANGE
    kind = ContentType.objects.get_for_model(Task)
    named = ids if len(ids) <= LOGGED else [""]
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=user.pk, content_type_id=kind.pk, object_id=task_id or None,
            object_repr=(task_id or f"{len(ids)} tasks")[:200], action_flag=flag,
            change_message=what if not task_id or len(ids) > 1 else f"{action.name}({given})",
        )
        for task_id in named
    )  # fmt: skip


def as_ids(given: Sequence[Any]) -> list[str]:
    """Return those of ``given`` that are ids of tasks."""
    found = []
    for one in given:
        try:
            found.append(str(UUID(str(one))))
        except ValueError:
            continue
    return found
