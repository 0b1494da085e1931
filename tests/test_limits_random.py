"""Random lives of limited tasks: after every step no limit is exceeded and nobody waits beside a free slot."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from djqueue import control
from djqueue.doctor import check_invariants
from djqueue.records import Claim, Lane, Outcome
from djqueue.store.cancel import forget_notes
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.exchange import exchange
from djqueue.store.lose import lose
from djqueue.store.pace import pace
from djqueue.store.patrol import let_expired_go
from djqueue.store.promote import promote
from djqueue.store.rates import declare_rates
from djqueue.store.reclaim import reclaim
from djqueue.store.release import release
from djqueue.store.retry import retry

from .conftest import Session
from .site.cluster_limits import both, in_order, once_an_hour, one_at_a_time, three_at_a_time, two_at_a_time
from .site.tasks import noop

LANES = [Lane(queue, priority) for priority in (5, 0) for queue in ("default!", "default")]
LIMITS = {"one": 1, "two": 2, "three": 3}
STEPS = 80
NOW = 1_800_000_000.0
# Of each key: its tasks that run, and its slots.
USE = """
SELECT task.options ->> 'gate', count(*) FROM djqueue_runningtask AS running
JOIN djqueue_task AS task ON task.id = running.task_id WHERE task.options ? 'gate' GROUP BY 1
"""
SLOTS = "SELECT gate, count(*), max(number) FROM djqueue_concurrencyslot GROUP BY gate"
PARKED_BESIDE_FREE = """
SELECT parked.gate FROM djqueue_parkedtask AS parked WHERE parked.gate LIKE 'key %'
GROUP BY parked.gate
HAVING max(parked.slots) > (SELECT count(*) FROM djqueue_concurrencyslot AS slot WHERE slot.gate = parked.gate)
"""
UNFINISHED_TWICE = """
SELECT options ->> 'unique_key', count(*) FROM djqueue_task AS task
WHERE options ? 'unique_key' AND NOT EXISTS (SELECT FROM djqueue_taskresult AS result WHERE result.task_id = task.id)
GROUP BY 1 HAVING count(*) > 1
"""


class Life:
    """Workers, the tasks that they hold, and the order in which tasks of streams have finished."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.chance = random.Random(seed)
        self.workers = [session.new_worker(f"w{number}") for number in range(3)]
        self.held: dict[int, list[Claim]] = {worker: [] for worker in self.workers}
        self.streams: dict[int, list[str]] = {}
        self.finished: list[str] = []
        self.cancelled: set[str] = set()
        session(declare_rates, {once_an_hour.name: ("1/h", False), both.name: ("1/h", False)})

    def enqueue(self) -> None:
        chance = self.chance
        for _ in range(chance.randrange(1, 6)):
            key = chance.randrange(4)
            options: dict[str, Any] = {"priority": chance.choice([0, 0, 5])}
            if chance.random() < 0.1:
                options["countdown"] = 3600
            kind, *args = chance.choice(
                [
                    (one_at_a_time, f"one{key}"),
                    (two_at_a_time, f"two{key}"),
                    (three_at_a_time, f"three{key}"),
                    (once_an_hour,),
                    (both, f"one{key}"),
                    (noop,),
                    (in_order, key, 0),
                ]
            )
            result = kind.apply_async(args, **({} if kind is in_order else options))
            if kind is in_order:
                self.streams.setdefault(key, []).append(result.id)

    def enqueue_unique(self) -> None:
        """Call tasks of which some are there already, and may wait for another key, in another place or with a time."""
        chance = self.chance
        for _ in range(chance.randrange(1, 6)):
            key = chance.randrange(3)
            kind, *args = chance.choice(
                [
                    (one_at_a_time, f"one{key}"),
                    (both, f"one{key}"),
                    (two_at_a_time, f"two{key}"),
                    (once_an_hour,),
                    (in_order, f"unique{key}", 0),
                ]
            )
            options = {"unique_key": f"{chance.randrange(3)}", "priority": chance.choice([0, 0, 5])}
            options["unique_action"] = chance.choice(["skip", "replace", "replace", "reschedule"])
            if chance.random() < 0.2:
                options["countdown"] = 3600
            kind.apply_async(args, **options)

    def claim(self) -> None:
        worker = self.chance.choice(self.workers)
        claims = self.session(claim, worker, LANES, self.chance.randrange(1, 8))
        self.held[worker] += claims

    def take(self) -> tuple[int, list[Claim]]:
        """Return some of what a worker holds."""
        worker = self.chance.choice(self.workers)
        held = self.held[worker]
        self.chance.shuffle(held)
        number = self.chance.randrange(0, 4)
        taken, self.held[worker] = held[:number], held[number:]
        return worker, taken

    def settle(self) -> None:
        worker, taken = self.take()
        outcomes = [Outcome.succeeded(c.id, c.attempt, "null", NOW, NOW) for c in taken]
        settled, claims = self.session(exchange, worker, "w", outcomes, LANES, 3, concluding=True)
        assert settled == {c.id for c in taken}
        self.finished += [c.id for c in taken]
        self.held[worker] += claims

    def fail(self) -> None:
        worker, taken = self.take()
        outcomes = [Outcome.failed(c.id, c.attempt, '{"exc_type": "E"}', NOW, NOW) for c in taken]
        assert self.session(conclude, worker, "w", outcomes) == {c.id for c in taken}
        self.finished += [c.id for c in taken]

    def make_again(self) -> None:
        worker, taken = self.take()
        plan = json.dumps({"countdown": self.chance.choice([0, 3600])})
        outcomes = [Outcome.retried(c.id, c.attempt, '{"exc_type": "E"}', NOW, NOW, plan) for c in taken]
        assert self.session(retry, worker, "w", outcomes) == {c.id for c in taken}

    def put_back(self) -> None:
        worker, taken = self.take()
        released = [Outcome.released(c.id, c.attempt) for c in taken]
        assert self.session(release, worker, released) == {c.id for c in taken}

    def lose(self) -> None:
        worker, taken = self.take()
        lost = [Outcome.lost(c.id, c.attempt, '{"exc_type": "L"}', NOW) for c in taken]
        assert self.session(lose, worker, "w", lost, 1000).keys() == {c.id for c in taken}

    def kill_worker(self) -> None:
        worker = self.workers.pop(self.chance.randrange(3))
        self.session.sql("UPDATE djqueue_worker SET lease_until = now() - interval '1 s' WHERE id = %s", worker)
        self.session(reclaim, 1000)
        del self.held[worker]
        self.workers.append(self.session.new_worker())
        self.held[self.workers[-1]] = []

    def cancel(self) -> None:
        rows = self.session.sql("SELECT id::text FROM djqueue_task ORDER BY random() LIMIT 2")
        self.cancelled |= control.revoke([row[0] for row in rows])
        self.session(forget_notes, 0.0)

    def expire(self) -> None:
        self.session.sql(
            "UPDATE djqueue_parkedtask SET expires_at = now() WHERE task_id ="
            " (SELECT task_id FROM djqueue_parkedtask WHERE gate NOT LIKE 'stream %%' ORDER BY random() LIMIT 1)",
        )
        self.session(let_expired_go)

    def pass_time(self) -> None:
        self.session.sql(
            "UPDATE djqueue_rategate SET wakes_at = wakes_at - interval '1 h', free_at = free_at - interval '1 h'"
        )
        self.session.sql("UPDATE djqueue_scheduledtask SET run_at = run_at - interval '1 h'")
        self.session(promote)
        self.session(pace)

    def check(self) -> None:
        for gate, number in self.session.sql(USE):
            assert number <= limit_of(gate) + self.unslotted(gate), gate
        for gate, number, highest in self.session.sql(SLOTS):
            assert highest <= limit_of(gate), gate
            assert number <= limit_of(gate), gate
        assert self.session.sql(PARKED_BESIDE_FREE) == []
        assert self.session.sql(UNFINISHED_TWICE) == []

    def unslotted(self, gate: str) -> int:
        """Return how many run that expired while they were parked: a worker only tells them that it is too late."""
        (row,) = self.session.sql(
            "SELECT count(*) FROM djqueue_runningtask AS running JOIN djqueue_task AS task ON task.id = running.task_id"
            " WHERE task.options ->> 'gate' = %s AND NOT EXISTS"
            " (SELECT FROM djqueue_concurrencyslot AS slot WHERE slot.task_id = running.task_id)",
            gate,
        )
        return int(row[0])

    def finish(self) -> None:
        for _ in range(1000):
            for worker, held in self.held.items():
                outcomes = [Outcome.succeeded(c.id, c.attempt, "null", NOW, NOW) for c in held]
                self.finished += [c.id for c in held]
                _, claims = self.session(exchange, worker, "w", outcomes, LANES, 50, concluding=True)
                self.held[worker] = list(claims)
            if not any(self.held.values()):
                if not self.session.value("SELECT count(*) FROM djqueue_task WHERE id NOT IN"
                                          " (SELECT task_id FROM djqueue_taskresult)"):  # fmt: skip
                    return
                self.pass_time()
        raise AssertionError(f"tasks are stuck: {Counter(self.session.places().values())}")


def limit_of(gate: str) -> int:
    return next((limit for word, limit in LIMITS.items() if f":{word}" in gate), 1)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens(session: Session, seed: int) -> None:
    life = Life(session, seed)
    acts = [life.settle] * 3 + [life.claim] * 3 + [life.enqueue] * 3 + [life.enqueue_unique] * 3
    acts += [life.fail, life.make_again, life.put_back, life.lose, life.kill_worker, life.cancel, life.expire]
    acts += [life.pass_time]
    for _ in range(STEPS):
        life.chance.choice(acts)()
        life.check()
    assert check_invariants() == []
    life.finish()
    life.check()
    order = {task_id: place for place, task_id in enumerate(life.finished)}
    for tasks in life.streams.values():
        places = [order[task_id] for task_id in tasks if task_id not in life.cancelled]
        assert places == sorted(places)
    assert session.sql("SELECT FROM djqueue_concurrencyslot") == []
    assert session.sql("SELECT FROM djqueue_parkedtask") == []
