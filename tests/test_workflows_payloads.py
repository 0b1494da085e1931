"""Workflows where payloads are not plain JSON: other serializers, encryption, types, and guarantees of single tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.test import override_settings

from djqueue import AsyncResult, chain, chord, group
from djqueue.admin.arguments import positional
from djqueue.exceptions import TaskRevokedError
from djqueue.models import ReadyTask, Task, TaskResult, WaitingTask

from .site import canvas_tasks as site
from .site import guarantee_tasks
from .site.canvas_tasks import add, identity, mul, tsum
from .site.models import Mark
from .site.payload_tasks import Mine, returns_mine
from .test_payloads import djqueue_settings_given
from .worker_process import Kept, Notes, WorkerProcess, Workers, eventually, stored

pytestmark = pytest.mark.django_db(transaction=True)

MODULES = ["tests.site.canvas_tasks", "tests.site.payload_tasks"]
FERNET = {
    "PAYLOAD_CODEC": "djqueue.encryption.FernetCodec",
    "PAYLOAD_KEYS": [Fernet.generate_key().decode()],
}


def using(serializer: str, results: str, **more: Any) -> dict[str, Any]:
    accepted = sorted({serializer, results})
    return {"SERIALIZER": serializer, "RESULT_SERIALIZER": results, "ACCEPT_CONTENT": accepted, **more}


SITES = {
    "json": using("json", "json"),
    "msgpack": using("msgpack", "msgpack"),
    "yaml": using("yaml", "yaml"),
    "pickle": using("pickle", "pickle"),
    "json, results msgpack": using("json", "msgpack"),
    "msgpack, results json": using("msgpack", "json"),
    "encrypted json": using("json", "json", **FERNET),
    "encrypted msgpack": using("msgpack", "msgpack", **FERNET),
}
LOOK_ALIKES = [
    {"__results__": [1]},
    {"__previous__": 1, "args": [2]},
    {"__serializer__": "pickle", "body": "gASVBQAAAAAAAABLAS4="},
    [{"__serializer__": "pickle", "body": "gASVBQAAAAAAAABLAS4="}, {"__results__": [None]}],
    ["__serializer__", "__results__"],
]


@pytest.fixture(params=SITES, scope="class")
def site_settings(request: Any) -> Iterator[dict[str, Any]]:
    given: dict[str, Any] = SITES[request.param]
    with override_settings(DJQUEUE={**djqueue_settings_given(), **given}):
        yield given


@pytest.fixture
def worker(site_settings: dict[str, Any], kept: Kept) -> WorkerProcess:
    return kept("-c", "2", IMPORTS=MODULES, **site_settings)


def get(canvas: Any) -> Any:
    return canvas.apply_async().get(timeout=30)


class TestEverySite:
    def test_results_go_from_step_to_step(self, worker):
        assert get(chain(add.s(1, 1), mul.s(4), add.s(10))) == 18
        assert get(chain(identity.s({"a": [1, "ä"]}), identity.s())) == {"a": [1, "ä"]}
        assert get(chord([add.s(1, 1), chain(add.s(2, 2), mul.s(2))], tsum.s())) == 10
        assert get(chord(group(identity.s(x) for x in range(3)), chord([identity.s(), tsum.s()], identity.s()))) == [
            [0, 1, 2],
            3,
        ]

    def test_nested_groups(self, worker):
        inner = identity.s(2) | group(identity.s(), add.s(1))
        assert get(chord([identity.s([1]), inner, identity.s()], identity.s())) == [[1], [2, 3], None]

    def test_nothing_is_handed_on_as_well(self, worker):
        assert get(chain(identity.s(None), identity.s())) is None
        assert get(chord([identity.s(), identity.s()], identity.s())) == [None, None]
        assert get(chord([identity.s() | group(identity.s(), identity.s())], identity.s())) == [[None, None]]
        assert get(chord([], identity.s())) == []

    def test_replacements(self, worker):
        assert get(chain(site.replaced_by_chain.s(2), add.s(1))) == 13
        assert get(site.replaced_by_group.s(1, 2)) == [3, 2]
        assert get(chord([site.replaced_by_group.s(1, 2), identity.s(0)], identity.s())) == [[3, 2], 0]
        assert get(chord([site.adds_members.s(1, 1)], identity.s())) == [1, "extra 0"]
        nothing = group(identity.si(), identity.si())
        assert get(chain(site.replaced_by.s(1, nothing), identity.s())) == [None, None]
        assert get(site.replaced_by.s(1, nothing)) == [None, None]

    def test_maps_and_chunks(self, worker):
        assert get(add.starmap([(1, 2), (3, 4)])) == [3, 7]
        assert get(chain(add.chunks([(1, 2), (3, 4), (5, 6)], 2).group(), identity.s())) == [[3, 7], [11]]

    @pytest.mark.parametrize("value", LOOK_ALIKES, ids=str)
    def test_a_value_is_never_taken_for_what_it_looks_like(self, worker, value):
        assert get(identity.s(value)) == value
        last = add.s([]) if isinstance(value, list) else identity.s()
        assert get(chain(identity.s(value), identity.s(), last)) == value
        inner = identity.s(value) | group(identity.s(), identity.si(value))
        assert get(chord([identity.s(value), inner], identity.s())) == [value, [value, value]]

    def test_a_later_step_shows_its_arguments(self, worker):
        result = chain(identity.s({"pin": 1}), identity.s() | add.si([1], [2]), identity.s()).apply_async()
        assert result.get(timeout=30) == [1, 2]
        assert list(AsyncResult(result.id).args) == [[1, 2]]
        assert list(result.parent.parent.args) == [{"pin": 1}]

    def test_a_retry_keeps_the_result_of_the_earlier_step(self, worker):
        assert get(chain(identity.s("a"), site.keeps_its_arguments.s(2))) == ["a", 2, True]

    def test_errbacks_of_each_kind(self, worker, file: Notes):
        sig = site.fails_with.s("one", word="two")
        sig.link_error(site.note_id.s(file.path))
        sig.link_error(site.describe_error.s(file.path))
        sig.link_error(site.note_words.si(file.path, "immutable"))
        sig.link_error(identity.s() | site.note_value.s(file.path))
        result = chain(sig, identity.s()).apply_async()
        with pytest.raises(ValueError, match="wrong"):
            result.get(timeout=30)
        failed = result.parent.id
        expected = [["id", failed], ["one", "two", "wrong", "one"], ["immutable"], [failed]]
        assert sorted(file.await_lines(4)) == sorted(expected)
        eventually(lambda: TaskResult.objects.exclude(state=5).count() == 2 and not ReadyTask.objects.exists())

    def test_types_of_later_steps(self, worker):
        due = date(2026, 1, 31)
        halves = chain(site.double_all.s({1}), site.double_all.s(due))
        assert get(chord([halves, site.double_all.s({2, 3}, due=due)], site.total.s(due))) == 14


class TestEncryption:
    def test_nothing_is_in_the_open(self, workers: Workers, file: Notes):
        given = SITES["encrypted json"]
        workers.run("-c", "1", IMPORTS=MODULES, **given)
        with override_settings(DJQUEUE={**djqueue_settings_given(), **given}):
            sig = site.fails_with.s("lullaby")
            sig.link_error(site.note_words.s(file.path, "lullaby"))
            body = identity.s().on_error(site.describe_error.s(file.path))
            result = chord([identity.s("lullaby") | identity.s(), identity.s("lullaby") | sig], body).apply_async()
            with pytest.raises(ValueError, match="wrong"):
                result.get(timeout=30)
            file.await_lines(1)
            eventually(lambda: not WaitingTask.objects.exists())
            done = chord([identity.s("lullaby"), identity.s("lullaby")], identity.s()).apply_async()
            assert done.get(timeout=30) == ["lullaby", "lullaby"]
        for rows in (
            Task.objects.values_list("args", "kwargs", "options"),
            TaskResult.objects.values_list("value", "error"),
        ):
            assert "lullaby" not in str(list(rows))
        assert positional(Task.objects.get(id=done.id)) == "[encrypted]"


def test_a_result_that_only_pickle_holds_reaches_the_next_step(workers: Workers):
    given = SITES["pickle"]
    workers.run("-c", "1", IMPORTS=MODULES, **given)
    with override_settings(DJQUEUE={**djqueue_settings_given(), **given}):
        assert [one.number for one in get(chord([returns_mine.s(), identity.s(Mine(7))], identity.s()))] == [5, 7]


class TestTransactionalSteps:
    @pytest.fixture(autouse=True)
    def started(self, kept: Kept) -> WorkerProcess:
        return kept("-c", "2", IMPORTS=MODULES)

    def test_its_follower_is_released_with_its_commit(self):
        assert get(chain(identity.s(1), site.commits.s(), site.commits.s(), add.s(1))) == 2
        assert Mark.objects.count() == 2
        assert get(chord([site.commits.s(2), site.commits.s(3)], tsum.s())) == 5

    def test_its_result_is_kept_for_the_follower_although_ignored(self):
        assert get(chain(site.commits_and_ignores.s(3), add.s(1))) == 4

    def test_its_failure_fails_what_follows_and_undoes_its_writes(self):
        result = chain(site.commits.s(1, "fails"), add.s(1)).apply_async()
        with pytest.raises(ValueError, match="undone"):
            result.get(timeout=30)
        assert not Mark.objects.exists()
        assert not WaitingTask.objects.exists()

    def test_a_replacement_takes_its_place_and_undoes_its_writes(self):
        assert get(chain(site.commits.s(1, "is replaced"), add.s(1))) == 3
        assert not Mark.objects.exists()

    def test_it_cannot_add_to_a_chord(self):
        result = chord([site.commits.s(1, "adds a member")], tsum.s()).apply_async()
        with pytest.raises(TypeError, match="expected add_to_chord in a task without transactional=True"):
            result.get(timeout=30)
        assert stored(result.parent[0]).error["exc_type"] == "TypeError"


@pytest.mark.parametrize("pool", ["asyncio", "threads", "processes"])
def test_coroutines_are_steps_like_others(workers: Workers, file: Notes, pool):
    workers.run("--pool", pool, "-c", "2", IMPORTS=MODULES)
    assert get(chain(site.replaced_by_sum.s(1), site.replaced_by_sum.s())) == 3
    assert get(chord([site.adds_a_member.s(1), identity.s(2)], identity.s())) == [1, 2, 1]
    with pytest.raises(TaskRevokedError):
        get(chain(site.ignores_asynchronously.s(1), identity.s()))
    failing = site.fails_with.s().on_error(site.note_error_asynchronously.s(file.path)).apply_async()
    assert file.await_lines(1) == [[failing.id, "ValueError"]]


def test_an_order_to_end_reaches_what_waits_for_the_task(workers: Workers, file: Notes):
    workers.run("-c", "1", IMPORTS=[*MODULES, "tests.site.guarantee_tasks"])
    result = chain(guarantee_tasks.asks_whether_it_is_wanted.s(file.path, "raises"), identity.s()).apply_async()
    assert file.await_lines(1) == [["started"]]
    result.parent.revoke()
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=30)
    assert (result.parent.state, result.state) == ("REVOKED", "REVOKED")
