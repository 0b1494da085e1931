"""The admin: a monitor that stays fast with millions of tasks, and the place where schedules are made."""

from . import dashboard, exchanges, limits, pauses, queues, results, schedules, tasks, workers

__all__ = ["dashboard", "exchanges", "limits", "pauses", "queues", "results", "schedules", "tasks", "workers"]
