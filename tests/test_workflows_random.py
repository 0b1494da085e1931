"""Random workflows on a real worker, compared with a small evaluator that knows nothing of rows."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.db.models import Count
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from djqueue import GroupResult, chain, chord, group
from djqueue.models import Task, TaskResult, WaitingTask

from .site.canvas_tasks import mix, mixed
from .worker_process import Workers, eventually

MODULES = ["tests.site.canvas_tasks"]
MOST_STEPS = 60
KILL_EVERY = 1.5
"""Seconds between two kills; more often, and the worker pauses before it starts another executor."""


class Call(NamedTuple):
    """A task: what it does, whether it takes a value, whether its result is ignored, and what replaces it."""

    how: str = ""
    takes: bool = True
    ignored: bool = False
    by: Any = None


class Chain(NamedTuple):
    parts: list[Any]


class Group(NamedTuple):
    members: list[Any]


class Chord(NamedTuple):
    header: list[Any]
    body: Any


def calls(failures: bool, by: Any = None) -> st.SearchStrategy[Call]:
    hows = ["", "", "", "", "retry", *(["fail", "ignore"] if failures else [])]
    plain = st.builds(Call, st.sampled_from(hows), st.booleans(), st.booleans(), st.none())
    if by is None:
        return plain
    return plain | st.builds(Call, st.just("replace"), st.booleans(), st.booleans(), by)


def canvases(failures: bool) -> st.SearchStrategy[Any]:
    def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=2, max_size=4)
        return (
            st.builds(Chain, several)
            | st.builds(Group, several)
            | st.builds(Chord, st.lists(inner, min_size=1, max_size=4), inner)
        )

    leaves = calls(failures, joined(calls(failures)))
    return st.recursive(leaves, joined, max_leaves=30).filter(lambda plan: not isinstance(plan, Call))


def size(plan: Any) -> int:
    match plan:
        case Call(by=None):
            return 1
        case Call(by=by):
            return 1 + size(by)
        case Chain(parts) | Group(parts):
            return sum(map(size, parts))
        case Chord(header, body):
            return sum(map(size, header)) + size(body)
    raise AssertionError(plan)


class Failed(NamedTuple):
    """Failed for one of these reasons: which of several members fails first is not determined."""

    causes: frozenset[tuple[str, str]]


NOTHING = object()


class Reference:
    """Builds the canvas of a plan, and evaluates the plan; both give each call the same label."""

    def build(self, plan: Any, labels: Iterator[int]) -> Any:
        match plan:
            case Call(how, takes, ignored, by):
                label = next(labels)
                kwargs: dict[str, Any] = {"how": how} if how else {}
                if by is not None:
                    kwargs["by"] = self.build(by, labels)
                sig = mix.signature((label,), kwargs, immutable=not takes)
                return sig.set(ignore_result=True) if ignored else sig
            case Chain(parts):
                return chain(*[self.build(part, labels) for part in parts])
            case Group(members):
                return group([self.build(member, labels) for member in members])
            case Chord(header, body):
                built = [self.build(member, labels) for member in header]
                return chord(built, self.build(body, labels))
        raise AssertionError(plan)

    def value(self, plan: Any, given: Any, labels: Iterator[int]) -> Any:
        """Return the value, ``Failed``, or for a group the list of those of its members."""
        match plan:
            case Call():
                return self._call(plan, given, labels)
            case Chain(parts):
                for part in parts:
                    given = self.value(part, needed(given), labels)
                return given
            case Group(members):
                values: list[Any] = []
                for member in members:
                    value = self.value(member, given, labels)
                    values += value if isinstance(member, Group) else [value]
                return values
            case Chord(header, body):
                return self.value(body, needed(self.value(Group(header), given, labels)), labels)
        raise AssertionError(plan)

    def _call(self, plan: Call, given: Any, labels: Iterator[int]) -> Any:
        label = next(labels)
        args = (given, label) if plan.takes and given is not NOTHING else (label,)
        result: Any = NOTHING
        if plan.by is not None:
            result = needed(self.value(plan.by, mixed(*args) if not isinstance(given, Failed) else given, labels))
        if isinstance(given, Failed):
            return given
        if plan.how == "fail":
            return Failed(frozenset([("ValueError", str(label))]))
        if plan.how == "ignore":
            return Failed(frozenset([("TaskRevokedError", "the task raised Ignore")]))
        return mixed(*args) if result is NOTHING else result


def needed(value: Any) -> Any:
    """Return a value as what follows gets it: a list of which something failed has failed."""
    if not isinstance(value, list):
        return value
    values = [needed(member) for member in value]
    failures = [member for member in values if isinstance(member, Failed)]
    return Failed(frozenset().union(*(f.causes for f in failures))) if failures else values


def assert_as_expected(result: Any, expected: Any) -> None:
    if isinstance(result, GroupResult):
        assert isinstance(expected, list)
        for member, wanted in zip(result, expected, strict=True):
            assert_as_expected(member, wanted)
    elif result.ignored:
        assert result.get() is None
    elif isinstance(expected, Failed):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is looked at
            result.get(timeout=60)
        assert (type(caught.value).__name__, str(caught.value)) in expected.causes
        assert result.state in ("FAILURE", "REVOKED")
    else:
        assert result.get(timeout=60) == needed(expected)


def ignores_alone(plan: Any) -> bool:
    """Whether a task that nothing depends on raises ``Ignore``, which leaves no result to wait for."""
    match plan:
        case Call(how):
            return how == "ignore"
        case Group(members):
            return any(map(ignores_alone, members))
    return False


def run(plan: Any) -> None:
    if size(plan) > MOST_STEPS:
        return
    if ignores_alone(plan):
        plan = Chain([plan, Call()])
    reference = Reference()
    expected = reference.value(plan, NOTHING, itertools.count())
    result = reference.build(plan, itertools.count()).apply_async()
    assert_as_expected(result, expected)
    # Nothing is left behind, and nothing has two ends.
    eventually(lambda: not Task.objects.filter(result__isnull=True).exists(), what="the end of every task")
    assert not WaitingTask.objects.exists()
    assert not TaskResult.objects.values("task_id").annotate(n=Count("pk")).filter(n__gt=1).exists()


SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=60, deadline=None, suppress_health_check=SUPPRESSED)
@given(data=st.data())
def test_random_workflows_give_what_the_reference_gives(workers: Workers, data):
    if not workers.started:
        workers.run("-c", "2", IMPORTS=MODULES)
    run(data.draw(canvases(failures=data.draw(st.booleans()))))


def test_random_workflows_survive_the_killing_of_executors(workers: Workers):
    worker = workers.run("-c", "2", IMPORTS=MODULES, CRASH_LIMIT=1000)
    over = threading.Event()

    def kill() -> None:
        chance = random.Random(1)
        while not over.wait(KILL_EVERY):
            if executors := worker.executors():
                chance.choice(executors).kill()

    @settings(max_examples=40, deadline=None, suppress_health_check=SUPPRESSED, phases=[Phase.generate])
    @given(plan=canvases(failures=False))
    def examples(plan: Any) -> None:
        run(plan)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        examples()
    finally:
        over.set()
        killing.join()
    assert "was killed by OS signal 9" in worker.log
