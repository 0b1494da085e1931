"""Tasks and commands for the tests of control."""

from __future__ import annotations

import time
from typing import Any

from djqueue import registry, shared_task
from djqueue.control import WorkerState, control_command, inspect_command

from .models import Mark
from .worker_tasks import note


@shared_task(bind=True, rate_limit=None)
def holds(self: Any, path: str, until: str, password: str = "") -> int:
    """Says that it runs, and runs until there is a second file."""
    note(path, self.request.id)
    while True:
        try:
            open(until).close()
            return 1
        except FileNotFoundError:
            time.sleep(0.01)


@inspect_command
def echo(state: WorkerState, text: str, times: int = 1, extra: Any = None) -> dict[str, Any]:
    """says again what it is told"""
    return {"said": [text] * times, "extra": extra, "by": state.hostname, "pool": state.pool}


@control_command(name="leave_mark")
def marks(state: WorkerState, name: str) -> dict[str, str]:
    """leaves a mark in the database"""
    Mark.objects.create(name=f"{name} {state.worker_id}")
    return {"ok": f"{len(list(registry.names()))} tasks are known"}


@inspect_command
def unstorable(state: WorkerState, what: str) -> Any:
    return {"set": {1}, "nul": "a\0b", "nan": float("nan"), "huge": "x" * 2_000_000}[what]


@inspect_command
def fails_at_it(state: WorkerState) -> None:
    raise LookupError("the lemons are sold out")


@inspect_command
def takes_long(state: WorkerState, seconds: float) -> str:
    time.sleep(seconds)
    return "at last"
