"""Retrying what failed or was cancelled in a workflow: what waits again, and what is refused."""

from __future__ import annotations

import pytest
from django.db import transaction

from djqueue import AsyncResult, GroupResult, chain, chord, group
from djqueue.models import CancelledTask, ReadyTask, Task, TaskGroup, WaitingTask
from djqueue.records import Outcome
from djqueue.serializers import encode_error
from djqueue.states import State
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.grow import grow
from djqueue.store.prune import prune

from .conftest import DEFAULT
from .site import canvas_tasks as site
from .site.canvas_tasks import identity, tsum
from .test_workflows_races import replaced
from .worker_process import Workers, eventually

MODULES = ["tests.site.canvas_tasks"]
WRONG = encode_error(ValueError("wrong"), with_traceback=False)


def claimed(session, worker):
    return {c.id: c for c in session(claim, worker, [DEFAULT], 1000)}


def end(session, worker, *claims, value: str = "1", failed: bool = False) -> set[str]:
    make = Outcome.failed if failed else Outcome.succeeded
    outcomes = [make(c.id, c.attempt, WRONG if failed else value, 1.0, 2.0) for c in claims]
    return session(conclude, worker, "w", outcomes)


def test_a_task_that_was_cancelled_while_it_ran_is_not_cancelled_again(session, worker):
    result = chain(identity.s(1), identity.s()).apply_async()
    (first,) = claimed(session, worker).values()
    result.parent.revoke()
    session(conclude, worker, "w", [Outcome.cancelled(first.id, 1, WRONG, 1.0, 2.0)])
    assert result.state == "REVOKED"
    result.parent.retry()
    (again,) = claimed(session, worker).values()
    assert '"cancelled" : true' not in again.context
    assert not CancelledTask.objects.exists()


def test_an_expired_step(session, worker):
    result = chain(identity.s(1), identity.s()).apply_async(expires=0.001)
    first = result.parent.id
    claimed(session, worker)
    session(conclude, worker, "w", [Outcome.cancelled(first, 1, WRONG, 1.0, 2.0)])
    result.parent.retry()
    assert Task.objects.get(id=first).expires_at is None


def test_a_header_of_which_a_value_was_pruned(session, worker):
    result = chord([identity.s(1), identity.s(2), identity.s(3)], tsum.s()).apply_async()
    cs = claimed(session, worker)
    a, b, c = [cs[r.id] for r in result.parent]
    end(session, worker, a, b)
    end(session, worker, c, failed=True)
    session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
    session(prune, {State.SUCCEEDED: 60})
    with pytest.raises(ValueError, match="pruned"):
        result.parent[2].retry()
    assert (result.state, result.parent[2].state) == ("FAILURE", "FAILURE")


def test_a_header_with_a_group_of_which_a_value_was_pruned(session, worker):
    result = chord([identity.s(1) | group(identity.s(), identity.s()), identity.s(3)], tsum.s()).apply_async()
    last = result.parent[1]
    first = claimed(session, worker)
    wrong = first.pop(last.id)
    end(session, worker, *first.values())
    end(session, worker, *claimed(session, worker).values())
    assert TaskGroup.objects.get(group_id=result.parent.id).value == [1, 1]
    end(session, worker, wrong, failed=True)
    session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
    assert session(prune, {State.SUCCEEDED: 60}) == 3
    last.retry()  # the list of its values is kept, although they are gone themselves
    end(session, worker, *claimed(session, worker).values(), value="2")
    assert [c.args for c in claimed(session, worker).values()] == ["[[[1, 1], 2]]"]


def test_groups_are_pruned_with_the_last_task_of_their_workflow(session, worker):
    """Also one whose members are all groups, so that no task belongs to it."""
    chord([identity.s(1) | group(identity.s(), identity.s())] * 2, tsum.s()).apply_async()
    for _ in range(3):
        end(session, worker, *claimed(session, worker).values())
    assert TaskGroup.objects.count() == 3
    session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
    assert session(prune, {State.SUCCEEDED: 60}, 3) == 3
    assert TaskGroup.objects.count() == 3
    assert session(prune, {State.SUCCEEDED: 60}) == 4
    assert not TaskGroup.objects.exists()


def test_what_was_saved_of_a_plain_group_is_pruned_with_it(session, worker):
    result = group(identity.s(1), identity.s(2)).apply_async()
    result.save()
    a, b = claimed(session, worker).values()
    end(session, worker, a)
    session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
    assert session(prune, {State.SUCCEEDED: 60}) == 1
    assert GroupResult.restore(result.id) == result
    end(session, worker, b)
    session.sql("UPDATE djqueue_taskresult SET finished_at = 'epoch'")
    assert session(prune, {State.SUCCEEDED: 60}) == 1
    assert GroupResult.restore(result.id) is None


def test_a_plain_task_that_was_replaced(session, worker, workers: Workers, tmp_path):
    gate = tmp_path / "gate"
    by = chain(site.fails_without_file.s(str(gate)), identity.s())
    result = site.replaced_by.delay(5, by)
    workers.run("-c", "1", IMPORTS=MODULES)
    with pytest.raises(FileNotFoundError):
        result.get(timeout=30)
    culprit = AsyncResult(str(Task.objects.get(name=site.fails_without_file.name).id))
    gate.touch()
    culprit.retry()
    eventually(lambda: result.state == "SUCCESS", timeout=10)
    assert result.get() == 5


def test_a_step_that_was_cancelled_while_it_waited(session, worker):
    result = chain(identity.s(1), identity.s(), identity.s()).apply_async()
    middle = result.parent
    middle.revoke()
    middle.retry()
    assert not ReadyTask.objects.filter(task_id=middle.id).exists()
    first = claimed(session, worker)
    assert list(first) == [middle.parent.id]
    end(session, worker, *first.values(), value='"v"')
    (c,) = claimed(session, worker).values()
    assert c.args == '["v"]'


def test_a_step_that_was_cancelled_while_it_waited_for_what_has_ended_since(session, worker):
    result = chain(identity.s(1), identity.s(), identity.s()).apply_async()
    middle = result.parent
    middle.revoke()
    end(session, worker, *claimed(session, worker).values(), value='"v"')
    middle.retry()
    (c,) = claimed(session, worker).values()
    assert c.args == '["v"]'


def test_a_step_in_front_of_a_group_and_its_body(session, worker):
    result = chain(identity.s(1), group(identity.s(), identity.s()), tsum.s()).apply_async()
    end(session, worker, *claimed(session, worker).values(), failed=True)
    result.parent.parent.retry()
    for _ in range(3):
        end(session, worker, *claimed(session, worker).values())
    assert result.state == "SUCCESS"


def test_a_body_that_was_cancelled_gets_the_values_of_a_header_that_has_ended_since(session, worker):
    result = chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
    result.revoke()
    end(session, worker, *claimed(session, worker).values(), value="4")
    result.retry()
    assert [c.args for c in claimed(session, worker).values()] == ["[[4, 4]]"]


def test_a_step_that_was_cancelled_in_front_of_a_failure(session, worker):
    result = chain(identity.s(1), identity.s()).apply_async()
    result.revoke()
    end(session, worker, *claimed(session, worker).values(), failed=True)
    with pytest.raises(ValueError, match=f"which waited for {result.parent.id}"):
        result.retry()
    result.parent.retry()
    assert (result.parent.state, result.state) == ("PENDING", "REVOKED")
    result.retry()
    for _ in range(2):
        end(session, worker, *claimed(session, worker).values())
    assert result.state == "SUCCESS"


def test_a_task_that_was_cancelled_while_another_had_its_place(session, worker):
    """It takes over the result that is there by now, and what follows it goes on."""
    result = chain(identity.s(1), identity.s()).apply_async()
    (held,) = claimed(session, worker).values()
    assert session(grow, worker, "w", [replaced(held)]) == {held.id}
    result.parent.revoke()
    assert result.state == "REVOKED"
    for value in ("5", "6"):
        end(session, worker, *claimed(session, worker).values(), value=value)
    result.parent.retry()
    assert result.parent.get() == 6
    assert [c.args for c in claimed(session, worker).values()] == ["[6]"]


def test_the_whole_tail_of_a_large_workflow(session, worker):
    result = chain(identity.s(1), group([identity.s()] * 2000), identity.s()).apply_async()
    end(session, worker, *claimed(session, worker).values(), failed=True)
    result.parent.parent.retry()
    assert (ReadyTask.objects.count(), WaitingTask.objects.count()) == (1, 2001)
    assert TaskGroup.objects.get().pending == 2000


def test_two_retries_in_one_transaction(session, worker):
    """The second one finds nothing to do any more, which is logged and raised to nobody."""
    result = chain(identity.s(1), identity.s()).apply_async()
    end(session, worker, *claimed(session, worker).values(), failed=True)
    with transaction.atomic():
        result.parent.retry()
        result.parent.retry()
    assert ReadyTask.objects.count() == 1


def test_a_forgotten_group_leaves_nothing(session, worker):
    result = chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
    end(session, worker, *claimed(session, worker).values())
    end(session, worker, *claimed(session, worker).values())
    result.forget()
    result.parent.forget()
    assert not Task.objects.exists()
    assert not TaskGroup.objects.exists()


def test_a_header_that_is_saved_before_it_is_applied(db):
    c = chord([identity.s(1), identity.s(2)], tsum.s())
    frozen = c.freeze()
    frozen.parent.save()
    c.apply_async()
    assert GroupResult.restore(frozen.parent.id) == frozen.parent
