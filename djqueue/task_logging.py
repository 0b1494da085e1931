"""Loggers for code of tasks: each record knows which task it was written in."""

from __future__ import annotations

import logging

from .context import current_request

TASKS = "djqueue.task"


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger of that name, below ``djqueue.task``: it goes where the worker's own lines of tasks go.

    Its records have ``task_id`` and ``task_name`` for use in a format, ``???`` outside a task. A logger whose LOGGING
    gives it handlers of its own keeps them. Raises ``ValueError`` for djqueue's own loggers.
    """
    if name == "djqueue" or name.startswith("djqueue."):
        raise ValueError(f"expected the name of a logger of the site's own, got: {name!r}")
    logger = logging.getLogger(name)
    if not any(isinstance(known, _TaskFilter) for known in logger.filters):
        logger.addFilter(_TaskFilter())
        logger.parent = logging.getLogger(TASKS)
    return logger


class _TaskFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        request = current_request()
        record.task_id = request.id or "???"
        record.task_name = request.task or "???"
        return True
