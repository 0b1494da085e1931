"""Enforcement: tasks that may not go on, because of a time limit or because somebody terminates them."""

from __future__ import annotations

import signal
from time import monotonic

from djqueue.exceptions import TaskRevokedError, TimeLimitExceeded
from djqueue.records import Claim, Outcome
from djqueue.serializers import encode_error

from .crew import Crew
from .handle import ExecutorHandle
from .progress import ProgressPage

DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""OS signals that are meant to end a process, which executors survive because they only heed their worker."""
PATIENCE = 5.0
"""Seconds that any other OS signal has to end an executor before SIGKILL does."""


class Enforcement:
    """Looks at the progress page, and kills executors whose tasks may not go on."""

    def __init__(self, crew: Crew, page: ProgressPage) -> None:
        self._crew = crew
        self._page = page

    def look(self, executor: ExecutorHandle, now: float) -> None:
        """Do what must be done about an executor. Call it often."""
        if self._page.limited[executor.position]:
            self._keep_limits(executor, now)
        if executor.terminating:
            self._terminate(executor)
        if executor.condemned and now > executor.condemned_at + PATIENCE:
            self._crew.kill(executor)

    def _keep_limits(self, executor: ExecutorHandle, now: float) -> None:
        page = self._page
        for cell in page.overdue(executor.position, page.hard, now):
            until, started, serial = page.hard[cell], page.started[cell], page.serials[cell]
            for claim in executor.running(serial):
                # The cell may have changed between these looks at it; then the task has ended by itself.
                if page.hard[cell] != until or claim.id in executor.condemned:
                    continue
                self._condemn(executor, overdue(claim, started, until), signal.SIGKILL)
        if soft := page.overdue(executor.position, page.soft, now):
            executor.limit({page.serials[cell] for cell in soft}, now)

    def _terminate(self, executor: ExecutorHandle) -> None:
        running = self._page.running(executor.position)
        for task_id, number in executor.terminating.items():
            serial, claim, _ = executor.outstanding[task_id]
            if serial in running and task_id not in executor.condemned:
                self._condemn(executor, revoked(claim, "terminated"), number)

    def _condemn(self, executor: ExecutorHandle, outcome: Outcome, number: int) -> None:
        """Kill an executor because of one of its tasks, which ends with ``outcome``; the others go back in line."""
        if self._crew.kill(executor, signal.SIGKILL if number in DEADLY else number):
            executor.condemned[outcome.id] = outcome
            executor.spared = True
            executor.condemned_at = monotonic()


def overdue(claim: Claim, started: float, until: float) -> Outcome:
    """Return the failure of a task that ran from ``started`` to its limit ``until``, monotonic times in seconds."""
    error = encode_error(TimeLimitExceeded(round(until - started, 6)), with_traceback=False)
    return Outcome.failed(claim.id, claim.attempt, error, started, monotonic())


def revoked(claim: Claim, reason: str) -> Outcome:
    """Return the end of a task that nobody wants any more."""
    error = encode_error(TaskRevokedError(reason), with_traceback=False)
    return Outcome.cancelled(claim.id, claim.attempt, error, None, monotonic())
