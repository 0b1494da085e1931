"""Schedules: when something is due. Celery's names, computed without side effects.

``crontab``, ``schedule`` (also called ``interval``), ``solar`` and ``clocked`` are Celery's; ``cron`` reads cron
strings.
"""

from .cronlines import cron
from .crontabs import crontab
from .intervals import clocked, interval, schedule
from .sun import solar
from .timing import Timing

__all__ = ["Timing", "clocked", "cron", "crontab", "interval", "schedule", "solar"]
