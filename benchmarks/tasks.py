"""The tasks that are measured: as little user code as possible, so that what remains is the queue's cost."""

import asyncio
import time

from djqueue import shared_task


@shared_task
def noop() -> None:
    """Do nothing; its result is stored."""


@shared_task(ignore_result=True)
def noop_ignored() -> None:
    """Do nothing; its row is deleted when it has run."""


@shared_task(time_limit=60, soft_time_limit=30)
def noop_limited() -> None:
    """Do nothing, under time limits."""


@shared_task(queue="urgent", priority=10)
def noop_urgent() -> None:
    """Do nothing, before everything else."""


@shared_task
def stamp(called: float) -> float:
    """Return the seconds since ``called``, a moment of this machine's monotonic clock."""
    return time.monotonic() - called


@shared_task
def number_of(values: list[None]) -> int:
    """Return how many values there are: the body of a chord."""
    return len(values)


@shared_task
def pause(seconds: float) -> None:
    """Wait, as for an answer from somewhere else."""
    time.sleep(seconds)


@shared_task
async def pause_async(seconds: float) -> None:
    await asyncio.sleep(seconds)


@shared_task(rate_limit="100/s")
def hundred_a_second() -> None:
    """Do nothing, a hundred times a second at the most."""


@shared_task(rate_limit="1/h")
def once_an_hour() -> None:
    """Do nothing, hardly ever."""


@shared_task(concurrency_key="{key}")
def one_of_each(key: int) -> None:
    """Do nothing, one at a time for each key."""


@shared_task(concurrency_limit=4)
def four_at_once() -> None:
    """Do nothing, four at a time."""


@shared_task(rate_limit="1000/s", rate_key="{key}")
def thousand_a_second_each(key: int) -> None:
    """Do nothing, under a rate limit of its own for each key."""


@shared_task(unique_key="{key}")
def only_one(key: object, value: object = None) -> None:
    """Do nothing, once for each key."""


@shared_task(unique_key="always", debounce=3600)
def put_off_by_calls(value: object) -> None:
    """Do nothing, an hour after the last call."""


@shared_task
def rests() -> None:
    """Do nothing, unless it is paused."""
