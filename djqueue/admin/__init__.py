"""The admin: a monitor that stays fast with millions of tasks, and the place where schedules are made."""

from . import pauses, queues, results, schedules, tasks, workers

__all__ = ["pauses", "queues", "results", "schedules", "tasks", "workers"]
