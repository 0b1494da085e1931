"""djqueue: Celery's API, with PostgreSQL as the queue."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .context import allow_join_result as allow_join_result
    from .context import current_task as current_task
    from .decorator import register_task as register_task
    from .decorator import shared_task as shared_task
    from .decorator import task as task
    from .definition import TaskDefinition as TaskDefinition
    from .eager import EagerResult as EagerResult
    from .enqueue import send_task as send_task
    from .results import AsyncResult as AsyncResult
    from .schedules import clocked as clocked
    from .schedules import cron as cron
    from .schedules import crontab as crontab
    from .schedules import interval as interval
    from .schedules import solar as solar
    from .task_logging import get_task_logger as get_task_logger
    from .uuid7 import new_task_id as uuid

# Imported on first use, so that ``import djqueue`` needs no configured Django and costs nothing.
_PUBLIC = {
    "AsyncResult": ("results", "AsyncResult"),
    "TaskDefinition": ("definition", "TaskDefinition"),
    "clocked": ("schedules", "clocked"),
    "cron": ("schedules", "cron"),
    "crontab": ("schedules", "crontab"),
    "current_task": ("context", "current_task"),
    "EagerResult": ("eager", "EagerResult"),
    "allow_join_result": ("context", "allow_join_result"),
    "get_task_logger": ("task_logging", "get_task_logger"),
    "interval": ("schedules", "interval"),
    "register_task": ("decorator", "register_task"),
    "send_task": ("enqueue", "send_task"),
    "shared_task": ("decorator", "shared_task"),
    "solar": ("schedules", "solar"),
    "task": ("decorator", "task"),
    "states": ("states", None),
    "uuid": ("uuid7", "new_task_id"),
}

__all__ = [
    "AsyncResult",
    "EagerResult",
    "TaskDefinition",
    "allow_join_result",
    "clocked",
    "cron",
    "crontab",
    "current_task",
    "get_task_logger",
    "interval",
    "register_task",
    "send_task",
    "shared_task",
    "solar",
    "states",
    "task",
    "uuid",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'djqueue' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    loaded = import_module(f"djqueue.{module}")
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value
