"""The rows: a task is written once, and where it stands is which other table holds its id."""

from .places import CancelledTask, ReadyTask, RunningTask, ScheduledTask
from .queue import Queue
from .results import TaskAttempt, TaskResult
from .schedule_runs import ScheduleRun
from .schedules import Schedule
from .statistic import Statistic
from .task import Task
from .worker import Worker
from .workflows import TaskGroup, WaitingTask

__all__ = [
    "CancelledTask",
    "Queue",
    "ReadyTask",
    "RunningTask",
    "Schedule",
    "ScheduleRun",
    "ScheduledTask",
    "Statistic",
    "Task",
    "TaskAttempt",
    "TaskGroup",
    "TaskResult",
    "WaitingTask",
    "Worker",
]
