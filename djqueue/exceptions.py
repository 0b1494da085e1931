"""Every exception of djqueue::

Exception
├── DjqueueError
│   ├── TaskError
│   │   ├── ChordError              a member of a chord's header failed
│   │   ├── DecodeError             a stored argument or result cannot be read
│   │   ├── EncodeError             an argument or result cannot be stored
│   │   ├── ImproperlyConfigured    settings or options contradict themselves
│   │   ├── IncompleteStream        not all results of a tree are known yet
│   │   ├── MaxRetriesExceededError
│   │   ├── NotRegistered(KeyError) no task of that name is known
│   │   ├── SecurityError           stored data asks for something unsafe
│   │   ├── TaskExists              a unique task holds the key already
│   │   ├── TaskRevokedError        the task was cancelled
│   │   ├── TimeoutError            the result did not come in time
│   │   └── Unroutable(ValueError)  a call reaches no queue
│   ├── TaskPredicate               raised by a task to say how it ends
│   │   ├── Ignore
│   │   │   └── Replace             another takes its place
│   │   ├── Reject
│   │   └── Retry
│   └── WorkerNotFound(LookupError) no live worker is called so
├── SoftTimeLimitExceeded
├── TimeLimitExceeded
└── WorkerLostError                 the process that ran the task died
"""

from __future__ import annotations

import datetime
import numbers


class DjqueueError(Exception):
    """The root of djqueue's own errors."""


class TaskError(DjqueueError):
    """Something about a task or its result."""


class ChordError(TaskError):
    """A member of a chord's header failed, so the body cannot run."""


class DecodeError(TaskError):
    """A stored payload cannot be read: it is damaged, or encrypted with a key that is not known."""


class EncodeError(TaskError):
    """A value cannot be stored by the serializer in use."""


class ImproperlyConfigured(TaskError):
    """Settings or options contradict themselves."""


class IncompleteStream(TaskError):
    """A result has not finished, so not all that it caused is known."""


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as it may be."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args)


class NotRegistered(TaskError, KeyError):
    """No task of that name is known to this process."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "task not registered"


class SecurityError(TaskError):
    """Stored data asks for something that djqueue will not do."""


class TaskExists(TaskError):
    """A call with ``unique_action="error"`` found another task with its key, whose id is ``task_id``."""

    def __init__(self, message: str = "", task_id: str = "") -> None:
        super().__init__(message, task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return str(self.args[0])


class TaskRevokedError(TaskError):
    """The task was cancelled, so it has no result."""


class TimeoutError(TaskError):
    """The result did not come within the time given."""


class Unroutable(TaskError, ValueError):
    """A call reaches no queue; nothing was stored."""


class TaskPredicate(DjqueueError):
    """Raised by a task to say how its attempt ends."""


class Retry(TaskPredicate):
    """The task asked to run again.

    ``when`` is a number of seconds or a datetime, ``exc`` the error that caused it.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: datetime.datetime | float | None = None,
        is_eager: bool = False,
        sig: object = None,
    ) -> None:
        self.message = message
        self.exc = exc
        self.excs = repr(exc) if exc is not None else None
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        if isinstance(self.when, numbers.Number):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}" + (f": {self.excs}" if self.excs else "")


class Ignore(TaskPredicate):
    """The task asked that nothing be stored about how it ended."""


class Replace(Ignore):
    """The task asked that ``sig`` take its place. Raised by ``self.replace()``."""

    def __init__(self, sig: object) -> None:
        self.sig = sig
        super().__init__(sig)


class Reject(TaskPredicate):
    """The task refused to run; with ``requeue`` it goes back in line."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class WorkerNotFound(DjqueueError, LookupError):
    """A command is addressed to a worker that does not live."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task that ran longer than its soft time limit."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TimeLimitExceeded(Exception):
    """The task ran longer than its hard time limit, its argument in seconds, and was stopped."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class WorkerLostError(Exception):
    """The process that ran the task died, more often than the crash limit allows."""
