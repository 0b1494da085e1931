"""What workflows do to the rows, without a worker process; and the command that shows them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from djqueue import Signature, chain, chord, group
from djqueue.doctor import check_invariants
from djqueue.exceptions import EncodeError
from djqueue.models import ReadyTask, Task, TaskGroup, TaskResult, WaitingTask
from djqueue.records import Outcome
from djqueue.serializers import encode_error
from djqueue.states import State
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.exchange import exchange
from djqueue.store.prune import prune
from djqueue.store.reclaim import reclaim

from .conftest import DEFAULT, until_blocked
from .rows_read import STATISTICS, by_verb, statistics
from .site.canvas_tasks import add, identity, tsum


def succeed(session, worker, claims, value: str = "1") -> set[str]:
    outcomes = [Outcome.succeeded(c.id, c.attempt, value, 1.0, 2.0) for c in claims]
    return session(conclude, worker, "w", outcomes)


def claim_all(session, worker, most: int = 1000):
    return session(claim, worker, [DEFAULT], most)


class TestConcluding:
    def test_what_a_settlement_releases_is_claimed_with_the_same_statement(self, session, worker):
        chain(identity.s(1), identity.s()).apply_async()
        (first,) = claim_all(session, worker)
        assert first.in_workflow
        outcome = Outcome.succeeded(first.id, first.attempt, '"x"', 1.0, 2.0)
        settled, claims = session(exchange, worker, "w", [outcome], [DEFAULT], 5, concluding=True)
        assert settled == {first.id}
        assert [c.args for c in claims] == ['["x"]']

    def test_a_plain_task_is_in_no_workflow(self, session, worker):
        add.delay(1, 1)
        group(add.s(1, 1), add.s(2, 2)).apply_async()
        assert [c.in_workflow for c in claim_all(session, worker)] == [False] * 3

    def test_a_late_outcome_counts_nothing(self, session):
        chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
        slow, quick = session.new_worker("slow", lease=-1), session.new_worker("quick")
        held = claim_all(session, slow)
        session(reclaim, 9)
        again = claim_all(session, quick)
        assert succeed(session, slow, held) == set()
        assert TaskGroup.objects.get().pending == 2
        assert succeed(session, quick, again[:1]) == {again[0].id}
        assert TaskGroup.objects.get().pending == 1
        assert succeed(session, quick, again) == {again[1].id}
        assert ReadyTask.objects.count() == 1

    def test_two_workers_that_finish_the_last_members_at_once_release_the_body_once(self, connect, runner):
        first, second, third = connect(), connect(), connect()
        one, two = first.new_worker("one"), first.new_worker("two")
        chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
        (a,), (b,) = claim_all(first, one, 1), claim_all(second, two, 1)

        async def race() -> None:
            import asyncio

            await first.connection.execute("BEGIN")
            await conclude(first.connection, one, "w", [Outcome.succeeded(a.id, 1, "1", 1.0, 2.0)])
            other = asyncio.create_task(
                conclude(second.connection, two, "w", [Outcome.succeeded(b.id, 1, "2", 1.0, 2.0)])
            )
            await until_blocked(third.connection)
            await first.connection.execute("COMMIT")
            assert await other == {b.id}

        runner.run(race())
        assert ReadyTask.objects.count() == 1
        assert Task.objects.get(ready_rows__isnull=False).args == [[1, 2]]

    def test_a_batch_updates_the_row_of_its_group_once(self, session, worker):
        chord([identity.s(n) for n in range(50)], tsum.s()).apply_async()
        claims = claim_all(session, worker)
        session.sql("BEGIN")
        succeed(session, worker, claims[:49])
        updates = session.value("SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'djqueue_taskgroup'")
        session.sql("COMMIT")
        assert updates == 1
        assert TaskGroup.objects.get().pending == 1
        succeed(session, worker, claims[49:])
        assert Task.objects.get(ready_rows__isnull=False).args == [[1] * 50]

    @pytest.mark.parametrize("known", STATISTICS)
    def test_a_step_reads_few_rows_however_many_there_are(self, known, session, worker):
        """The primary key is large from tasks that are gone, and each index of tasks of workflows is small."""
        identity.delay_many([((1,), {})] * 5000)
        session.sql("TRUNCATE djqueue_readytask")
        session.sql("DELETE FROM djqueue_task")
        with statistics(known, session.sql):
            for _ in range(300):
                chain(identity.s(1), identity.s(), identity.s()).apply_async()
            claims = claim_all(session, worker)
            succeed(session, worker, claims[:100])
        (one,) = claims[100:101]
        assert by_verb(session, conclude, worker, "w", [Outcome.succeeded(one.id, one.attempt, "1", 1.0, 2.0)]) < 40

    def test_a_long_chain_fails_as_a_whole(self, session, worker):
        chain(identity.s(1), *[identity.s() for _ in range(500)]).apply_async()
        (first,) = claim_all(session, worker)
        error = encode_error(ValueError('it\'s "so"'), with_traceback=False)
        assert session(conclude, worker, "w", [Outcome.failed(first.id, 1, error, 1.0, 2.0)]) == {first.id}
        assert TaskResult.objects.filter(state=State.FAILED).count() == 501
        assert not WaitingTask.objects.exists()


class TestKeeping:
    def test_what_a_chord_needs_is_not_pruned(self, session, worker):
        chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
        claims = claim_all(session, worker)
        succeed(session, worker, claims[:1])
        session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
        assert session(prune, {State.SUCCEEDED: 60}) == 0
        succeed(session, worker, claims[1:])
        session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
        assert session(prune, {State.SUCCEEDED: 60}) == 2
        assert TaskGroup.objects.get().pending == 0
        succeed(session, worker, claim_all(session, worker))
        session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
        assert session(prune, {State.SUCCEEDED: 60}) == 1
        assert not TaskGroup.objects.exists()


class TestInvariants:
    def test_what_waits_for_nothing_is_found(self, db):
        chain(add.s(1, 1), add.s(1)).apply_async()
        chord([add.s(1, 1), add.s(2, 2)], tsum.s()).apply_async()
        assert check_invariants() == []
        WaitingTask.objects.update(waits_for="00000000-0000-7000-8000-000000000000")
        TaskGroup.objects.update(pending=5)
        assert {finding.check for finding in check_invariants()} == {"waiting-for-nothing", "groups-miscounted"}


class TestBadInput:
    def test_a_canvas_that_contains_itself(self, db):
        sig = identity.s()
        sig.link(sig)
        with pytest.raises(ValueError, match="may contain itself"):
            sig.apply_async()
        assert not Task.objects.exists()

    @pytest.mark.parametrize("how", ["apply_async", "freeze", "apply"])
    def test_a_part_that_contains_the_whole(self, db, how):
        line, header, body = (
            chain(add.s(1, 1), add.s(2)),
            group([add.s(1, 1), add.s(2, 2)]),
            chord([add.s(1, 1)], tsum.s()),
        )
        line.tasks.append(line)
        header.tasks.append(header)
        body.body = body
        for whole in (line, header, body):
            with pytest.raises(ValueError, match="may contain itself"):
                getattr(whole, how)()
        assert not Task.objects.exists()

    def test_what_cannot_be_encoded(self, db):
        """All or nothing, but of a generator's group what came before stays."""
        for whole in (
            chord([add.s(1, 1)], identity.s(value=object())),
            chain(add.s(1, 1), add.s(object())),
            group([add.s(1, 1), add.s(1, object())]),
            chord((add.s(1, object()) if n == 2 else add.s(1, n) for n in range(4)), tsum.s()),
        ):
            with pytest.raises((EncodeError, TypeError)):
                whole.apply_async()
        assert not Task.objects.exists()
        assert not TaskGroup.objects.exists()
        with pytest.raises(EncodeError):
            group(add.s(1, object()) if n == 2 else add.s(1, n) for n in range(4)).apply_async()
        assert Task.objects.count() == 2

    def test_a_generator_that_raised_is_not_taken_for_one_that_ended(self, db):
        def members() -> Iterator[Any]:
            yield add.s(1, 1)
            raise KeyError("no more")

        for whole in (group(members()), chord(members(), tsum.s())):
            with pytest.raises(KeyError):
                whole.apply_async()
            with pytest.raises(ValueError, match="expected a group whose generator did not raise, got: KeyError"):
                whole.apply_async()

    def test_nothing_to_do(self, db):
        assert chain().apply_async() is None
        assert len(group([]).apply_async()) == len(group(iter(())).apply_async()) == 0
        with pytest.raises(ValueError, match="expected the chord to have a body"):
            chord([add.s(1, 1)]).apply_async()
        assert not Task.objects.exists()
        for header in ([], iter(())):
            assert Task.objects.get(pk=chord(header, tsum.s()).apply_async().id).args == [[]]

    def test_a_large_group(self, db):
        result = chord([identity.s(n) for n in range(12_000)], tsum.s()).apply_async()
        assert len(result.parent) == 12_000
        assert (Task.objects.count(), ReadyTask.objects.count(), WaitingTask.objects.count()) == (12_001, 12_000, 1)
        assert TaskGroup.objects.get().pending == 12_000


TIMES = "\N{MULTIPLICATION SIGN}"


class TestGraph:
    def graph(self, *args: str) -> str:
        out = io.StringIO()
        call_command("djqueue", "graph", *args, stdout=out)
        return out.getvalue()

    def test_any_step_shows_the_whole(self, session, worker):
        result = chain(identity.s(1), group(identity.s(), identity.s() | add.s(1)), tsum.s()).apply_async()
        succeed(session, worker, claim_all(session, worker))
        first = result.parent.parent.id
        shown = self.graph(result.id)
        assert shown == self.graph(first)
        lines = shown.splitlines()
        assert len(lines) == 5
        assert lines[0] == f"✓ {identity.name}  succeeded  {first}"
        assert f"… {tsum.name}  waiting  {result.id}  (waits for {result.parent.id})" in shown

    def test_a_picture(self, session, worker):
        result = chord([add.s(1, 1), add.s(2, 2)], tsum.s()).apply_async()
        picture = ElementTree.fromstring(self.graph(result.id, "--svg"))
        space = "{http://www.w3.org/2000/svg}"
        assert len(picture.findall(f"{space}g/{space}rect[@class='dq-card']")) == 3
        assert len([path for path in picture.findall(f"{space}path") if path.get("marker-end")]) == 2

    def test_members_that_are_alike_are_one(self, session, worker):
        result = chord([identity.s(n) for n in range(8)] + [add.s(1, 1) | add.s(1)], tsum.s()).apply_async()
        succeed(session, worker, claim_all(session, worker)[:3])
        shown = self.graph(result.id)
        assert f"▶ {identity.name} {TIMES} 8  3 succeeded, 5 running" in shown
        assert len(shown.splitlines()) == 4
        picture = self.graph(result.id, "--svg")
        assert f">identity {TIMES} 8</text>" in picture
        assert ">3 succeeded, 5 running</text>" in picture
        assert picture.count('<path class="dq-way"') == 3
        assert len(self.graph(result.id, "--all").splitlines()) == 11

    def test_a_large_workflow_is_read_in_few_statements(self, db, django_assert_max_num_queries):
        result = chord([identity.s(n) for n in range(3000)], tsum.s()).apply_async()
        with django_assert_max_num_queries(5):
            shown = self.graph(result.id)
        assert f"{identity.name} {TIMES} 3,000  3,000 ready" in shown

    def test_names_that_are_no_xml(self, db):
        bad = Signature("<script>\x01\ufffe&'")
        picture = self.graph(chain(identity.s(1), bad).apply_async().id, "--svg")
        assert "<script>" not in picture
        ElementTree.fromstring(picture)

    def test_an_id_that_is_not_known(self, db):
        with pytest.raises(CommandError, match="expected task_id to be a UUID"):
            self.graph("mine")
        with pytest.raises(CommandError, match="expected the id of a task that is known"):
            self.graph("00000000-0000-7000-8000-000000000000")


class TestStreaming:
    """A group of a generator: each member is committed at once, and the last commit waits for the disk."""

    def asked(self, statement: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    @pytest.mark.django_db(transaction=True)
    def test_only_the_end_waits_for_the_disk(self):
        self.asked("SELECT set_config('synchronous_commit', 'on', false)")
        places = []

        def members() -> Iterator[Any]:
            for number in range(20):
                yield identity.s(number)
                places.append(self.asked("SELECT pg_current_wal_insert_lsn()::text"))
                flushed.append(self.asked(f"SELECT pg_current_wal_flush_lsn() >= '{places[-1]}'"))

        flushed: list[bool] = []
        result = group(members()).apply_async()
        assert Task.objects.count() == len(result) == 20
        assert not all(flushed)
        assert self.asked(f"SELECT pg_current_wal_flush_lsn() >= '{places[-1]}'")

    @pytest.mark.django_db(transaction=True)
    def test_nothing_of_it_lasts_in_the_session(self):
        before = self.asked("SHOW synchronous_commit")
        group(identity.s(number) for number in range(3)).apply_async()
        assert self.asked("SHOW synchronous_commit") == before

    def test_inside_a_transaction_it_is_as_durable_as_that_is(self, db):
        before = self.asked("SHOW synchronous_commit")
        group(identity.s(number) for number in range(3)).apply_async()
        assert self.asked("SHOW synchronous_commit") == before
