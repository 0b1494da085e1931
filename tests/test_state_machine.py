"""The life of tasks as a whole: random walks over the store's verbs, checked against a model after every step.

The model is what ``djqueue/states.py`` draws: a task stands in one place, a line is first in, first out, an attempt
counts once it is claimed unless it is released, and only who holds an attempt can end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from djqueue.exceptions import WorkerLostError
from djqueue.records import Claim, Lane, Outcome
from djqueue.serializers import encode_error
from djqueue.states import Ending, State
from djqueue.store import results
from djqueue.store.claim import claim
from djqueue.store.exchange import exchange
from djqueue.store.lose import lose
from djqueue.store.promote import promote
from djqueue.store.prune import prune
from djqueue.store.reclaim import reclaim
from djqueue.store.release import release
from djqueue.store.settle import settle

from .conftest import Session, check_invariants
from .site.tasks import noop

LANES = [Lane("a", 0), Lane("a", 5), Lane("b", 0)]
NAMES = ["worker-a", "worker-b"]
CRASH_LIMIT = 2
ERROR = encode_error(WorkerLostError("gone"))
FINAL = {Ending.SUCCEEDED: "succeeded", Ending.FAILED: "failed", Ending.CANCELLED: "cancelled"}
TABLES = ("task", "readytask", "scheduledtask", "runningtask", "taskresult", "taskattempt", "worker")

STANDING = """
SELECT task_id::text, 'ready', attempt, NULL::bigint FROM djqueue_readytask
UNION ALL SELECT task_id::text, 'scheduled', attempt, NULL FROM djqueue_scheduledtask
UNION ALL SELECT task_id::text, 'running', attempt, worker_id FROM djqueue_runningtask
UNION ALL SELECT task_id::text, CASE state WHEN 5 THEN 'succeeded' WHEN 6 THEN 'failed' ELSE 'cancelled' END,
    attempt, NULL FROM djqueue_taskresult
"""
LINES = "SELECT queue, priority, array_agg(task_id::text ORDER BY seq) FROM djqueue_readytask GROUP BY queue, priority"
ATTEMPTS = "SELECT task_id::text, attempt, outcome FROM djqueue_taskattempt"


@dataclass
class Modelled:
    """What must be true of one task."""

    lane: Lane
    place: str
    attempt: int = 0
    """In a line or on the schedule the attempts made so far, otherwise the number of the attempt."""
    worker: int | None = None


class Store(RuleBasedStateMachine):
    session: ClassVar[Session]
    seen = Bundle("seen")
    """All claims ever made, most of them stale."""

    @initialize()
    def empty(self) -> None:
        for table in TABLES:
            self.session.sql(f"DELETE FROM djqueue_{table}")
        self.tasks: dict[str, Modelled] = {}
        self.lines: dict[Lane, list[str]] = {lane: [] for lane in LANES}
        self.history: set[tuple[str, int, Ending]] = set()
        self.workers = {name: self.session.new_worker(name) for name in NAMES}

    # What callers do

    @rule(lane=st.sampled_from(LANES), number=st.integers(1, 4))
    def enqueue(self, lane: Lane, number: int) -> None:
        for _ in range(number):
            task_id = noop.apply_async(queue=lane.queue, priority=lane.priority).id
            self.tasks[task_id] = Modelled(lane, "ready")
            self.lines[lane].append(task_id)

    @rule(lane=st.sampled_from(LANES))
    def schedule(self, lane: Lane) -> None:
        task_id = noop.apply_async(queue=lane.queue, priority=lane.priority, countdown=3600).id
        self.tasks[task_id] = Modelled(lane, "scheduled")

    @rule()
    def forget(self) -> None:
        """Finished tasks are forgotten, all others stay, whoever asks."""
        with connection.cursor() as cursor:
            forgotten = results.forget(cursor, list(self.tasks)[::2])
        gone = [i for i in list(self.tasks)[::2] if self.tasks[i].place in FINAL.values()]
        assert forgotten == len(gone)
        self.remove(gone)

    # What workers do

    @rule(target=seen, name=st.sampled_from(NAMES), lanes=st.permutations(LANES), wanted=st.integers(0, 5))
    def claim(self, name: str, lanes: list[Lane], wanted: int) -> Any:
        claims = self.session(claim, self.workers[name], lanes, wanted)
        self.assert_claimed(claims, name, lanes, wanted)
        return multiple(*claims)

    @rule(
        target=seen,
        name=st.sampled_from(NAMES),
        batch=st.lists(seen, max_size=4, unique_by=lambda c: (c.id, c.attempt)),
        lanes=st.permutations(LANES),
        wanted=st.integers(0, 5),
    )
    def exchange(self, name: str, batch: list[Claim], lanes: list[Lane], wanted: int) -> Any:
        outcomes = [Outcome.succeeded(c.id, c.attempt, "1", 1.0, 2.0) for c in batch]
        expected = self.held(batch, name)
        settled, claims = self.session(exchange, self.workers[name], name, outcomes, lanes, wanted)
        assert settled == expected
        for task_id in expected:
            self.tasks[task_id].place = "succeeded"
        self.assert_claimed(claims, name, lanes, wanted)
        return multiple(*claims)

    @rule(
        name=st.sampled_from(NAMES),
        batch=st.lists(
            st.tuples(seen, st.sampled_from([*FINAL, Ending.FORGOTTEN])),
            max_size=5,
            unique_by=lambda pair: (pair[0].id, pair[0].attempt),
        ),
    )
    def settle(self, name: str, batch: list[tuple[Claim, Ending]]) -> None:
        outcomes = [
            Outcome(c.id, c.attempt, ending, None, ERROR if ending is Ending.FAILED else None, 1.0, 2.0)
            for c, ending in batch
        ]
        expected = self.held([c for c, _ in batch], name)
        assert self.session(settle, self.workers[name], name, outcomes) == expected
        for c, ending in batch:
            if c.id not in expected or c.attempt != self.tasks[c.id].attempt:
                continue
            if ending is Ending.FORGOTTEN:
                self.remove([c.id])
                expected.remove(c.id)
                continue
            self.tasks[c.id].place = FINAL[ending]
            if ending is Ending.FAILED:
                self.history.add((c.id, c.attempt, Ending.FAILED))

    @rule(name=st.sampled_from(NAMES), batch=st.lists(seen, max_size=4, unique_by=lambda c: (c.id, c.attempt)))
    def release(self, name: str, batch: list[Claim]) -> None:
        expected = self.held(batch, name)
        outcomes = [Outcome.released(c.id, c.attempt) for c in batch]
        assert self.session(release, self.workers[name], outcomes) == expected
        for task_id in sorted(expected):
            self.tasks[task_id].attempt -= 1
            self.back_in_line(task_id)

    @rule(name=st.sampled_from(NAMES), batch=st.lists(seen, max_size=4, unique_by=lambda c: (c.id, c.attempt)))
    def lose(self, name: str, batch: list[Claim]) -> None:
        expected = self.held(batch, name)
        outcomes = [Outcome.lost(c.id, c.attempt, ERROR, 0.0) for c in batch]
        fate = self.session(lose, self.workers[name], name, outcomes, CRASH_LIMIT)
        assert fate == {task_id: self.lost(task_id) for task_id in sorted(expected)}

    @rule(name=st.sampled_from(NAMES))
    def expire_and_reclaim(self, name: str) -> None:
        self.session.sql("UPDATE djqueue_worker SET lease_until = now() - interval '1 s' WHERE name = %s", name)
        held = sorted(
            i for i, task in self.tasks.items() if task.worker == self.workers[name] and task.place == "running"
        )
        fates = [self.lost(task_id) for task_id in held]
        assert self.session(reclaim, CRASH_LIMIT) == [(name, fates.count(False), fates.count(True))]
        self.workers[name] = self.session.new_worker(name)

    @rule(limit=st.integers(1, 3))
    def promote(self, limit: int) -> None:
        """Everything on the schedule falls due, the newest task first."""
        waiting = sorted((i for i, task in self.tasks.items() if task.place == "scheduled"), reverse=True)
        for seconds, task_id in enumerate(waiting):
            self.session.sql(
                "UPDATE djqueue_scheduledtask SET run_at = now() - make_interval(secs => %s) WHERE task_id = %s",
                1000 - seconds,
                task_id,
            )
        promoted, next_in = self.session(promote, limit)
        assert (promoted, next_in) == (len(waiting[:limit]), None)
        for task_id in waiting[:limit]:
            self.back_in_line(task_id)

    @rule(state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def prune(self, state: State) -> None:
        old = [i for i, task in self.tasks.items() if task.place == state.name.lower()]
        assert self.session(prune, {state: 0.0}) == len(old)
        self.remove(old)

    # The model

    def held(self, batch: Sequence[Claim], name: str) -> set[str]:
        """Return the tasks of a batch that the worker holds under the attempt that the batch names."""
        return {
            c.id
            for c in batch
            if (task := self.tasks.get(c.id))
            and (task.place, task.worker, task.attempt) == ("running", self.workers[name], c.attempt)
        }

    def assert_claimed(self, claims: list[Claim], name: str, lanes: list[Lane], wanted: int) -> None:
        in_order = [task_id for lane in lanes for task_id in self.lines[lane]][:wanted]
        for task_id in in_order:
            task = self.tasks[task_id]
            self.lines[task.lane].remove(task_id)
            task.place, task.worker, task.attempt = "running", self.workers[name], task.attempt + 1
        assert [(c.id, c.attempt) for c in claims] == [(i, self.tasks[i].attempt) for i in in_order]

    def back_in_line(self, task_id: str) -> None:
        task = self.tasks[task_id]
        task.place, task.worker = "ready", None
        self.lines[task.lane].append(task_id)

    def lost(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        self.history.add((task_id, task.attempt, Ending.LOST))
        if sum(h[0] == task_id for h in self.history) < CRASH_LIMIT:
            self.back_in_line(task_id)
            return False
        task.place = "failed"
        return True

    def remove(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            del self.tasks[task_id]
        self.history = {h for h in self.history if h[0] in self.tasks}

    @invariant()
    def each_task_stands_in_one_place_with_its_attempt(self) -> None:
        stored = sorted(self.session.sql(STANDING), key=str)
        modelled = [
            (i, task.place, task.attempt, task.worker if task.place == "running" else None)
            for i, task in self.tasks.items()
        ]
        assert stored == sorted(modelled, key=str)
        assert check_invariants() == []

    @invariant()
    def each_line_is_in_order(self) -> None:
        stored = {Lane(queue, priority): line for queue, priority, line in self.session.sql(LINES)}
        assert stored == {lane: line for lane, line in self.lines.items() if line}

    @invariant()
    def each_failed_or_lost_attempt_is_remembered(self) -> None:
        assert {(i, attempt, Ending(ending)) for i, attempt, ending in self.session.sql(ATTEMPTS)} == self.history


def test_every_walk_over_the_verbs_agrees_with_the_model(session):
    machine = type("BoundStore", (Store,), {"session": session})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
