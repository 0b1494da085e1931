"""Rate limits with real workers: the rate of the whole cluster, and changes while it runs."""

from __future__ import annotations

import time
from collections import Counter

from djqueue.models import ParkedTask, RateLimit, TaskResult
from djqueue.rates import set_rate_limit

from .site.cluster_limits import (
    asks_for_another_attempt,
    hundred_a_second,
    once_an_hour,
    once_an_hour_each,
    strictly_ten_a_second,
    twenty_a_second,
)
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, all_finished, eventually

SECONDS = 4.0
"""How long the rate is measured; python -m benchmarks limits does it for 60 s."""


def starts(file: Notes, text: str = "limited") -> list[float]:
    return sorted(float(line[1]) for line in file.lines() if line[0] == text)


def most_within(moments: list[float], seconds: float) -> int:
    """Return the most moments in any window of that length."""
    best, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > seconds:
            first += 1
        best = max(best, last - first + 1)
    return best


def test_several_workers_together_keep_the_rate_and_other_tasks_do_not_wait(workers: Workers, file: Notes):
    for _ in range(3):
        workers.run("-c", "2")
    hundred_a_second.delay_many(((file.path, "limited"), {}) for _ in range(2000))
    plain = list(notes.delay_many(((file.path, "plain"), {}) for _ in range(500)))
    eventually(all_finished(plain))
    began = time.time()
    eventually(lambda: time.time() >= began + SECONDS)
    limited = [moment for moment in starts(file) if began <= moment < began + SECONDS]
    # Far more than the share of one worker, on a machine that does other things as well; and no more than may be
    # kept, with what was given out before and started late.
    assert 0.5 * 100 * SECONDS <= len(limited) <= 100 * (SECONDS + 0.5) + 1 + 50
    assert most_within(starts(file), 1.0) <= 100 * 1.5 + 1 + 50


def test_a_change_acts_within_two_seconds_also_on_what_is_parked(workers: Workers, file: Notes):
    workers.run("-c", "2")
    results = list(once_an_hour.delay_many(((file.path, "limited"), {}) for _ in range(30)))
    eventually(lambda: ParkedTask.objects.count() == 29)
    set_rate_limit(once_an_hour.name, "1000/s")
    began = time.monotonic()
    eventually(all_finished(results))
    assert time.monotonic() - began < 20  # they were parked for hours; the machine does other things as well
    set_rate_limit(once_an_hour.name, "1/h")
    more = list(once_an_hour.delay_many(((file.path, "limited"), {}) for _ in range(30)))
    eventually(lambda: ParkedTask.objects.count() > 0)
    set_rate_limit(once_an_hour.name, 0)
    eventually(all_finished(more))


def test_a_strict_limit_never_lets_two_start_together(workers: Workers, file: Notes):
    for _ in range(2):
        workers.run("-P", "threads", "-c", "4")
    began = time.time()
    results = list(strictly_ten_a_second.delay_many(((file.path, "limited"), {}) for _ in range(15)))
    eventually(all_finished(results))
    # Each in its turn or later, as the machine allows.
    assert all(moment >= began + place * 0.1 - 0.01 for place, moment in enumerate(starts(file)))


def test_a_key_that_has_to_wait_holds_up_no_other(workers: Workers, file: Notes):
    workers.run("-c", "2")
    once_an_hour_each.delay_many(((key, file.path), {}) for _ in range(3) for key in range(20))
    eventually(lambda: len(file.lines()) >= 20)
    eventually(lambda: ParkedTask.objects.count() == 40)
    assert Counter(line[0] for line in file.lines()) == {str(key): 1 for key in range(20)}


def test_a_burst_worker_waits_for_tokens(workers: Workers, file: Notes):
    results = list(twenty_a_second.delay_many(((file.path, "limited"), {}) for _ in range(30)))
    worker = workers.start("-c", "1", "--burst")
    assert worker.wait() == 0
    assert all_finished(results)()


def test_workers_write_what_definitions_declare(workers: Workers):
    workers.run("-c", "1")
    rates = dict(RateLimit.objects.values_list("name", "declared"))
    assert rates[once_an_hour.name] == "1/h"
    assert rates[hundred_a_second.name] == "100/s"
    assert RateLimit.objects.get(name=strictly_ten_a_second.name).strict


def test_a_retried_task_takes_a_token_for_each_attempt(workers: Workers):
    """What a limit counts are starts."""
    set_rate_limit(asks_for_another_attempt.name, "2/s", strict=True)
    workers.run("-c", "1")
    began = time.monotonic()
    result = asks_for_another_attempt.delay(7, 0)
    eventually(lambda: TaskResult.objects.filter(task_id=result.id).exists())
    assert time.monotonic() - began >= 1.4  # four starts, three pauses of half a second
