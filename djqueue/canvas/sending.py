"""Sending: a call by name, with its links and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from djqueue import enqueue
from djqueue.calls import LINKING, check_arguments

from .chains import Chain
from .data import given
from .signatures import Signature


def send_task(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    task_id: str | None = None,
    **options: Any,
) -> Any:
    """Enqueue a task by its name, which this process need not know. Options are those of ``apply_async``."""
    if LINKING.isdisjoint(given(options)):
        return enqueue.send_task(name, args, kwargs, task_id, **options)
    enqueue.check_name(name)
    args, kwargs = check_arguments(name, args, kwargs)
    return Chain.called(Signature(name, args, kwargs), given({**options, "task_id": task_id}))
