"""Schedules: when something is due. Celery's names, computed without side effects.

``crontab``, ``schedule`` (also called ``interval``), ``solar`` and ``clocked`` are Celery's; ``cron`` reads cron strings.
"""

from .cronlines import cron
from .crontabs import crontab
from .intervals import clocked, interval, schedule
from .moments import Schedule
from .sun import solar

__all__ = ["Schedule", "clocked", "cron", "crontab", "interval", "schedule", "solar"]
