"""Eager mode: run a task here and now, as a worker would. Needs no database."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync

from . import states
from .attempt import IGNORED, REPLACED, REQUEUED, Attempt, Ended, ExceptionInfo, result_text
from .batches import BatchRequest, shared
from .calls import stored_options
from .conf import settings
from .context import Request, request_of, running, running_request
from .exceptions import TimeoutError
from .resulttree import ResultNode
from .serializers import decode_arguments, decode_result, encode_arguments, encode_result
from .uuid7 import as_task_id, new_task_id

if TYPE_CHECKING:
    from .definition import TaskDefinition

REQUEUES_MOST = 1000
"""After so many rejections in a row an eager task is taken to reject itself for ever."""


class EagerResult(ResultNode):
    """The result of a task that ran in place. As ``AsyncResult``, but it never waits and is nowhere stored."""

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        self.id = id
        self._value = ret_value
        self._state = state
        self._traceback = traceback
        self.name = name
        self.parent: Any = None
        self._children: list[Any] = []
        self.ignored = False

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        callback: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return the value, or raise the task's error (return it with ``propagate=False``)."""
        if self._state in states.PROPAGATE_STATES and propagate:
            raise self._value if isinstance(self._value, BaseException) else Exception(self._value)
        if self._state == states.PENDING:
            raise TimeoutError(f"the result of task {self.id} will not come: it ran in place and ended without one")
        if callback is not None:
            callback(self.id, self._value)
        return self._value

    wait = get

    @property
    def children(self) -> list[Any]:
        return self._children

    def ready(self) -> bool:
        return True

    def successful(self) -> bool:
        return self._state == states.SUCCESS

    def failed(self) -> bool:
        return self._state == states.FAILURE

    def forget(self) -> None:
        """There is nothing stored to forget."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Note that nobody wants the result any more."""
        self._state = states.REVOKED

    def maybe_throw(self, propagate: bool = True, callback: Any = None) -> Any:
        return self.get(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    @property
    def state(self) -> str:
        return self._state

    status = state

    @property
    def result(self) -> Any:
        return self._value

    info = result

    @property
    def traceback(self) -> str | None:
        return self._traceback

    @property
    def supports_native_join(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EagerResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented


def apply_eagerly(
    definition: TaskDefinition,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    task_id: str | None,
    throw: bool | None,
    retries: int,
    options: dict[str, Any],
    linked: Callable[[Request, Ended], None],
    before: int = 0,
) -> EagerResult:
    """Run a definition until it has ended; retries follow at once, without their pauses.

    Arguments make the same way through the serializer as they would to a worker; the first ``before`` of them are from
    an earlier step, and so as they are stored already. ``linked`` is called with how it ended, before whoever called
    learns of it.
    """
    stored = stored_options(definition.name, options)
    id = new_task_id() if task_id is None else as_task_id(task_id)
    throw = settings.EAGER_PROPAGATES if throw is None else throw
    typed, named = definition.typed_arguments.encode(args[before:], kwargs, before=before)
    typed = (*args[:before], *typed)
    texts = encode_arguments(definition.name, typed, named, options.get("serializer") or definition.serializer)
    for _ in range(REQUEUES_MOST):
        given = decode_arguments(*texts, definition.name)
        request = request_of(definition.name, id, *given, stored, _context(retries, options))
        request.update(is_eager=True, delivery_info={"is_eager": True, "routing_key": "", "redelivered": False})
        ended = _run(definition, request, *given)
        if ended.retry is not None:
            retries += 1
            texts = ended.retry.arguments or texts
        elif ended.state != REQUEUED:
            break
    if ended.state == REPLACED:
        ended = _ended_as(definition, ended.value.apply(**_place(options)))
    linked(request, ended)
    return _result(definition, id, ended, throw=throw)


def _place(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a replacement inherits of the place of the task."""
    return {"replaced_task_nesting": options.get("replaced_task_nesting", 0) + 1}


def _ended_as(definition: TaskDefinition, result: Any) -> Ended:
    """Return the end of a task that was replaced: that of the result of what took its place."""
    if result.successful():
        value = result.get(disable_sync_subtasks=False)
        return Ended(states.SUCCESS, value, encode_result(definition.name, value))
    failed = next((r for r in result.leaves() if not r.successful()), result) if hasattr(result, "leaves") else result
    error = failed.result
    return Ended(states.FAILURE, error=error) if isinstance(error, BaseException) else Ended(IGNORED)


def _context(retries: int, options: dict[str, Any]) -> dict[str, Any]:
    parent = running_request()
    context = {name: options.get(name) for name in ("root_id", "parent_id", "group_id", "group_index")}
    if parent is not None:
        context["root_id"] = context["root_id"] or parent.root_id
        context["parent_id"] = context["parent_id"] or parent.id
    return {**context, "retries": retries}


def _run(definition: TaskDefinition, request: Request, args: Any, kwargs: dict[str, Any]) -> Ended:
    if definition.batch is not None:
        request = BatchRequest(**vars(request))
    ignored = definition.ignore_result if request.ignore_result is None else request.ignore_result
    attempt = Attempt(definition, request, args, kwargs, partial(result_text, definition, ignored))
    with running(definition, request):
        try:
            attempt.begin()
            value = attempt.call() if definition.batch is None else definition.run([request])
            if inspect.iscoroutine(value):
                value = async_to_sync(_awaited)(value)
            if definition.batch is not None:
                (value,) = shared(definition.name, [request], value)
                if isinstance(value, BaseException):
                    raise value
        except Exception as error:
            return attempt.raised(error)
        return attempt.returned(value)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def _result(definition: TaskDefinition, id: str, ended: Ended, *, throw: bool) -> EagerResult:
    if ended.state in (IGNORED, REQUEUED):
        return EagerResult(id, None, states.PENDING, name=definition.name)
    if ended.error is not None:
        if throw:
            raise ended.error
        return EagerResult(id, ended.error, states.FAILURE, ExceptionInfo(ended.error).traceback, definition.name)
    return EagerResult(id, decode_result(ended.text), states.SUCCESS, name=definition.name)
