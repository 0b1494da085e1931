"""Workflows on a real worker: what Celery's canvas promises, by the numbers of the list that djqueue follows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from djqueue import AsyncResult, GroupResult, Signature, chain, chord, group, send_task, signature
from djqueue.exceptions import (
    ChordError,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    TaskRevokedError,
    TimeoutError,
    WorkerLostError,
)
from djqueue.models import ReadyTask, Task, TaskGroup, TaskResult, WaitingTask

from .site import canvas_tasks as site
from .site.canvas_tasks import add, boom, identity, mul, tsum
from .worker_process import Notes, Workers, eventually, stored

MODULES = ["tests.site.canvas_tasks"]


@pytest.fixture
def worker(workers: Workers) -> Iterator[Any]:
    return workers.run("-c", "2", IMPORTS=MODULES)


def get(canvas: Any, **options: Any) -> Any:
    return canvas.apply_async(**options).get(timeout=30)


def states_of(*results: Any) -> list[str]:
    return [result.state for result in results]


def nothing_waits() -> bool:
    return not WaitingTask.objects.exists()


class TestIdsAndTree:
    """1 and 2."""

    def test_ids_are_known_before_anything_runs(self, worker):
        whole = chain(site.ids.s(), group(site.ids.s(), site.ids.s()), site.ids.s())
        frozen = whole.freeze()
        result = whole.apply_async()
        assert (result.id, result.parent.id, result.parent.parent.id) == (
            frozen.id,
            frozen.parent.id,
            frozen.parent.parent.id,
        )
        first, header, body = result.parent.parent, result.parent, result
        got = body.get(timeout=30)
        assert first.get(timeout=30) == [first.id, first.id, None, None, None]
        members = header.get(timeout=30)
        assert members == [[r.id, first.id, first.id, header.id, n] for n, r in enumerate(header)]
        assert got == [body.id, first.id, header[0].id, None, None]

    def test_applying_again_is_a_new_run(self, worker):
        whole = chain(add.s(1, 1), add.s(1))
        whole.freeze()
        first, second = whole.apply_async(), whole.apply_async()
        assert first.id != second.id
        assert [first.get(timeout=30), second.get(timeout=30)] == [3, 3]

    def test_a_chosen_id_that_is_taken(self, db):
        taken = add.delay(1, 1).id
        with pytest.raises(ValueError, match="ids of a workflow's tasks to be new"):
            chain(add.s(1, 1), add.s(1)).apply_async(task_id=taken)
        assert Task.objects.count() == 1

    @pytest.mark.parametrize("kind", ["task", "group", "chain", "chord"])
    def test_what_a_task_applies_are_its_children(self, worker, kind):
        result = site.applies.delay(kind)
        made, children = result.get(timeout=30)
        assert children == [made]
        eventually(nothing_waits)
        assert {task.root_id for task in Task.objects.exclude(id=result.id)} == {uuid.UUID(result.id)}
        if kind in ("task", "group"):
            assert [child.id for child in result.children] == [made]
        leaves = {node.id for _, node in result.iterdeps(intermediate=True)}
        assert made in leaves
        assert site.applies.delay(kind, add_to_parent=False).get(timeout=30)[1] == []

    def test_children_follow_links(self, worker):
        result = add.apply_async((1, 1), link=[mul.s(2), mul.s(3) | add.s(1)])
        assert result.get(timeout=30) == 2
        eventually(nothing_waits)
        assert sorted(child.get(timeout=30) for child in result.children) == [4, 6]
        assert sorted(value for _, value in result.collect(timeout=30)) == [2, 4, 6, 7]


class TestAlgebra:
    """3 to 7."""

    @pytest.mark.parametrize(
        ("canvas", "expected"),
        [
            (add.s(1, 1) | mul.s(3) | add.s(1), 7),
            (group(add.s(1, 1), add.s(2, 2)), [2, 4]),
            (group(add.s(1, 1)), [2]),
            (group(add.s(1, 1)) | identity.s(), [2]),
            (chain(identity.s(1), group(add.s(1)), add.s(1)), 3),
            (group(add.s(1, 1), add.s(2, 2)) | tsum.s() | add.s(1), 7),
            (group(identity.s(1), identity.s(2)) | group(tsum.s(), identity.s()), [3, [1, 2]]),
            (chord([add.s(1, 1)], identity.s()), [2]),
            (chord([], identity.s()), []),
            (chain(identity.s(9), chord([], identity.s())), []),
            (identity.s(9) | chord([], group(identity.s(), tsum.s())) | identity.s(), [[], 0]),
            (chord(group(identity.s(1) | group(identity.s(), add.s(1)), identity.s(3)), identity.s()), [[1, 2], 3]),
            (chord([chord([add.s(1, 1), add.s(2, 2)], tsum.s()), identity.s(1)], identity.s()), [6, 1]),
            (chord([chord([identity.s(1)], group(tsum.s(), identity.s()))], identity.s()), [[1, [1]]]),
            (chain(group(identity.s(n) for n in range(3)), *[group(tsum.si([n]) for n in range(3))] * 3), [0, 1, 2]),
            (chain(identity.s(1), chain(), group(), add.s(1), group(group(), chain())), 2),
            (identity.map([1, 2]), [1, 2]),
            (add.starmap([(1, 2), (3, 4)]), [3, 7]),
            (add.chunks([(n, n) for n in range(5)], 2), [[0, 2], [4, 6], [8]]),
            (chain(add.chunks([(n, n) for n in range(3)], 2), identity.s()), [[0, 2], [4]]),
            (chain(identity.s(5), add.s(1).set(immutable=False), identity.si("kept")), "kept"),
            (chain(identity.s(None), identity.s()), None),
        ],
        ids=str,
    )
    def test_results(self, worker, canvas, expected):
        assert get(canvas) == expected
        # It is the same after a way through JSON.
        if not isinstance(canvas, chord) or canvas.tasks:
            assert get(Signature.from_dict(canvas)) == expected
        eventually(nothing_waits)

    def test_nothing_to_apply(self, db):
        assert chain().apply_async() is None
        assert group().apply_async().get() == []
        assert not Task.objects.exists()

    def test_order_is_that_of_the_header(self, worker, tmp_path: Path):
        gate = tmp_path / "gate"
        result = chord([site.waits_for_file.s(1, str(gate)), identity.s(2), identity.s(3)], identity.s()).apply_async()
        eventually(lambda: result.parent.completed_count() == 2)
        gate.touch()
        assert result.get(timeout=30) == [1, 2, 3]

    def test_a_generator_is_consumed_once_and_its_members_run_as_they_come(self, worker):
        produced = []

        def members() -> Iterator[Any]:
            for number in range(3):
                if produced:
                    assert AsyncResult(produced[-1]).get(timeout=30) == number - 1
                sig = identity.s(number)
                produced.append(sig.freeze().id)
                yield sig

        result = group(members()).apply_async()
        assert result.get(timeout=30) == [0, 1, 2]

    def test_a_generator_that_raises(self, db):
        def members() -> Iterator[Any]:
            yield add.s(1, 1)
            raise KeyError("no more")

        with pytest.raises(KeyError):
            chord(members(), tsum.s()).apply_async()
        assert not Task.objects.exists()
        with pytest.raises(KeyError):
            group(members()).apply_async()
        assert Task.objects.count() == 1

    def test_delays(self, worker):
        result = chain(
            identity.s(1).set(countdown=0.2), add.s(1).set(countdown=0.2), group(add.s(1), add.s(2).set(countdown=0.1))
        ).apply_async()
        assert result.get(timeout=30) == [3, 4]
        body = chord([identity.s(1)], tsum.s()).apply_async(countdown=0.2)
        assert body.get(timeout=30) == 1

    def test_queue_and_priority_of_each_step(self, db):
        chain(add.s(1, 1).set(queue="a", priority=3), add.s(1).set(queue="b")).apply_async(queue="c")
        assert list(Task.objects.order_by("id").values_list("queue", "priority")) == [("c", 3), ("b", 0)]

    def test_stamps(self, worker):
        canvas = chord([site.stamps_of.s(), site.stamps_of.s()], site.stamps_of.s())
        canvas.stamp(customer="x")
        result = canvas.apply_async()
        assert result.get(timeout=30) == {"customer": "x"}
        assert result.parent.get(timeout=30) == [{"customer": "x"}] * 2


class TestRunning:
    """8 to 16."""

    def test_what_follows_exists_before_a_success_is_visible(self, db):
        result = add.apply_async((1, 1), link=mul.s(2))
        assert WaitingTask.objects.get().waits_for == uuid.UUID(result.id)
        assert ReadyTask.objects.count() == 1

    def test_all_or_nothing(self, transactional_db):
        with transaction.atomic():
            chord([add.s(1, 1), add.s(2, 2)], tsum.s()).apply_async()
            transaction.set_rollback(True)
        assert not Task.objects.exists()
        assert not TaskGroup.objects.exists()
        with pytest.raises(EncodeError):
            chain(add.s(1, 1), add.s(object())).apply_async()
        assert not Task.objects.exists()

    def test_arguments_of_each_step_are_checked(self, db):
        with pytest.raises(TypeError, match="signature is add"):
            chain(add.s(1, 1), add.s(1, 2)).apply_async()
        assert not Task.objects.exists()

    def test_replace(self, worker):
        assert get(site.replaced_by_chain.s(2)) == 12
        assert get(chain(site.replaced_by_chain.s(2), add.s(1))) == 13
        assert get(chain(site.replaced_by_group.s(1, 2), tsum.s(), add.s(1))) == 6
        assert get(chord([site.replaced_by_group.s(1, 2), identity.s(0)], identity.s())) == [[3, 2], 0]
        assert get(site.replaced_by.s(1, group())) == []
        nested = get(site.replaced_deeply.s(4))
        assert nested == [[[[[4]]]]]

    def test_a_replaced_task_keeps_its_links_and_place(self, worker, file: Notes):
        sig = site.replaced_by_chain.s(2).set(link=[site.note_value.s(file.path)])
        result = chord([identity.s(1), sig], identity.s()).apply_async()
        assert result.get(timeout=30) == [1, 12]
        assert file.await_lines(1) == [["12"]]
        assert result.parent[1].get(timeout=30) == 12

    def test_a_replacement_that_fails(self, worker, file: Notes):
        sig = site.replaced_by_failure.s().set(link_error=[site.note_id.s(file.path)])
        result = chain(sig, identity.s()).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        assert states_of(result, result.parent) == ["FAILURE", "FAILURE"]
        assert file.await_lines(1) == [["id", result.parent.id]]

    def test_replacing_by_nothing(self, worker):
        with pytest.raises(ImproperlyConfigured):
            get(site.replaced_by_chain.s(0))

    def test_add_to_chord(self, worker):
        header = [site.adds_members.s(1, 2), identity.s(2)]
        assert get(chord(header, identity.s())) == [1, 2, "extra 0", "extra 1"]
        with pytest.raises(ValueError, match="not member of any chord"):
            get(site.adds_members.s(1, 1))

    def test_retries_keep_the_place(self, worker):
        assert get(chain(site.succeeds_at.s(1, 3), add.s(1))) == 2
        assert get(chord([site.succeeds_at.s(n, 2) for n in range(5)], identity.s())) == [0, 1, 2, 3, 4]

    def test_expired_steps(self, worker):
        result = chain(identity.s(1), add.s(1).set(countdown=0.3, expires=0.05), identity.s()).apply_async()
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get(timeout=30)
        assert states_of(result, result.parent, result.parent.parent) == ["REVOKED", "REVOKED", "SUCCESS"]

    def test_cancelling_a_waiting_step_ends_what_follows_it(self, transactional_db):
        result = chain(add.s(1, 1), add.s(2), add.s(3)).apply_async()
        assert result.parent.revoke()
        assert states_of(result.parent.parent, result.parent, result) == ["PENDING", "REVOKED", "REVOKED"]
        assert nothing_waits()

    def test_cancelling_a_member_fails_the_chord(self, transactional_db):
        result = chord([add.s(1, 1), add.s(2, 2)], tsum.s() | add.s(1)).apply_async()
        assert result.parent.parent[0].revoke()
        assert states_of(result.parent, result) == ["FAILURE", "FAILURE"]
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get()
        with pytest.raises(ChordError, match=r"Dependency .* raised TaskRevokedError"):
            result.get(follow_parents=False)

    def test_cancelling_in_a_transaction_waits_for_its_end(self, transactional_db):
        result = chain(add.s(1, 1), add.s(2)).apply_async()
        with transaction.atomic():
            result.revoke()
            assert result.state == "PENDING"
        assert result.state == "REVOKED"

    def test_a_step_that_raises_ignore_ends_the_workflow(self, worker):
        result = chain(site.ignoring.si(), identity.si(1)).apply_async()
        with pytest.raises(TaskRevokedError, match="raised Ignore"):
            result.get(timeout=30)

    def test_ignored_results_reach_the_next_step(self, worker):
        assert get(chain(site.ignored_result.s(1), add.s(1))) == 2
        assert get(chord([site.ignored_result.s(1), identity.s(2)], identity.s())) == [1, 2]


class TestErrors:
    """17 to 19."""

    def test_a_failure_marks_all_later_steps_at_once(self, worker):
        result = chain(
            identity.s(1), boom.s(), add.s(1), group(add.s(1), add.s(2) | add.s(3)), tsum.s(), group(add.s(1), add.s(2))
        ).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        # In one transaction: what the caller saw of one, it sees of all.
        assert nothing_waits()
        assert sorted(TaskResult.objects.values_list("state", flat=True)) == [5] + [6] * 8

    def test_the_first_failing_ancestor_is_raised(self, worker):
        result = chord([identity.s(1), boom.s()], tsum.s() | add.s(1)).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        culprit = result.parent.parent[1].id
        with pytest.raises(ChordError) as caught:
            result.get(timeout=30, follow_parents=False)
        assert str(caught.value) == f"Dependency {culprit} raised ValueError('boom')"
        with pytest.raises(ValueError, match="boom"):
            result.parent.parent.get(timeout=30)
        values = result.parent.parent.get(timeout=30, propagate=False)
        assert (values[0], repr(values[1])) == (1, "ValueError('boom')")

    def test_nested_headers(self, worker):
        inner = chord([boom.s(), identity.s(1)], tsum.s())
        result = chord([inner, identity.s(2) | group(identity.s(), identity.s())], tsum.s()).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        with pytest.raises(ChordError, match=r"Dependency .* raised ChordError"):
            result.get(timeout=30, follow_parents=False)
        deep = chord([identity.s(1) | group(boom.s(), identity.s())], tsum.s()).apply_async()
        with pytest.raises(ChordError, match=r"Dependency .* raised ValueError"):
            deep.get(timeout=30, follow_parents=False)

    def test_errbacks_run_once_for_the_task_that_fails(self, worker, file: Notes):
        whole = chain(identity.s(1), boom.s(), identity.s())
        whole.link_error(site.note_id.s(file.path))
        result = whole.apply_async(link_error=[site.note_error.s(file.path), site.note_id_bound.s(file.path)])
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        failed = result.parent.id
        lines = sorted(file.await_lines(3))
        assert lines == [["bound", failed], ["error", failed, "ValueError", "True"], ["id", failed]]
        eventually(lambda: not ReadyTask.objects.exists())
        assert len(file.lines()) == 3

    def test_errbacks_of_a_body_run_once_however_many_members_fail(self, worker, file: Notes):
        body = tsum.s().on_error(site.note_id.s(file.path)).on_error(site.note_error.s(file.path))
        result = chord([boom.s() for _ in range(5)], body).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        assert sorted(file.await_lines(2)) == [["error", result.id, "ChordError", "False"], ["id", result.id]]
        eventually(lambda: TaskResult.objects.count() == Task.objects.count())
        assert len(file.lines()) == 2

    def test_errbacks_of_a_group_body_are_each_members_own(self, worker, file: Notes):
        body = group(tsum.s(), tsum.s())
        body.link_error(site.note_id.s(file.path))
        result = chord([boom.s()], body).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        assert sorted(line[1] for line in file.await_lines(2)) == sorted(r.id for r in result)

    def test_an_errback_may_be_a_canvas_and_immutable(self, worker, file: Notes):
        sig = boom.s()
        sig.link_error(identity.s() | site.note_value.s(file.path))
        sig.link_error(site.note_words.si(file.path, "immutable"))
        result = sig.apply_async()
        assert sorted(file.await_lines(2)) == sorted([["immutable"], [result.id]])

    def test_an_errback_that_fails_stops_no_other(self, worker, file: Notes):
        result = boom.apply_async(link_error=[site.raises_in_errback.s(), site.note_id.s(file.path)])
        assert file.await_lines(1) == [["id", result.id]]

    def test_a_lost_executor_fails_what_follows(self, workers, file: Notes):
        workers.run("-c", "1", IMPORTS=MODULES, CRASH_LIMIT=2)
        assert get(chain(site.kills_its_executor.s(1, 5), add.s(1))) == 6
        sig = site.kills_its_executor.s(9, 5).on_error(site.note_id.s(file.path))
        result = chain(sig, identity.s()).apply_async()
        with pytest.raises(WorkerLostError):
            result.get(timeout=30)
        assert file.await_lines(1) == [["id", result.parent.id]]


class TestBadInput:
    def test_an_unregistered_task_in_the_middle(self, worker):
        result = chain(identity.s(1), Signature("nobody.knows"), identity.s()).apply_async()
        with pytest.raises(NotRegistered):
            result.get(timeout=30)
        assert states_of(result.parent.parent, result.parent, result) == ["SUCCESS", "FAILURE", "FAILURE"]

    def test_get_inside_a_task(self, worker):
        assert site.add_with_group.delay().get(timeout=30) == [2, 4]

    def test_waiting_for_a_part_of_a_transaction_that_is_open(self, transactional_db):
        with transaction.atomic():
            result = chord([add.s(1, 1)], tsum.s()).apply_async()
            with pytest.raises(RuntimeError, match="would wait for ever"):
                result.parent.get(timeout=1)
            with pytest.raises(RuntimeError, match="would wait for ever"):
                result.get(timeout=1)

    def test_a_budget_is_shared(self, transactional_db):
        result = group(add.s(1, 1), add.s(2, 2)).apply_async()
        with pytest.raises(TimeoutError, match="2 of the results"):
            result.get(timeout=0)

    def test_a_result_that_is_needed_cannot_be_forgotten(self, worker, tmp_path: Path):
        gate = tmp_path / "gate"
        result = chord([identity.s(1), site.waits_for_file.s(2, str(gate))], identity.s()).apply_async()
        stored(result.parent[0])
        result.parent[0].forget()
        assert result.parent[0].state == "SUCCESS"
        gate.touch()
        assert result.get(timeout=30) == [1, 2]
        result.parent[0].forget()
        assert result.parent[0].state == "PENDING"


class TestGroupResults:
    def test_saving_and_restoring(self, worker):
        result = group(add.s(1, 1), identity.s(1) | group(add.s(1), add.s(2))).apply_async()
        assert GroupResult.restore(result.id) is None
        result.save()
        restored = GroupResult.restore(result.id)
        assert restored is not None
        assert restored.as_tuple() == result.as_tuple()
        assert restored.get(timeout=30) == [2, [2, 3]]
        assert sorted(v["result"] for _, v in restored.iter_native(timeout=30)) == [2, 2, 3]
        result.delete()
        assert GroupResult.restore(result.id) is None

    def test_states(self, worker):
        result = group(add.s(1, 1), boom.s()).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=30)
        eventually(result.ready)
        assert (result.successful(), result.failed(), result.waiting(), result.completed_count()) == (
            False,
            True,
            False,
            1,
        )


def test_rows_grow_linearly_with_the_workflow(db):
    """A chain of ten groups of 25 stores each task once, and none within another."""

    def weight(groups: int) -> int:
        Task.objects.all().delete()
        chain(*[group(add.si(n, n) for n in range(25))] * groups).apply_async()
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(pg_column_size(task.*)) FROM djqueue_task AS task")
            return cursor.fetchone()[0]

    five, ten, fifteen = weight(5), weight(10), weight(15)
    assert abs((fifteen - ten) - (ten - five)) < 0.01 * ten


class TestResuming:
    def test_a_failed_step_runs_again_and_the_rest_goes_on(self, worker, tmp_path: Path):
        gate = tmp_path / "gate"
        step = site.fails_without_file.s(str(gate))
        inner = chord([identity.s(1), identity.s(2) | step], tsum.s()) | add.s(10)
        result = chord([inner, identity.s(100)], tsum.s()).apply_async()
        with pytest.raises(FileNotFoundError):
            result.get(timeout=30)
        culprit = next(
            AsyncResult(str(task.id)) for task in Task.objects.filter(name=site.fails_without_file.name).all()
        )
        with pytest.raises(ValueError, match="which only waited for it"):
            result.retry()
        eventually(lambda: result.parent[1].successful())
        gate.touch()
        culprit.retry()
        assert result.get(timeout=30) == 113
        assert nothing_waits()
        with pytest.raises(ValueError, match="has failed or was cancelled"):
            culprit.retry()

    def test_a_chord_waits_until_every_failed_member_is_retried(self, worker, tmp_path: Path):
        gate = tmp_path / "gate"
        result = chord([site.fails_without_file.s(n, str(gate)) for n in range(3)], tsum.s()).apply_async()
        with pytest.raises(FileNotFoundError):
            result.get(timeout=30)
        eventually(lambda: states_of(*result.parent) == ["FAILURE"] * 3)
        gate.touch()
        for member in list(result.parent)[:2]:
            member.retry()
            assert member.get(timeout=30) in (0, 1)
        assert result.state == "FAILURE"
        result.parent[2].retry()
        eventually(lambda: result.state == "SUCCESS")
        assert result.get() == 3

    def test_a_cancelled_step_can_go_on_too(self, workers):
        result = chain(add.s(1, 1), add.s(1)).apply_async()
        result.parent.revoke()
        assert result.state == "REVOKED"
        with transaction.atomic():
            result.parent.retry()
            assert result.state == "REVOKED"
        assert states_of(result.parent, result) == ["PENDING", "PENDING"]
        workers.run("-c", "1", IMPORTS=MODULES)
        assert result.get(timeout=30) == 3


class TestCallsThatAreMore:
    """``link``, ``link_error``, ``chain`` and ``chord`` as options of a call, also of one by name."""

    def test_what_follows_a_call(self, worker):
        result = add.apply_async((1, 1), chain=[mul.s(10), add.s(1)])  # the next one last, as in Celery
        assert result.get(timeout=30) == 2
        (last,) = Task.objects.filter(name=mul.name)
        assert AsyncResult(str(last.pk)).get(timeout=30) == 30

    def test_a_call_with_a_body(self, worker):
        result = add.apply_async((1, 1), chord=tsum.s(), chain=[mul.s(10)], task_id=str(uuid.uuid4()))
        assert result.get(timeout=30) == 2
        assert Task.objects.get(pk=result.id).args == [1, 1]
        (body,) = Task.objects.filter(name=tsum.name)
        assert AsyncResult(str(body.pk)).get(timeout=30) == 20

    def test_a_call_by_name(self, worker, file: Notes):
        result = send_task(add.name, (1, 1), link=site.note_value.s(file.path), chain=[mul.s(10)])
        assert result.get(timeout=30) == 2
        assert file.await_lines(1) == [["2"]]
        failed = signature(boom.name).apply_async(link_error=site.note_id.s(file.path), chain=[mul.s(10)])
        with pytest.raises(ValueError, match="boom"):
            failed.get(timeout=30)
        assert file.await_lines(2)[1] == ["id", failed.id]

    def test_a_name_that_only_the_worker_knows(self, db):
        """Nothing of what was asked for is left out."""
        for call in (send_task, lambda name, **options: Signature(name).apply_async(**options)):
            call("elsewhere.task", link=add.s(1), link_error=add.s(2))
        assert WaitingTask.objects.count() == 2
        for task in Task.objects.filter(name="elsewhere.task"):
            assert task.options["link_error"][0]["task"] == add.name

    def test_what_cannot_be(self, db):
        with pytest.raises(TypeError, match="expected chain and chord without group_id"):
            add.apply_async((1, 1), chain=[mul.s(1)], group_id=str(uuid.uuid4()))
        with pytest.raises(TypeError, match="expected a signature"):
            add.apply_async((1, 1), chord=5)
        with pytest.raises(TypeError, match="expected option 'chain' in apply_async or in a signature"):
            group(add.s(1, 1).set(chain=[mul.s(1)]), add.s(1, 1)).apply_async()
        assert not Task.objects.exists()

    def test_a_retry_keeps_what_belongs_to_the_workflow(self, worker):
        """What a retry stored of these would be taken for what the call had planned."""
        options = ["link", "link_error", "chain", "chord", "group_id"]
        for option, result in [
            (option, chain(site.retries_with.s({option: add.s(1)}), identity.s()).apply_async()) for option in options
        ]:
            assert result.get(timeout=30).endswith(f"retries_with keeps its {option}")

    def test_a_task_can_read_what_follows_it(self, worker, file: Notes):
        asking = site.tells_what_follows.s(1).on_error(site.note_id.s(file.path))
        asking.link(site.note_value.s(file.path))
        whole = chain(asking, identity.si(2), group(add.s(3) | mul.s(4), add.s(5)), tsum.s(), identity.s())
        result = whole.apply_async()
        result.get(timeout=30)
        told = result
        while told.parent is not None:
            told = told.parent
        assert told.get(timeout=30) == [
            [[identity.name], [tsum.name], [[add.name, 3], [add.name, 5]], [identity.name, 2]],
            [[site.note_value.name, file.path]],
            [site.note_id.name],
        ]
        assert site.tells_what_follows.apply_async((1,)).get(timeout=30) == [[], [], []]
