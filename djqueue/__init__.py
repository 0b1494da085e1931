"""djqueue: Celery's API, with PostgreSQL as the queue."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .canvas import Signature as Signature
    from .canvas import StampingVisitor as StampingVisitor
    from .canvas import chain as chain
    from .canvas import chord as chord
    from .canvas import chunks as chunks
    from .canvas import group as group
    from .canvas import maybe_signature as maybe_signature
    from .canvas import signature as signature
    from .canvas import subtask as subtask
    from .canvas import xmap as xmap
    from .canvas import xstarmap as xstarmap
    from .canvas.sending import send_task as send_task
    from .context import allow_join_result as allow_join_result
    from .context import current_task as current_task
    from .decorator import register_task as register_task
    from .decorator import shared_task as shared_task
    from .decorator import task as task
    from .definition import TaskDefinition as TaskDefinition
    from .eager import EagerResult as EagerResult
    from .results import AsyncResult as AsyncResult
    from .results import GroupResult as GroupResult
    from .results import ResultSet as ResultSet
    from .results import result_from_tuple as result_from_tuple
    from .schedules import clocked as clocked
    from .schedules import cron as cron
    from .schedules import crontab as crontab
    from .schedules import interval as interval
    from .schedules import solar as solar
    from .task_logging import get_task_logger as get_task_logger
    from .uuid7 import new_task_id as uuid

# Imported on first use, so that ``import djqueue`` needs no configured Django and costs nothing.
_PUBLIC = {
    "Signature": ("canvas", "Signature"),
    "StampingVisitor": ("canvas", "StampingVisitor"),
    "chain": ("canvas", "chain"),
    "chord": ("canvas", "chord"),
    "chunks": ("canvas", "chunks"),
    "group": ("canvas", "group"),
    "maybe_signature": ("canvas", "maybe_signature"),
    "signature": ("canvas", "signature"),
    "subtask": ("canvas", "subtask"),
    "xmap": ("canvas", "xmap"),
    "xstarmap": ("canvas", "xstarmap"),
    "GroupResult": ("results", "GroupResult"),
    "ResultSet": ("results", "ResultSet"),
    "result_from_tuple": ("results", "result_from_tuple"),
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
    "send_task": ("canvas.sending", "send_task"),
    "shared_task": ("decorator", "shared_task"),
    "solar": ("schedules", "solar"),
    "task": ("decorator", "task"),
    "states": ("states", None),
    "uuid": ("uuid7", "new_task_id"),
}

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "StampingVisitor",
    "TaskDefinition",
    "allow_join_result",
    "chain",
    "chord",
    "chunks",
    "clocked",
    "cron",
    "crontab",
    "current_task",
    "get_task_logger",
    "group",
    "interval",
    "maybe_signature",
    "register_task",
    "result_from_tuple",
    "send_task",
    "shared_task",
    "signature",
    "solar",
    "states",
    "subtask",
    "task",
    "uuid",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'djqueue' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    loaded = import_module(f"djqueue.{module}")
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value
