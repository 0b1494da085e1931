"""The rows: a task is written once, and where it stands is which other table holds its id."""

from .commands import CommandReply, WorkerCommand
from .limits import ConcurrencySlot, ParkedTask, RateGate, RateLimit, StreamTicket
from .pauses import Pause
from .places import CancelledTask, ReadyTask, RunningTask, ScheduledTask
from .queue import Queue
from .results import TaskAttempt, TaskResult
from .routing import Binding, Exchange
from .schedule_runs import ScheduleRun
from .schedules import Schedule
from .statistic import Statistic
from .task import Task
from .task_log import TaskLog
from .unique import UniqueKey
from .worker import Worker
from .workflows import TaskGroup, WaitingTask

__all__ = [
    "Binding",
    "CancelledTask",
    "CommandReply",
    "ConcurrencySlot",
    "Exchange",
    "ParkedTask",
    "Pause",
    "Queue",
    "RateGate",
    "RateLimit",
    "ReadyTask",
    "RunningTask",
    "Schedule",
    "ScheduleRun",
    "ScheduledTask",
    "Statistic",
    "StreamTicket",
    "Task",
    "TaskAttempt",
    "TaskGroup",
    "TaskLog",
    "TaskResult",
    "UniqueKey",
    "WaitingTask",
    "Worker",
    "WorkerCommand",
]
