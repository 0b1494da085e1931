"""Acts: what the buttons of the admin do, by the same functions, permissions and log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, QueryDict
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware, localtime

from djqueue import registry
from djqueue.admin.acting import as_ids, carry_out, has_permission
from djqueue.admin.actions import ACTIONS
from djqueue.admin.confirming import states_of
from djqueue.admin.enqueueing import PlaceForm, allowed_tasks
from djqueue.admin.paging import LISTED
from djqueue.conf import settings
from djqueue.models import Queue, Task, Worker

from .access import Refused
from .lists import listed


def on_tasks(request: Any) -> dict[str, Any]:
    """Do ``action`` to the tasks with these ``ids``, or to those that ``filter`` leaves, at most 10,000 at once."""
    given = request.body_json
    action = ACTIONS.get(given.get("action", ""))
    if action is None:
        raise Refused(f"expected action to be one of {', '.join(ACTIONS)}, got: {given.get('action')!r}")
    if not has_permission(request, action):
        raise PermissionDenied(f"needs the permissions {action.permission} and djqueue.view_task")
    form = action.form(as_form(action.form, given.get("values", {})))
    refuse_wrong(form)
    ids, more = _chosen(request, given)
    states = states_of(ids)
    fitting = [task_id for task_id in ids if states.get(task_id) in action.states]
    done = carry_out(request, action, fitting, form.cleaned_data) if fitting else 0
    return {"chosen": len(ids), "done": done, "more_match": more}


def _chosen(request: Any, given: Mapping[str, Any]) -> tuple[list[str], bool]:
    match given.get("ids"), given.get("filter"):
        case list() as ids, None:
            if len(ids) > LISTED:
                raise Refused(f"expected at most {LISTED} ids, got: {len(ids)}")
            found = as_ids(ids)
            if len(found) != len(ids):
                raise Refused("expected ids to be ids of tasks")
            return found, False
        case None, dict() as wanted if wanted and all(isinstance(value, str) for value in wanted.values()):
            request.GET = QueryDict(urlencode(wanted))
            keys = [str(key) for key in listed(request, Task).paginator.keys]
            return keys[:LISTED], len(keys) > LISTED
    raise Refused('expected "ids" to be a list or "filter" to be an object of texts, such as {"state": "failed"}')


def on_queue(request: Any, name: str) -> dict[str, Any]:
    """Do ``action`` to a queue: pause (``until``, or without an end), resume, purge (``typed``: its name)."""
    return _on_row(request, Queue, name, f"no queue is called {name!r}")


def on_worker(request: Any, worker_id: int) -> dict[str, Any]:
    """Do ``action`` to a worker: quiet, unquiet, stop, grow, shrink (``number`` of executors)."""
    return _on_row(request, Worker, str(worker_id), f"no worker has the id {worker_id}")


def _on_row(request: Any, model: Any, key: str, missing: str) -> dict[str, Any]:
    model_admin: Any = admin.site.get_model_admin(model)
    given = request.body_json
    step = model_admin.steps.get(given.get("action", ""))
    if step is None:
        raise Refused(f"expected action to be one of {', '.join(model_admin.steps)}, got: {given.get('action')!r}")
    if not model_admin.may(request, step):
        raise PermissionDenied(f"needs the permissions {step.permission} and djqueue.view_{model._meta.model_name}")
    row = model_admin.get_object(request, key)
    if row is None:
        raise Http404(missing)
    form = model_admin.form_of(step, row, as_form(type(model_admin.form_of(step, row, None)), given))
    refuse_wrong(form)
    model_admin.carry_out(request, step, row, form.cleaned_data)
    return {"action": step.name}


def enqueue(request: Any) -> dict[str, Any]:
    """Enqueue ``task``, which the site must allow, with ``kwargs``; perhaps ``queue``, ``priority`` and ``run_at``."""
    given = request.body_json
    name, kwargs = given.get("task"), given.get("kwargs", {})
    if name not in allowed_tasks():
        raise PermissionDenied(f"expected task to be one that DJQUEUE['ENQUEUE_BY_HAND'] allows, got: {name!r}")
    if not isinstance(kwargs, dict):
        raise Refused(f"expected kwargs to be an object, got: {kwargs!r}")
    for other in given.keys() - {"task", "kwargs", "queue", "priority", "run_at"}:
        raise Refused(f"expected task, kwargs, queue, priority and run_at only, got: {other}")
    form = PlaceForm(as_form(PlaceForm, given))
    refuse_wrong(form)
    definition = registry.get(name)
    try:
        definition.check_call((), kwargs)
        _args, typed = definition.typed_arguments.decode((), kwargs)
        task_id = definition.apply_async(kwargs=dict(typed), **form.options()).id
    except (TypeError, ValueError) as problem:
        raise Refused(str(problem)) from problem
    if (task := Task.objects.using(settings.DATABASE).filter(pk=task_id).first()) is not None:
        admin.site.get_model_admin(Task).log_addition(request, task, "Enqueued by the API.")
    return {"id": str(task_id)}


def as_form(kind: type[forms.Form], values: Any) -> dict[str, Any]:
    """Return values as a form of the admin sends them: a moment is two fields there, ISO 8601 here."""
    if not isinstance(values, dict):
        raise Refused(f"expected values to be an object, got: {values!r}")
    data: dict[str, Any] = {}
    for name, field in kind.base_fields.items():
        value = values.get(name)
        if isinstance(field, forms.SplitDateTimeField) and value is not None:
            data[f"{name}_0"], data[f"{name}_1"] = _moment(name, value)
        elif value is not None:
            data[name] = value
    return data


def _moment(name: str, value: Any) -> tuple[str, str]:
    try:
        moment = parse_datetime(str(value))
    except ValueError:
        moment = None
    if moment is None or not is_aware(moment):
        raise Refused(f"expected {name} to be a time with its zone, such as 2030-01-02T03:04:05Z, got: {value!r}")
    local = localtime(moment)
    return f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}"


def refuse_wrong(form: forms.Form) -> None:
    """Raise ``Refused`` for values that the form does not take."""
    if not form.is_valid():
        problems = [f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()]
        raise Refused("; ".join(problems))


def index(request: HttpRequest) -> dict[str, Any]:
    """Return what there is."""
    return {
        "get": ["tasks/", "tasks/ID/", "queues/", "workers/", "schedules/", "failures/", "statistics/"],
        "post": {
            "tasks/": f'{{"action": …, "ids": […] or "filter": {{…}}, "values": {{…}}}}; actions: {", ".join(ACTIONS)}',
            "queues/NAME/": '{"action": …}; actions: pause, resume, purge',
            "workers/ID/": '{"action": …}; actions: quiet, unquiet, stop, grow, shrink',
            "enqueue/": '{"task": …, "kwargs": {…}, "queue": …, "priority": …, "run_at": …}',
        },
    }
