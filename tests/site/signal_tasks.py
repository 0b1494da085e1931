"""Receivers of what happens to a worker and its tasks, and tasks that log."""

from __future__ import annotations

import logging
import os
from typing import Any

from djqueue import get_task_logger, shared_task, signals

from .worker_tasks import note

logger = get_task_logger(__name__)
PATH = os.environ.get("SIGNALS_FILE", "")
loaded_in = os.getpid()


def connect(signal: signals.Signal) -> None:
    def receive(sender: Any, **named: Any) -> None:
        if PATH:
            shown = [f"{key}={named[key]}" for key in sorted(named) if key in ("sig", "how", "name", "exitcode")]
            note(PATH, signal.name, "parent" if os.getpid() == loaded_in else "child", str(sender) != "None", *shown)

    signal.connect(receive, weak=False)


for each in (
    signals.worker_init,
    signals.worker_ready,
    signals.worker_shutting_down,
    signals.worker_shutdown,
    signals.worker_process_init,
    signals.worker_process_shutdown,
    signals.heartbeat_sent,
    signals.task_received,
    signals.task_unknown,
    signals.task_internal_error,
):
    connect(each)


@shared_task
def logs(text: str) -> None:
    logger.info(text)
    logging.getLogger("site").warning("not a task's logger")
