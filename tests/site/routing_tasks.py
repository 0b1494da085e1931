"""Tasks for the tests of routing, uniqueness and batches."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Any

from djqueue import shared_task


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
