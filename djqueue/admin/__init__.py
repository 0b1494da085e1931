"""The monitor: read-only pages in Django's admin that stay fast with millions of tasks."""

from . import queues, results, tasks, workers

__all__ = ["queues", "results", "tasks", "workers"]
