"""What Celery's users rely on without noticing it: small ways of requests, signatures, results and states."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest

from djqueue import Signature, StampingVisitor, TaskDefinition, chain, chord, group, signature, states
from djqueue.context import Request, inside_task
from djqueue.decorator import define
from djqueue.exceptions import Ignore, ImproperlyConfigured, Replace, Retry, TimeoutError
from djqueue.models import Task
from djqueue.results import GroupResult

from .site.canvas_tasks import add, identity, replaced_by_chain, tsum
from .site.tasks import add as known_to_workers
from .worker_process import Workers


class Strange(Exception):
    """An error of a test's own."""


class TestSignatures:
    def test_a_dict_written_by_hand_may_leave_out_what_is_not_needed(self):
        sig = Signature({"task": add.name, "args": (1, 2)})
        assert (sig.kwargs, sig.options, sig.immutable, sig.subtask_type) == ({}, {}, False, None)
        linked = identity.s(1)
        linked.link({"task": add.name, "args": [2]})
        assert linked.apply().get() == 1
        assert signature(sig) == sig == sig.clone()
        assert (sig | identity.s()).apply().get() == 3

    def test_a_group_of_a_generator_can_be_pickled(self):
        sig = chord((add.s(i, i) for i in range(3)), tsum.s())
        assert pickle.loads(pickle.dumps(sig)) == sig
        assert (len(sig.tasks), sig.tasks[2]) == (3, add.s(2, 2))
        assert sig.apply().get() == 6

    def test_the_size_of_a_chord_is_that_of_its_header(self):
        header = [add.s(1, 1), add.s(2, 2) | group(add.s(1), add.s(2))]
        assert chord(header, tsum.s()).__length_hint__() == chord(header).__length_hint__() == 3


class TestRequests:
    def test_a_bound_function_can_be_called_with_a_request_of_a_tests_own(self):
        tells = define(lambda self: [self.request.id, self.request.retries, self.request.called_directly], bind=True)
        tells.push_request(id="a", retries=2)
        try:
            assert tells() == ["a", 2, True]
            tells.push_request({"id": "b"}, called_directly=False)
            assert tells() == ["b", 0, False]
            assert inside_task()
            tells.pop_request()
            assert tells() == ["a", 2, True]
            assert not inside_task()
        finally:
            tells.pop_request()
        assert tells() == [None, 0, True]
        with pytest.raises(RuntimeError, match="push_request"):
            tells.pop_request()

    def test_what_is_written_to_a_request_outside_a_task_concerns_no_other(self):
        add.request.id = "a"
        try:
            assert (add.request.id, identity.request.id) == ("a", None)
        finally:
            add.request.id = None

    def test_a_retry_of_such_a_request_can_be_seen(self):
        again = define(lambda self: self.retry(countdown=5), bind=True, name="again", max_retries=1)
        again.push_request(called_directly=False, retries=0)
        try:
            with pytest.raises(Retry) as caught:
                again()
            assert caught.value.when == 5
        finally:
            again.pop_request()

    def test_both_limits_can_be_changed_as_one(self):
        request = Request()
        request.update({"timelimit": [30, 20]})
        assert (request.time_limit, request.soft_time_limit, request.timelimit) == (30, 20, [30, 20])
        request.update([("id", "a")])
        assert request.time_limit == 30
        request.update(timelimit=None)
        assert request.timelimit == [None, None]

    def test_children_are_a_list_before_there_are_any(self):
        request = Request(id="a")
        request.children.append("b")
        assert request.children == ["b"]
        request.clear()
        assert (request.children, request.id, request.replaced_task_nesting) == ([], None, 0)

    def test_in_place_it_tells_the_host_and_what_was_asked_of_the_way(self):
        tells = define(
            lambda self: {**self.request.delivery_info, "host": self.request.hostname}, bind=True, name="way"
        )
        told = tells.apply(priority=4, routing_key="mail.new", exchange="mail").get()
        assert (told["priority"], told["routing_key"], told["exchange"]) == (4, "mail.new", "mail")
        assert told["host"] == socket.gethostname()

    def test_in_place_it_tells_the_time_limits_that_a_worker_would_keep(self):
        tells = define(lambda self: self.request.timelimit, bind=True, name="limits", time_limit=60, soft_time_limit=45)
        assert tells.apply().get() == [60, 45]
        assert tells.apply(soft_time_limit=10).get() == [60, 10]
        assert add.apply((1, 1)).get() == 2


class TestEndings:
    @pytest.mark.parametrize("error", [Strange, Strange("so")], ids=["class", "instance"])
    def test_a_retry_may_be_given_the_class_of_an_error(self, error):
        fails = define(lambda self: self.retry(exc=error, max_retries=0), bind=True, name="fails")
        with pytest.raises(Strange):
            fails.apply().get()

    def test_what_a_function_says_of_its_retries_counts_for_those_by_themselves_too(self):
        runs: list[int] = []

        def gives_up(self: Any) -> None:
            runs.append(self.request.retries)
            self.retry(exc=Strange, max_retries=0 if len(runs) == 3 else None)

        result = define(gives_up, bind=True, autoretry_for=(Strange,), max_retries=10).apply()
        assert (type(result.result), runs) == (Strange, [0, 1, 2])

    def test_a_task_that_ignores_itself_in_place_says_so(self):
        def ignores() -> None:
            raise Ignore

        result = define(ignores).apply()
        assert (result.state, result.get(), result.ready(), result.successful()) == (states.IGNORED, None, True, False)

    def test_a_class_can_change_what_replaces_its_tasks(self):
        class Stamp(StampingVisitor):
            def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
                return {"by": "on_replace"}

        class Stamped(TaskDefinition):
            def on_replace(self, sig: Any) -> Any:
                sig.stamp(Stamp())
                return super().on_replace(sig)

        tells = define(lambda self: self.request.stamps, bind=True, name="tells_stamps")
        replaced = define(lambda self: self.replace(tells.s()), bind=True, base=Stamped, name="stamped")
        assert replaced.apply().get() == {"by": "on_replace"}

    def test_a_test_of_the_function_alone_sees_what_would_replace_it(self):
        with pytest.raises(Ignore, match="asked to be replaced") as caught:
            replaced_by_chain(2)
        assert isinstance(caught.value, Replace)
        assert caught.value.sig.subtask_type == "chain"

    def test_states_are_compared_by_how_far_a_task_has_got(self):
        assert states.state("PENDING") < states.state("RETRY") < states.state("STARTED") < states.state("REVOKED")
        assert states.state("REVOKED") < states.state("PROGRESS") < states.state("FAILURE") < states.state("SUCCESS")
        assert states.state("PROGRESS") >= states.state("COUNTING")
        assert states.state("SUCCESS") == "SUCCESS"


class TestSetsOfResults:
    def test_a_set_calls_back_while_it_waits(self, transactional_db, workers: Workers):
        result = group(known_to_workers.s(1, 1), known_to_workers.s(2, 2)).delay()
        looks: list[int] = []
        with pytest.raises(TimeoutError):
            result.get(timeout=0.05, on_interval=lambda: looks.append(1))
        assert looks
        workers.run("-c", "1")
        assert result.get(timeout=30) == [2, 4]

    def test_what_came_before_a_result_is_forgotten_with_it(self, transactional_db, workers: Workers):
        add = known_to_workers
        result = chain(
            add.s(1, 1),
            add.s(2),
            group(add.s(3), add.s(4)),
        ).delay()
        workers.run("-c", "1")
        assert result.get(timeout=30) == [7, 8]
        assert Task.objects.count() == 4
        result.forget()
        assert Task.objects.count() == 0

    def test_what_a_set_cannot_do_is_refused(self):
        with pytest.raises(ImproperlyConfigured, match="on_message"):
            GroupResult().get(on_message=print)
        with pytest.raises(TypeError, match="no_such"):
            GroupResult().join(no_such=1)

    def test_results_in_place_can_be_waited_for_inside_a_task(self):
        waits = define(lambda: group(add.s(1, 1), add.s(2, 2)).apply().get(disable_sync_subtasks=False), name="waits")
        assert waits.apply().get() == [2, 4]
