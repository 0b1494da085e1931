"""Signals: Celery's, sent in the process where each thing happens.

``connect`` works as a decorator and as a call; methods and functions are held weakly unless ``weak=False``. What a
receiver raises is logged and stops nobody. Around a task they are sent in the executor that runs it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

logger = logging.getLogger("djqueue.signals")

Receiver = Callable[..., Any]


class Signal:
    """Something to connect receivers to. Senders are compared by equality, so a task's name can be one."""

    def __init__(self, name: str, providing: tuple[str, ...]) -> None:
        self.name = name
        self.providing = providing
        self.receivers: list[tuple[object, Any, Callable[[], Receiver | None]]] = []
        self._lock = threading.Lock()

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a receiver: ``signal.connect(receiver, sender=None, weak=True, dispatch_uid=None)``.

        Without a receiver it returns a decorator. A receiver that is connected twice, or again under a
        ``dispatch_uid``, is called once.
        """
        if args and callable(args[0]):
            return self._connect(*args, **kwargs)

        def decorate(receiver: Receiver) -> Receiver:
            return self._connect(receiver, *args, **kwargs)

        return decorate

    def _connect(
        self, receiver: Receiver, sender: Any = None, weak: bool = True, dispatch_uid: object = None, **_: Any
    ) -> Receiver:
        if not callable(receiver):
            raise TypeError(f"expected a receiver of {self.name} to be callable, got: {receiver!r}")
        key = (_identity(receiver) if dispatch_uid is None else dispatch_uid), _sender_key(sender)
        with self._lock:
            self.receivers = [entry for entry in self.receivers if entry[0] != key]
            self.receivers.append((key, sender, _reference(receiver) if weak else lambda: receiver))
        return receiver

    def disconnect(self, receiver: Receiver | None = None, sender: Any = None, dispatch_uid: object = None) -> bool:
        """Undo ``connect``; return whether there was something to undo."""
        key = (_identity(receiver) if dispatch_uid is None else dispatch_uid), _sender_key(sender)
        with self._lock:
            before = len(self.receivers)
            self.receivers = [entry for entry in self.receivers if entry[0] != key]
            return len(self.receivers) < before

    def has_listeners(self, sender: Any = None) -> bool:
        return any(wanted is None or wanted == sender for _, wanted, _ in self.receivers)

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call every receiver of this sender; return each with its answer or the exception that it raised."""
        answers: list[tuple[Receiver, Any]] = []
        for _, wanted, reference in list(self.receivers):
            if wanted is not None and wanted != sender:
                continue
            receiver = reference()
            if receiver is None:
                continue
            try:
                answers.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as error:
                logger.exception("receiver %r of %s raised", receiver, self.name)
                answers.append((receiver, error))
        return answers

    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing={set(self.providing)!r}>"


def _identity(receiver: Receiver | None) -> object:
    if isinstance(receiver, MethodType):
        return id(receiver.__self__), id(receiver.__func__)
    return id(receiver)


def _sender_key(sender: Any) -> object:
    return sender if isinstance(sender, str) else id(sender)


def _reference(receiver: Receiver) -> Callable[[], Receiver | None]:
    try:
        return weakref.WeakMethod(receiver) if isinstance(receiver, MethodType) else weakref.ref(receiver)
    except TypeError:  # a builtin or partial that cannot be referred to weakly
        return lambda: receiver


before_task_publish = Signal(
    "before_task_publish",
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
)
after_task_publish = Signal("after_task_publish", ("body", "exchange", "routing_key", "headers", "properties"))
task_received = Signal("task_received", ("request",))
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
task_success = Signal("task_success", ("result",))
task_failure = Signal("task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo"))
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
task_rejected = Signal("task_rejected", ("message", "exc"))
task_unknown = Signal("task_unknown", ("message", "exc", "name", "id"))
task_internal_error = Signal("task_internal_error", ("task_id", "args", "kwargs", "request", "exception", "einfo"))
worker_init = Signal("worker_init", ())
worker_ready = Signal("worker_ready", ())
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
worker_shutdown = Signal("worker_shutdown", ())
worker_process_init = Signal("worker_process_init", ())
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
heartbeat_sent = Signal("heartbeat_sent", ())
beat_init = Signal("beat_init", ())
setup_logging = Signal("setup_logging", ("loglevel", "logfile", "format", "colorize"))
