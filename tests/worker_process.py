"""Real workers for tests: ``runworker`` as a process on the test's database, observed from outside.

Nothing here sleeps for a fixed time: ``eventually`` waits for a condition, and fails with what the workers logged.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.db import connections

from djqueue.doctor import check_invariants
from djqueue.models import RunningTask, Task, TaskResult, Worker
from djqueue.results import AsyncResult

from .nursery import PROJECT_DIR, Forked, Nursery, environment_for
from .site.management.commands import flush

NURSERY = Nursery()
PATIENCE = 30.0
"""Seconds after which a condition is given up; a machine that does other things as well needs them."""
CONNECTION_SETTINGS = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")

Value = TypeVar("Value")


def eventually(condition: Callable[[], Value], timeout: float = PATIENCE, *, what: str = "") -> Value:
    """Return the first true value of ``condition``; fail if there is none in ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what or condition}, last seen: {value!r}")
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    return value


def database_settings(alias: str = "default") -> dict[str, Any]:
    """Return how to reach the database that this process knows by ``alias``, as a ``DATABASES`` entry."""
    given = connections[alias].settings_dict
    return {name: given[name] for name in CONNECTION_SETTINGS if name in given}


class WorkerProcess:
    """One ``runworker``, the leader of a process group of its own, and what it writes."""

    def __init__(
        self,
        *options: str,
        database: dict[str, Any] | None = None,
        databases: dict[str, Any] | None = None,
        command: str = "runworker",
        environment: dict[str, str] | None = None,
        program: bool = False,
        **djqueue: Any,
    ) -> None:
        """Forked, which is cheap; a program of its own where that matters, or where ``environment`` is to be read."""
        given = {"database": database or database_settings(), "databases": databases or {}, "djqueue": djqueue}
        self._output = tempfile.NamedTemporaryFile(prefix="djqueue-worker-", suffix=".log")  # noqa: SIM115
        self._descendants: set[psutil.Process] = set()
        self.process: Forked | subprocess.Popen[bytes]
        if program or environment:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", command, *options],
                cwd=PROJECT_DIR,
                env={**environment_for(given), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        else:
            self.process = NURSERY.fork([command, *options], given, self._output.fileno())
        self.pid = self.process.pid
        self._as_seen = psutil.Process(self.pid)

    @property
    def log(self) -> str:
        """Everything that the worker and its executors wrote to stdout and stderr."""
        return Path(self._output.name).read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait until ``text`` has been logged, and return the log."""
        deadline = time.monotonic() + timeout
        while text not in (log := self.log):
            ended = self.process.poll() is not None and text not in self.log
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"expected {text!r} in the log of {self!r}, got:\n{self.log}")
            time.sleep(0.01)
        return log

    def ready(self) -> WorkerProcess:
        """Wait until the worker claims, and all of its executors are there."""
        line = next(line for line in self.wait_for_log(" ready: ").splitlines() if " ready: " in line)
        if "pool=solo" not in line:
            wanted = int(line.split("processes=")[1].split()[0])
            eventually(lambda: len(self.executors()) >= wanted, what="executors")
        return self

    def fork_server(self) -> psutil.Process:
        (child,) = self._as_seen.children()
        self._descendants.add(child)
        return child

    def executors(self) -> list[psutil.Process]:
        """Return the live executors."""
        with suppress(psutil.NoSuchProcess, ValueError):
            children = self.fork_server().children()
            self._descendants.update(children)
            return [child for child in children if is_alive(child)]
        return []

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def send_to_group(self, number: int) -> None:
        """Send an OS signal to the worker and all of its processes, as a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the worker's end and return its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self!r} did not end in {timeout:g} s; its log:\n{self.log}") from None

    def survivors(self) -> list[psutil.Process]:
        """Return those of the processes seen so far that are alive."""
        return [process for process in self._descendants if is_alive(process)]

    def end(self) -> None:
        """Leave nothing of the worker behind, whatever state it is in."""
        self.executors()
        with suppress(psutil.NoSuchProcess):
            self._descendants.update(self._as_seen.children(recursive=True))
        self.process.kill()
        self.process.wait()
        for process in self._descendants:
            # psutil compares the time of creation: it never kills a stranger who got the number later.
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._output.close()

    def __repr__(self) -> str:
        return f"<worker {self.pid}, exit code {self.process.poll()}>"


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Workers:
    """Starts workers; all of them have ended when the block is left."""

    def __init__(self, database: dict[str, Any] | None = None) -> None:
        self._database = database
        self.started: list[WorkerProcess] = []

    def start(self, *options: str, **settings: Any) -> WorkerProcess:
        """Start a worker with options of ``runworker`` and values of ``DJQUEUE``, and return at once."""
        if self._database is not None:
            settings.setdefault("database", self._database)
        worker = WorkerProcess(*options, **settings)
        self.started.append(worker)
        return worker

    def run(self, *options: str, **settings: Any) -> WorkerProcess:
        """Start a worker and wait until it is ready."""
        return self.start(*options, **settings).ready()

    def end(self) -> None:
        for worker in self.started:
            worker.end()

    def logs(self) -> str:
        """Return what the workers logged, without the lines of tasks that succeeded: those are thousands."""
        lines = []
        for worker in self.started:
            lines.append(f"--- {worker!r}")
            lines += [line for line in worker.log.splitlines() if " succeeded wait=" not in line]
        return "\n".join(lines)


Kept = Callable[..., "WorkerProcess"]
"""What the fixture ``kept`` provides."""


class KeptWorker:
    """One worker that serves test after test, as long as they want the same one."""

    def __init__(self) -> None:
        self._workers = Workers()
        self._given: tuple[Any, ...] = ()
        self._logged = 0

    def run(self, *options: str, **settings: Any) -> WorkerProcess:
        """Return a ready worker with these options and settings: the one that runs, or a new one."""
        if self._given != (options, settings):
            self.retire()
            self._workers.run(*options, **settings)
            self._given = options, settings
            flush.SPARED.append(Worker._meta.db_table)
        (worker,) = self._workers.started
        self._logged = len(worker.log)
        return worker

    def after_test(self) -> None:
        """Show what it logged if the test fails, and end it if the test has left something running."""
        for worker in self._workers.started:
            print(worker.log[self._logged :], file=sys.stderr)
            if worker.process.poll() is not None or RunningTask.objects.exists():
                self.end()
        assert check_invariants() == []

    def retire(self) -> None:
        """Let it end by itself, so that its row is gone before the next test looks at the workers there are."""
        for worker in self._workers.started:
            worker.send(signal.SIGTERM)
            worker.wait()
        self.end()

    def end(self) -> None:
        self._workers.end()
        self._workers, self._given = Workers(), ()
        flush.SPARED.clear()


@contextmanager
def running_workers(database: dict[str, Any] | None = None, using: str = "default") -> Iterator[Workers]:
    """Provide ``Workers``. Where the block fails, so does their log; in the end no rule of the doctor is broken."""
    workers = Workers(database)
    try:
        yield workers
        assert check_invariants(using) == []
    finally:
        print(workers.logs(), file=sys.stderr)  # shown by pytest if the test fails
        workers.end()
    assert check_invariants(using) == []


def all_finished(results: Iterable[AsyncResult], using: str = "default") -> Callable[[], bool]:
    """Return a condition: each of these tasks has a result."""
    ids = [result.id for result in results]
    return lambda: TaskResult.objects.using(using).filter(task_id__in=ids).count() == len(ids)


def stored(result: AsyncResult, using: str = "default") -> TaskResult:
    """Wait for a task's end and return the row of its result."""
    eventually(all_finished([result], using), what=f"the result of {result}")
    return TaskResult.objects.using(using).get(task_id=result.id)


def attempts_in_line() -> dict[str, int]:
    """Return the ready tasks and the number of attempts that were counted."""
    rows = Task.objects.filter(ready_rows__isnull=False).values_list("id", "ready_rows__attempt")
    return {str(task_id): attempt for task_id, attempt in rows}


def is_running(result: AsyncResult) -> bool:
    return RunningTask.objects.filter(task_id=result.id).exists()


class Notes:
    """The file in which tasks leave their traces."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def lines(self) -> list[list[str]]:
        with suppress(FileNotFoundError):
            return [line.split() for line in Path(self.path).read_text().splitlines()]
        return []

    def texts(self) -> list[str]:
        """Return the first word of each line."""
        return [line[0] for line in self.lines()]

    def await_lines(self, number: int) -> list[list[str]]:
        """Wait until there are so many lines, or more."""
        eventually(lambda: len(self.lines()) >= number, what=f"{number} notes")
        return self.lines()


def interrupt(worker: WorkerProcess) -> None:
    """Ask a worker twice to stop: it interrupts what runs."""
    worker.send(signal.SIGTERM)
    worker.wait_for_log("drain")
    worker.send(signal.SIGTERM)
