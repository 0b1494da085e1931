"""The admin: a monitor that stays fast with millions of tasks, and the place where schedules are made."""

from . import limits, queues, results, schedules, tasks, workers

__all__ = ["limits", "queues", "results", "schedules", "tasks", "workers"]
