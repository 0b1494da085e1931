"""What happens to workflows on several connections at once: everybody locks leases first and then workflows."""

from __future__ import annotations

import asyncio
import json

from djqueue import chain, group
from djqueue.canvas.replacing import planned_replacement
from djqueue.context import Request
from djqueue.records import Outcome
from djqueue.states import Ending
from djqueue.store.advance import LOCK_CLASS, lock_workflow
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.grow import grow
from djqueue.store.reclaim import reclaim, reclaim_orphaned

from .conftest import DEFAULT, until_blocked
from .site.canvas_tasks import identity


def replaced(claimed) -> Outcome:
    request = Request(id=claimed.id, root_id=claimed.id, workflow_id=json.loads(claimed.context)["workflow_id"])
    grown = planned_replacement(request, chain(identity.s(1), identity.s()))
    return Outcome(claimed.id, claimed.attempt, Ending.REPLACED, finished=1.0)._replace(grown=grown)


def test_a_task_that_is_replaced_while_its_worker_is_given_up(connect, runner):
    late, other, observer = connect(), connect(), connect()
    worker = late.new_worker(lease=-1)
    result = chain(identity.s(1), identity.s()).apply_async()
    (held,) = late(claim, worker, [DEFAULT], 1)

    async def race() -> tuple[set[str], int]:
        await observer.connection.execute("BEGIN")
        await lock_workflow(observer.connection, json.loads(held.context)["workflow_id"])
        growing = asyncio.create_task(grow(late.connection, worker, "w", [replaced(held)]))
        await until_blocked(observer.connection)
        reclaiming = asyncio.create_task(reclaim(other.connection, 3))
        await until_blocked(observer.connection, 2)
        await observer.connection.execute("COMMIT")
        return await growing, (await reclaiming)[0].requeued

    assert runner.run(race()) == ({result.parent.id}, 0)


def test_two_workers_are_given_up_while_a_third_settles(connect, runner):
    """Both have a task of each of two workflows that the third one settles tasks of in one batch."""
    first, second, observer = connect(), connect(), connect()
    workflows = {}
    while len(workflows) < 2:
        results = group([identity.s(1) | identity.s()] * 3).apply_async()
        workflow = results[0].parent.id
        stripe = observer.value("SELECT hashtext(%s) & 255", workflow)
        workflows[stripe] = {r.parent.id for r in results}
    claims = first(claim, first.new_worker(), [DEFAULT], 1000)
    low, high = sorted(workflows)
    lower, higher = ([c for c in claims if c.id in workflows[stripe]] for stripe in (low, high))
    gone, gone_too, lives = (first.new_worker() for _ in range(3))
    for worker, held in ((gone, higher[0]), (gone_too, lower[0]), (lives, higher[1]), (lives, lower[1])):
        first.sql(
            "UPDATE djqueue_runningtask SET worker_id = %s, once = %s WHERE task_id = %s",
            worker,
            worker != lives,
            held.id,
        )
    first.sql("DELETE FROM djqueue_worker WHERE id = ANY (%s)", [gone, gone_too])
    outcomes = [Outcome.succeeded(c.id, c.attempt, "1", 1.0, 2.0) for c in (higher[1], lower[1])]

    async def race() -> tuple[int, set[str]]:
        await observer.connection.execute("BEGIN")
        await observer.connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, low))
        settling = asyncio.create_task(conclude(second.connection, lives, "w", outcomes))
        await until_blocked(observer.connection)
        reclaiming = asyncio.create_task(reclaim_orphaned(first.connection, 3))
        await until_blocked(observer.connection, 2)
        await observer.connection.execute("COMMIT")
        return sum(one.failed for one in await reclaiming), await settling

    assert runner.run(race()) == (2, {higher[1].id, lower[1].id})
