"""Control and its command line where something makes no sense, or was set by hand before."""

from __future__ import annotations

import asyncio
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from djqueue import control
from djqueue.models import CancelledTask, RateLimit, ReadyTask, Worker
from djqueue.rates import set_rate_limit
from djqueue.store.rates import declare_rates
from djqueue.uuid7 import new_task_id
from djqueue.worker import components
from djqueue.worker.options import WorkerFacts

from .conftest import Session
from .site.routing_tasks import invoice
from .worker_process import Workers

pytestmark = pytest.mark.usefixtures("transactional_db")


def djqueue(*words: str) -> str:
    out = StringIO()
    call_command("djqueue", *words, stdout=out, no_color=True)
    return out.getvalue()


class TestNames:
    """An option without a name, such as that of a variable that is not set, is not taken for all."""

    @pytest.mark.parametrize("names", ["", ",", " , "])
    def test_purge_drops_nothing(self, names):
        invoice.delay(1)
        for option in ("--queues", "--exclude-queues"):
            with pytest.raises(CommandError, match=f"^expected {option} to hold names, separated by commas, got: "):
                djqueue("purge", "--force", f"{option}={names}")
        assert ReadyTask.objects.count() == 1

    @pytest.mark.parametrize("names", ["", ","])
    def test_no_worker_is_told_anything(self, worker, names):
        with pytest.raises(CommandError, match=r"^expected --destination to hold names"):
            djqueue("control", "shutdown", f"--destination={names}", "-t", "0.01")


class TestLimits:
    def test_of_a_list(self):
        with pytest.raises(CommandError, match=r"^expected --limit to be at most 1,000,000, got: "):
            djqueue("list", "tasks", f"--limit={10**20}")

    def test_of_a_list_of_something_else(self):
        with pytest.raises(CommandError, match=r"^expected --limit only with tasks, got: queues"):
            djqueue("list", "queues", "--limit=5")

    @pytest.fixture
    def name(self, workers: Workers) -> str:
        workers.run("-c", "1", "-n", "one@here")
        return Worker.objects.get().name

    def test_of_a_question_that_no_query_could_take(self, name):
        """It was not answered, and cost the worker a connection."""
        asked = control.inspect(timeout=20)
        for limit in (-1, 10**22):
            expected = {name: {"error": f"expected limit to be 0 to 10,000, got: {limit}"}}
            assert asked.revoked(limit=limit) == expected
            assert asked.scheduled(limit=limit) == expected


def test_a_limit_that_was_made_strict_by_hand_stays_so_when_workers_start(session: Session):
    declared = {"a.task": ("10/s", False)}
    session(declare_rates, declared)
    set_rate_limit("a.task", "5/s", strict=True)
    session(declare_rates, declared)
    assert RateLimit.objects.get().strict
    session(declare_rates, {"a.task": ("20/s", False)})
    assert (RateLimit.objects.get().strict, RateLimit.objects.get().rate) == (True, "5/s")
    session(declare_rates, {"a.task": None})
    assert RateLimit.objects.get().strict
    session(declare_rates, declared)
    set_rate_limit("a.task", None)
    assert (RateLimit.objects.get().strict, RateLimit.objects.get().per_second) == (False, 10)


def test_a_task_that_is_named_twice_is_cancelled_once(session: Session):
    """As those are that several calls of a unique task have returned."""
    waiting, unknown = invoice.delay(1).id, new_task_id()
    assert invoice.delay(1).id == waiting
    assert control.revoke([waiting, waiting, unknown, unknown]) == {waiting}
    assert session.places() == {waiting: "cancelled"}
    assert [str(note.pk) for note in CancelledTask.objects.all()] == [unknown]


class Deaf(components.Component):
    """Catches whatever comes, as code with a bare except does."""

    stopped = False

    async def run(self) -> None:
        while not self.stopped:
            try:
                await asyncio.sleep(0.05)
            except BaseException:
                continue

    async def stop(self) -> None:
        type(self).stopped = True


def test_a_component_that_does_not_heed_its_cancellation_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(components, "STOP_MOST", 0.2)

    async def life() -> None:
        facts = WorkerFacts("w", "default", "processes", 1, 1)
        those = components.Components([f"{__name__}.Deaf"], facts)
        await those.start()
        await asyncio.sleep(0)
        await asyncio.wait_for(those.stop(), 10)
        assert Deaf.stopped

    asyncio.run(life())
