"""What can be done to tasks by hand: each with a permission of its own, in batches that hold no lock for long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.control import revoke
from djqueue.routing import HIGHEST_PRIORITY, LOWEST_PRIORITY, check_queue
from djqueue.states import State
from djqueue.store.rearrange import move, reschedule, run_now
from djqueue.store.results import forget
from djqueue.store.resume import resume
from djqueue.store.wakeup import wake

BATCH = 1_000
"""Tasks that one statement changes."""

Values = Mapping[str, Any]


class Action(NamedTuple):
    """Something to do to tasks that stand in ``states``.

    ``perform`` is given ids and the values of ``form``, and returns how many tasks it was done to: others had moved on.
    """

    name: str
    permission: str
    title: Any
    asks: Any
    impact: Any
    done: Any
    states: frozenset[State]
    perform: Callable[[Sequence[str], Values], int]
    form: type[forms.Form] = forms.Form
    grave: bool = False


class RescheduleForm(forms.Form):
    run_at = forms.SplitDateTimeField(label=_("Run at"), widget=AdminSplitDateTime)


class QueueForm(forms.Form):
    queue = forms.CharField(label=_("Queue"))

    def clean_queue(self) -> str:
        name: str = self.cleaned_data["queue"]
        try:
            check_queue(name)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return name


class PriorityForm(forms.Form):
    priority = forms.IntegerField(
        label=_("Priority"), min_value=LOWEST_PRIORITY, max_value=HIGHEST_PRIORITY, initial=0,
        help_text=_("Higher runs first."),
    )  # fmt: skip


def _retry(ids: Sequence[str], values: Values) -> int:
    done = 0
    with connections[settings.DATABASE].cursor() as cursor:
        for task_id in ids:
            try:
                resume(cursor, task_id)
            except ValueError:
                continue  # it runs again already, or waits for another that failed
            done += 1
    return done


def _cancel(ids: Sequence[str], values: Values) -> int:
    revoke(ids)
    return len(ids)


def _terminate(ids: Sequence[str], values: Values) -> int:
    revoke(ids, terminate=True)
    return len(ids)


def _run_now(ids: Sequence[str], values: Values) -> int:
    with connections[settings.DATABASE].cursor() as cursor:
        return _woken(run_now(cursor, ids))


def _reschedule(ids: Sequence[str], values: Values) -> int:
    with connections[settings.DATABASE].cursor() as cursor:
        return len(reschedule(cursor, ids, values["run_at"]))


def _move(ids: Sequence[str], values: Values) -> int:
    with connections[settings.DATABASE].cursor() as cursor:
        return _woken(move(cursor, ids, queue=values.get("queue"), priority=values.get("priority")))


def _delete(ids: Sequence[str], values: Values) -> int:
    with connections[settings.DATABASE].cursor() as cursor:
        return forget(cursor, ids)


def _woken(queues: Mapping[str, str]) -> int:
    connection = connections[settings.DATABASE]
    if not connection.in_atomic_block:
        for queue in set(queues.values()):
            wake(connection, queue)
    return len(queues)


UNFINISHED = frozenset({State.WAITING, State.SCHEDULED, State.READY, State.RUNNING})
NOT_BEGUN = UNFINISHED - {State.RUNNING}
FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

ACTIONS = {
    action.name: action
    for action in (
        Action(
            "retry", "djqueue.retry_task", _("Retry"), _("Run these tasks again?"),
            _("Each goes back in line under its id; what failed because of it waits for it again."),
            _("back in line"), frozenset({State.FAILED, State.CANCELLED}), _retry,
        ),
        Action(
            "run", "djqueue.run_task", _("Run now"), _("Run these tasks now?"),
            _("Each goes to the end of its line, whatever time it was planned for."),
            _("in line now"), frozenset({State.SCHEDULED}), _run_now,
        ),
        Action(
            "reschedule", "djqueue.reschedule_task", _("Reschedule"), _("Run these tasks at another time?"),
            _("They leave the line, if they stand in it, until then."),
            _("rescheduled"), frozenset({State.SCHEDULED, State.READY}), _reschedule, RescheduleForm,
        ),
        Action(
            "move", "djqueue.move_task", _("Move to a queue"), _("Move these tasks to another queue?"),
            _("They stand last in their new line. Only workers that serve it will run them."),
            _("moved"), NOT_BEGUN, _move, QueueForm,
        ),
        Action(
            "prioritise", "djqueue.prioritise_task", _("Change priority"), _("Change the priority of these tasks?"),
            _("They stand last among those of the same priority."),
            _("of another priority now"), NOT_BEGUN, _move, PriorityForm,
        ),
        Action(
            "cancel", "djqueue.cancel_task", _("Cancel"), _("Cancel these tasks?"),
            _("Those that have not begun never will, nor what waits for them. Those that run are asked to end."),
            _("cancelled, or asked to end"), UNFINISHED, _cancel, grave=True,
        ),
        Action(
            "terminate", "djqueue.terminate_task", _("Terminate"), _("Terminate these tasks?"),
            _("The executors that run them are killed, in the middle of whatever they do. Others in the same executor "
              "go back in line."),
            _("being terminated"), frozenset({State.RUNNING}), _terminate, grave=True,
        ),
        Action(
            "delete", "djqueue.delete_task", _("Delete"), _("Delete these tasks?"),
            _("With their results and attempts, for good. Those that have not finished stay."),
            _("deleted"), FINISHED, _delete, grave=True,
        ),
    )
}  # fmt: skip


def perform(action: Action, ids: Sequence[str], values: Values) -> int:
    """Do it to tasks, some at a time; return to how many it was done."""
    return sum(action.perform(ids[first : first + BATCH], values) for first in range(0, len(ids), BATCH))
