"""Tasks with limits, which leave their traces in a file."""

from __future__ import annotations

import os
import time
from typing import Any

from djqueue import shared_task

from .worker_tasks import note


def _note_span(path: str, key: object, seconds: float, until: str = "") -> None:
    """Append a line when it begins and one when it ends; the order of the lines is that of what happened.

    It ends after a while, or when there is a file named ``until``.
    """
    note(path, key, "+", os.getpid())
    while until and not os.path.exists(until):
        time.sleep(0.01)
    if seconds:
        time.sleep(seconds)
    note(path, key, "-", os.getpid())


@shared_task(concurrency_key="account:{key}")
def one_at_a_time(key: object, path: str = "", seconds: float = 0.0, until: str = "") -> None:
    """Holds its slot for a while, or until there is a file of that name."""
    while until and not os.path.exists(until):
        time.sleep(0.01)
    _note_span(path, key, seconds)


@shared_task(concurrency_key="account:{key}", concurrency_limit=2)
def two_at_a_time(key: object, path: str = "", seconds: float = 0.0, until: str = "") -> None:
    _note_span(path, key, seconds, until)


@shared_task(concurrency_key="account:{key}", concurrency_limit=3, priority=5)
def three_at_a_time(key: object, path: str = "", seconds: float = 0.0, until: str = "") -> None:
    _note_span(path, key, seconds, until)


@shared_task(concurrency_limit=2)
def two_of_a_name(path: str = "") -> None:
    note(path, "ran")


@shared_task(bind=True, concurrency_key="stream:{key}", concurrency_ordered=True, max_retries=3)
def in_order(self: Any, key: object, number: int, path: str = "", fail: bool = False) -> None:
    """Notes its number when it gets through; fails the first time if it is told to."""
    if fail and self.request.retries == 0:
        raise self.retry(countdown=0.2)
    note(path, key, number, os.getpid())


@shared_task(concurrency_key="account:{key}", bind=True)
def asks_for_another_attempt(self: Any, key: object, countdown: float) -> None:
    raise self.retry(countdown=countdown)


@shared_task(concurrency_key="account:{key}", transactional=True)
def exactly_one_at_a_time(key: object, path: str = "") -> None:
    note(path, key)


@shared_task(rate_limit="20/s")
def twenty_a_second(path: str = "", text: object = "") -> None:
    note(path, text, time.time())


@shared_task(rate_limit="100/s")
def hundred_a_second(path: str = "", text: object = "") -> None:
    note(path, text, time.time())


@shared_task(rate_limit="1/h")
def once_an_hour(path: str = "", text: object = "") -> None:
    note(path, text, time.time())


@shared_task(rate_limit="10/s", rate_strict=True)
def strictly_ten_a_second(path: str = "", text: object = "") -> None:
    note(path, text, time.time())


@shared_task(rate_limit="1/h", rate_key="customer:{customer}")
def once_an_hour_each(customer: object, path: str = "") -> None:
    note(path, customer, time.time())


@shared_task(rate_limit="1/h", concurrency_key="account:{key}")
def both(key: object) -> None:
    pass
