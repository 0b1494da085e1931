"""Which queues workers serve, in which order, and what goes to all of them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from djqueue import chain
from djqueue.beat.firing import run_now
from djqueue.calls import check_retry_options
from djqueue.models import RateLimit, ReadyTask, Schedule, ScheduleRun, Task, Worker
from djqueue.rates import set_queue_rate_limit
from djqueue.records import Claim, Lane
from djqueue.results import FanoutResult
from djqueue.routing import check_queue, front_of
from djqueue.routing.selection import serves
from djqueue.store.broadcast import cancel_deserted
from djqueue.worker import order
from djqueue.worker.queues import QueueSelection

from .site.routing_tasks import leaves_a_note, reload_cache
from .worker_process import all_finished, eventually

BROADCAST = {"BROADCAST_QUEUES": ["everywhere"]}


def selection(queues: str, excluded: str = "", **options) -> QueueSelection:
    return QueueSelection(queues.split(","), excluded.split(","), **options)


def names(lanes: list[Lane]) -> list[str]:
    return [lane.queue for lane in lanes]


def claim_of(lane: Lane) -> Claim:
    return Claim("1", 1, "t", "[]", "{}", None, lane.queue, lane.priority, 0.0, 0.0)


class TestPatterns:
    @pytest.mark.parametrize(
        ("queues", "excluded", "served", "not_served"),
        [
            ("*", "slow*", "fast", "slow1"),
            ("mail*,!mail.bulk", "", "mail.now", "mail.bulk"),
            ("!slow", "", "anything", "slow"),
            ("a?", "", "ab", "abc"),
            ("a,b=3", "", "b", "c"),
        ],
    )
    def test_wildcards_and_exclusions(self, queues, excluded, served, not_served):
        chosen = selection(queues, excluded, order="weighted")
        assert chosen.rank(served) is not None
        assert chosen.rank(not_served) is None
        assert serves(str(chosen), served)
        assert not serves(str(chosen), not_served)

    @pytest.mark.parametrize(
        ("queues", "options", "message"),
        [
            ("a b", {}, "expected --queues to hold names of queues"),
            (
                "a=x",
                {"order": "weighted"},
                "expected a weight in --queues to be a whole number from 1 to 1000, got: 'a=x'",
            ),
            ("a=0", {"order": "weighted"}, "got: 'a=0'"),
            ("a=2", {}, "expected weights in --queues only with --queue-order weighted, got: strict"),
            ("!a=2", {"order": "weighted"}, "got: '!a=2'"),
            (",", {}, "expected --queues to name at least one queue, got none"),
        ],
    )
    def test_bad_entries_are_named(self, queues, options, message):
        with pytest.raises(ValueError, match=message):
            selection(queues, **options)
        with pytest.raises(ValueError, match="expected --exclude-queues to hold names of queues only"):
            selection("*", "!a")


class TestOrders:
    LANES = tuple(Lane(queue, priority) for queue in ("a", "b", "c") for priority in (0, 5))

    def test_strict_serves_earlier_entries_first(self):
        chosen = selection("c,*")
        for _ in range(5):
            assert names(chosen.ordered(self.LANES))[:2] == ["c", "c"]

    def test_round_robin_lets_every_queue_begin_in_turn(self):
        chosen = selection("c,*", order="round-robin")
        first = [chosen.ordered(self.LANES)[0] for _ in range(9)]
        assert Counter(names(first)) == {"a": 3, "b": 3, "c": 3}
        assert {lane.priority for lane in first} == {5}

    def test_weights_are_shares_spread_evenly(self):
        chosen = selection("a=5,b=2,*", order="weighted")
        first = [chosen.ordered(self.LANES)[0].queue for _ in range(80)]
        assert Counter(first) == {"a": 50, "b": 20, "c": 10}
        assert all(first[at : at + 8].count("c") == 1 for at in range(0, 80, 8))

    @given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1), st.integers(1, 3))
    def test_nobody_starves_and_every_share_is_exact(self, weights, rounds):
        turns, total = order.Turns(), sum(weights.values())
        began = [turns.next(weights)[0] for _ in range(total * rounds)]
        assert Counter(began) == {queue: weight * rounds for queue, weight in weights.items()}

    def test_a_queue_that_appears_later_gets_its_share(self):
        chosen = selection("*", order="round-robin")
        for _ in range(50):
            chosen.ordered(self.LANES[:4])
        began = Counter(chosen.ordered(self.LANES)[0].queue for _ in range(30))
        assert began["c"] >= 9

    @pytest.mark.parametrize("pausing", ["a", "everywhere"])
    def test_paused_queues_rest(self, pausing):
        chosen = selection("*", broadcasts=["everywhere"])
        chosen.worker_id = 7
        lanes = [Lane("a", 0), Lane("b", 0), Lane("everywhere@7", 0)]
        lanes += [Lane(front_of(lane.queue), lane.priority) for lane in lanes]
        assert not [name for name in names(chosen.ordered(lanes, [pausing])) if name.startswith(pausing)]
        assert len(chosen.ordered(lanes, [pausing])) == 4


class TestFronts:
    """The front of a line is no queue of its own: it is served with its queue, or not at all."""

    @pytest.mark.parametrize("name", ["mail!", "!", "!mail", "mail!now"])
    def test_no_queue_is_called_so(self, name):
        with pytest.raises(ValueError, match="expected the name of a queue"):
            check_queue(name)
        for option in ("queue", "routing_key"):
            with pytest.raises(ValueError, match="expected"):
                leaves_a_note.apply_async(("x", "y"), **{option: name})
        with pytest.raises(ValueError, match=r"names? of a queue"):
            check_retry_options("t", {"queue": name})

    @pytest.mark.parametrize("queues", ["mail!", "*!", "!mail!", "mai?!"])
    def test_no_worker_is_told_to_serve_one(self, queues):
        with pytest.raises(ValueError, match="expected --queues to hold names of queues"):
            selection(queues)
        with pytest.raises(ValueError, match="expected --exclude-queues"):
            selection("*", queues)
        with pytest.raises(ValueError, match="expected queue"):
            selection("*").add(queues)

    @pytest.mark.parametrize(
        ("queues", "served"),
        [("*", True), ("mail", True), ("mail,!mail?", True), ("mail?", False), ("*,!mail", False), ("other", False)],
    )
    def test_it_is_served_if_its_queue_is(self, queues, served):
        chosen = selection(queues)
        assert chosen.rank("mail") == chosen.rank("mail!")
        assert (chosen.rank("mail!") is not None) is served
        assert bool(chosen.ordered([Lane("mail!", 0)])) is served

    @pytest.mark.parametrize("order", ["strict", "round-robin", "weighted"])
    def test_it_comes_before_the_rest_of_its_line_and_has_no_turn_of_its_own(self, order):
        chosen = selection("*", order=order)
        lanes = [Lane("a", 0), Lane("a!", 0), Lane("b", 0), Lane("b!", 0), Lane("a", 5)]
        orders = [chosen.ordered(lanes) for _ in range(8)]
        for found in orders:
            assert sorted(found) == sorted(lanes)
            assert found.index(Lane("a!", 0)) == found.index(Lane("a", 0)) - 1
            assert found.index(Lane("b!", 0)) == found.index(Lane("b", 0)) - 1
            assert found.index(Lane("a", 5)) < found.index(Lane("a!", 0))
        if order != "strict":
            assert Counter(found[0].queue for found in orders) == {"a": 4, "b!": 4}

    def test_it_has_the_weight_of_its_queue(self):
        chosen = selection("a=3,b", order="weighted")
        first = [chosen.ordered([Lane("a", 0), Lane("a!", 0), Lane("b", 0)])[0].queue for _ in range(8)]
        assert Counter(first) == {"a!": 6, "b": 2}

    def test_only_the_worker_that_it_is_for_serves_that_of_a_broadcast(self):
        chosen = selection("every*", broadcasts=["everywhere"])
        chosen.worker_id = 7
        assert [chosen.rank(name) for name in ("everywhere@7!", "everywhere@8!", "everywhere!")] == [0, None, 0]

    def test_it_ages_with_its_line(self, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr("djqueue.worker.queues.monotonic", lambda: now[0])
        monkeypatch.setattr("djqueue.worker.order.monotonic", lambda: now[0])
        chosen = selection("*", aging=1.0)
        high, low, front = Lane("q", 5), Lane("q", 0), Lane("q!", 0)
        chosen.ordered([high, low])
        now[0] += 6
        chosen.claimed([claim_of(high)], full=True)
        assert chosen.ordered([high, low, front]) == [front, low, high]
        chosen.claimed([], full=True)  # all that it met was held back by limits
        assert chosen.ordered([high, low, front]) == [front, low, high]


class TestAging:
    """A lane that is passed over rises; the clock is the test's."""

    HIGH, LOW = Lane("q", 100), Lane("q", -100)

    def serve(self, monkeypatch, aging: float | None, seconds: int, *, full: bool = True) -> list[int]:
        """Return the seconds at which the low lane was served, while the high one is never empty."""
        now = [1000.0]
        monkeypatch.setattr("djqueue.worker.queues.monotonic", lambda: now[0])
        monkeypatch.setattr("djqueue.worker.order.monotonic", lambda: now[0])
        chosen = selection("*", aging=aging)
        served = []
        for second in range(seconds):
            now[0] += 1
            first = chosen.ordered([self.HIGH, self.LOW])[0]
            chosen.claimed([claim_of(first)] * 10, full=full)
            if first == self.LOW:
                served.append(second)
        return served

    def test_without_it_the_lower_priority_starves(self, monkeypatch):
        assert self.serve(monkeypatch, None, 1000) == []

    def test_with_it_each_point_is_so_many_seconds(self, monkeypatch):
        served = self.serve(monkeypatch, 1.0, 1000)
        assert len(served) in (4, 5)
        assert all(195 <= later - sooner <= 205 for sooner, later in pairwise(served))

    def test_nothing_rises_while_claims_empty_the_line(self, monkeypatch):
        assert self.serve(monkeypatch, 1.0, 1000, full=False) == []

    def test_an_empty_lane_gathers_nothing(self, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr("djqueue.worker.queues.monotonic", lambda: now[0])
        monkeypatch.setattr("djqueue.worker.order.monotonic", lambda: now[0])
        chosen = selection("*", aging=1.0)
        chosen.ordered([self.HIGH, self.LOW])
        now[0] += 500
        chosen.claimed([claim_of(self.HIGH)], full=True)
        assert chosen.ordered([self.HIGH, self.LOW])[0] == self.LOW
        chosen.claimed([claim_of(self.HIGH)], full=True)  # the low one came first and had nothing
        assert chosen.ordered([self.HIGH, self.LOW])[0] == self.HIGH


@pytest.mark.django_db(transaction=True)
class TestWorkers:
    def fill(self, path: str, number: int = 200) -> None:
        for queue in ("heavy", "light"):
            for _ in range(number):
                leaves_a_note.apply_async((path, queue), queue=queue)

    def test_weights_hold_in_a_worker(self, workers, file):
        self.fill(file.path)
        workers.run("-c", "1", "-P", "solo", "-Q", "heavy=4,light=1", "--queue-order", "weighted")
        eventually(lambda: len(file.lines()) == 400, what="400 notes")
        texts = file.texts()
        light = texts[: texts.index("light") + 1]
        assert len(light) < 200  # the light queue did not wait for the end of the heavy one

    def test_a_queue_that_appears_later_is_served_and_an_excluded_one_is_not(self, workers, file):
        workers.run("-c", "1", "-Q", "q*,!q.not")
        leaves_a_note.apply_async((file.path, "q1"), queue="q1")
        eventually(lambda: file.texts() == ["q1"], what="the first")
        left = leaves_a_note.apply_async((file.path, "not"), queue="q.not")
        leaves_a_note.apply_async((file.path, "q2"), queue="q2")
        eventually(lambda: file.texts() == ["q1", "q2"], what="the second")
        assert ReadyTask.objects.get().task_id == Task.objects.get(pk=left.id).pk

    def test_a_low_priority_under_a_steady_load_runs_at_last(self, workers, file):
        """A producer keeps the worker busy with the highest priority."""
        low = leaves_a_note.apply_async((file.path, "low"), priority=-100)
        high = [((file.path, "high"), {})] * 3000
        with override_settings(DJQUEUE={"ROUTES": {leaves_a_note.name: {"priority": 100}}}):
            leaves_a_note.delay_many(high)
        workers.run("-c", "1", "--priority-aging", "0.001")
        eventually(low.ready, what="the task of low priority")
        eventually(lambda: len(file.lines()) == 3001, what="all notes")
        assert file.texts()[-1] == "high"

    def test_without_aging_it_runs_last(self, workers, file):
        leaves_a_note.apply_async((file.path, "low"), priority=-100)
        for _ in range(50):
            leaves_a_note.apply_async((file.path, "high"), priority=100)
        workers.run("-c", "1", "-P", "solo")
        eventually(lambda: len(file.lines()) == 51, what="all")
        assert file.texts()[-1] == "low"


@pytest.mark.django_db(transaction=True)
class TestBroadcasts:
    @pytest.fixture(autouse=True)
    def _settings(self):
        with override_settings(DJQUEUE=BROADCAST):
            yield

    def test_every_live_worker_that_serves_it_runs_it(self, workers, file):
        served = [workers.run("-c", "1", "-Q", queues, **BROADCAST) for queues in ("*", "mail,everywhere")]
        workers.run("-c", "1", "-Q", "mail", **BROADCAST)
        result = reload_cache.delay(file.path)
        assert isinstance(result, FanoutResult)
        assert [copy.get(timeout=30) for copy in result.copies] == ["reloaded"] * 2
        assert Counter(file.texts()) == Counter(str(worker.fork_server().pid) for worker in served)

    def test_a_worker_that_comes_later_gets_what_is_sent_later(self, workers, file):
        workers.run("-c", "1", **BROADCAST)
        assert reload_cache.delay(file.path).get(timeout=30) == "reloaded"
        later = workers.run("-c", "1", **BROADCAST)
        result = reload_cache.delay(file.path)
        eventually(all_finished(result.copies), what="both")
        assert sorted(Counter(file.texts()).values()) == [1, 2]
        assert Counter(file.texts())[str(later.fork_server().pid)] == 1

    def test_without_a_worker_it_waits_for_the_first(self, workers, file):
        result = reload_cache.delay(file.path)
        assert ReadyTask.objects.get().queue == "everywhere"
        workers.run("-c", "1", **BROADCAST)
        assert result.get(timeout=30) == "reloaded"

    def test_bulk_and_schedules_reach_all_and_steps_are_refused(self, session):
        ids = [session.new_worker(f"w{number}") for number in range(2)]
        lines = [f"everywhere@{worker_id}" for worker_id in ids]
        (bulk,) = reload_cache.delay_many([(("x",), {})])
        assert [Task.objects.get(pk=copy.id).queue for copy in bulk.copies] == lines
        schedule = Schedule.objects.create(
            name="s", task=reload_cache.name, args=["x"], kind="crontab", expression="0 0 * * *"
        )
        task_id = run_now(schedule.pk)
        assert Task.objects.get(pk=task_id).queue == lines[0]
        assert str(ScheduleRun.objects.get().task_id) == task_id
        assert sorted(Task.objects.values_list("queue", flat=True)) == sorted(lines * 2)
        with pytest.raises(ValueError, match="expected a step of a workflow to go to one worker"):
            chain(reload_cache.si("x"), leaves_a_note.si("x", "y")).delay()

    def test_draining_and_dead_workers_get_nothing(self, session):
        session.new_worker("dead", lease=-1)
        draining = session.new_worker("draining")
        Worker.objects.filter(pk=draining).update(draining=True)
        reload_cache.delay("x")
        assert ReadyTask.objects.get().queue == "everywhere"

    @pytest.mark.parametrize("in_front", [False, True])
    def test_what_a_worker_left_behind_is_cancelled(self, session, in_front):
        alive, gone = session.new_worker("alive"), session.new_worker("gone")
        result = reload_cache.delay("x")
        for worker_id in (alive, gone):
            session.sql("INSERT INTO djqueue_queue (name) VALUES (%s)", f"everywhere@{worker_id}")
        Worker.objects.filter(pk=gone).delete()
        (line,) = ReadyTask.objects.filter(queue=f"everywhere@{gone}").values_list("pk", flat=True)
        if in_front:
            ReadyTask.objects.filter(pk=line).update(queue=f"everywhere@{gone}!")
        assert session(cancel_deserted, ["everywhere"]) == 1
        assert [copy.state for copy in result.copies] == ["PENDING", "REVOKED"]
        assert session(cancel_deserted, ["everywhere"]) == 0

    def test_a_rate_limit_of_such_a_queue_is_refused(self):
        with pytest.raises(ValueError, match=r"expected a queue that is no broadcast queue, .*, got: 'everywhere'"):
            set_queue_rate_limit("everywhere", "1/s")
        assert not RateLimit.objects.exists()

    def test_a_plain_queue_with_such_a_name_is_left_alone(self, session):
        reload_cache.apply_async(("x",), queue="mail@77")
        session.sql("INSERT INTO djqueue_queue (name) VALUES ('mail@77')")
        assert session(cancel_deserted, ["everywhere"]) == 0
        assert selection("*", broadcasts=["everywhere"]).rank("mail@77") == 0
