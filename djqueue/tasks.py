"""The tasks that djqueue itself brings along; every worker knows them."""

from __future__ import annotations

from typing import Any

from .canvas.signatures import as_signature
from .decorator import shared_task


@shared_task(name="djqueue.map", typing=False)
def map_task(task: Any, it: list[Any]) -> list[Any]:
    """Call a task for each element."""
    call = as_signature(task)
    return [call(element) for element in it]


@shared_task(name="djqueue.starmap", typing=False)
def starmap_task(task: Any, it: list[list[Any]]) -> list[Any]:
    """Call a task for each list of arguments."""
    call = as_signature(task)
    return [call(*element) for element in it]


@shared_task(name="djqueue.apply", bind=True, ignore_result=True)
def apply_task(self: Any, failed_id: str, sig: Any) -> None:
    """Apply a canvas to the id of a task that failed: an errback that is more than one task."""
    as_signature(sig).apply_async((failed_id,))
