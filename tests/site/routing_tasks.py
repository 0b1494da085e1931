"""Tasks for the tests of routing, uniqueness and batches."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from typing import Any

from djqueue import shared_task
from djqueue.models import ConcurrencySlot


def note(path: str, text: str) -> None:
    """Add a line to a file; lines of several processes do not mix."""
    with open(path, "a") as file:
        file.write(f"{text}\n")


@shared_task(bind=True)
def tells_its_route(self: Any) -> dict[str, Any]:
    return dict(self.request.delivery_info)


@shared_task(unique_key="invoice:{id}")
def invoice(id: int) -> int:
    return id


@shared_task(unique=True)
def invoice_once(id: int, extra: dict[str, Any] | None = None, draft: bool = False) -> int:
    return id


@shared_task(unique_key="{table}", debounce=30, debounce_max=120)
def recount(table: int, reason: str = "") -> int:
    return table


@shared_task(unique_key="alone")
def alone(path: str, seconds: float) -> None:
    """Note whether another of its kind runs at the same time; the system frees the lock of whoever is killed."""
    with open(f"{path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            note(path, "overlap")
            return
        note(path, "alone")
        time.sleep(seconds)


@shared_task(queue="everywhere")
def reload_cache(path: str) -> str:
    note(path, str(os.getppid()))
    return "reloaded"


@shared_task
def leaves_a_note(path: str, text: str) -> None:
    note(path, text)


def tell(path: str, requests: list[Any]) -> None:
    note(path, ",".join(str(request.args[1]) for request in requests))


@shared_task(batch=10, batch_wait=0.3)
def doubled(requests: list[Any]) -> list[Any]:
    """Each value twice; a negative one fails."""
    tell(requests[0].args[0], requests)
    values = [request.args[1] for request in requests]
    return [value * 2 if value >= 0 else ValueError(f"negative: {value}") for value in values]


@shared_task(batch=5, batch_wait=0.2, bind=True, autoretry_for=(ConnectionError,), retry_backoff=False, max_retries=1,
             default_retry_delay=0)  # fmt: skip
def marks(self: Any, requests: list[Any]) -> dict[str, Any]:
    """Does what the second argument says, by marking or by returning; ``crash`` and ``raise`` concern all."""
    tell(requests[0].args[0], requests)
    words = [request.args[1] for request in requests]
    if "crash" in words and requests[words.index("crash")].delivery_info["redelivered"] is False:
        os._exit(9)
    if "raise" in words:
        raise RuntimeError("all of them")
    for request in requests:
        if request.args[1] == "done":
            request.mark_as_done("marked")
        if request.args[1] == "fail":
            request.mark_as_failure(RuntimeError("marked"))
        if request.args[1] == "retry" and not request.retries:
            request.mark_as_failure(ConnectionError("again"))
    if "retry-all" in words:
        self.retry()
    return {request.id: request.name.rsplit(".", 1)[1] for request in requests if request.args[1] == "by id"}


@shared_task(batch=3, batch_wait=0.2)
async def gathered(requests: list[Any]) -> list[Any]:
    await asyncio.sleep(0.01)
    tell(requests[0].args[0], requests)
    return [len(requests)] * len(requests)


@shared_task(batch=3, batch_wait=30.0)
def patient_batch(requests: list[Any]) -> None:
    tell(requests[0].args[0], requests)


@shared_task(batch=4, batch_wait=0.2)
def endless_batch(requests: list[Any]) -> None:
    tell(requests[0].args[0], requests)
    for _ in range(1200):
        time.sleep(0.05)  # where it can be interrupted in every pool


@shared_task(batch=2, batch_wait=0.1)
def returns_nonsense(requests: list[Any]) -> Any:
    return [1, 2, 3]


@shared_task(unique_key="{id}", concurrency_key="account:{account}")
def synced(id: int, account: int = 1, text: str = "") -> str:
    return text


@shared_task(unique_key="{id}", concurrency_key="journal:{journal}", concurrency_ordered=True)
def appended(id: int, journal: int = 1, text: str = "") -> str:
    return text


@shared_task(batch=3, batch_wait=0.3, concurrency_key="{shop}", concurrency_limit=3, unique_key="{shop}/{text}")
def limited_batch(requests: list[Any]) -> list[int]:
    """Notes when a batch begins and ends, and how many slots of its shop are taken meanwhile."""
    path = requests[0].kwargs["path"]
    texts = ",".join(request.kwargs["text"] for request in requests)
    note(path, f"+ {texts}")
    time.sleep(0.2)
    taken = ConcurrencySlot.objects.filter(gate=f"key {requests[0].kwargs['shop']}").count()
    note(path, f"- {texts}")
    return [taken] * len(requests)
