"""The admin: a monitor that stays fast with millions of tasks, and the place where schedules are made."""

from . import exchanges, limits, pauses, queues, results, schedules, tasks, workers

__all__ = ["exchanges", "limits", "pauses", "queues", "results", "schedules", "tasks", "workers"]
