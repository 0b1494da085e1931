"""The algebra of signatures, and running canvases in place; nothing here needs a database."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from djqueue import (
    AsyncResult,
    EagerResult,
    GroupResult,
    Signature,
    StampingVisitor,
    chain,
    chord,
    chunks,
    group,
    result_from_tuple,
    signals,
    signature,
    uuid,
    xmap,
    xstarmap,
)
from djqueue.canvas import Chain
from djqueue.exceptions import EncodeError, Ignore, ImproperlyConfigured, Reject

from .site.canvas_tasks import (
    add,
    add_with_group,
    boom,
    err_with_error,
    err_with_id,
    identity,
    ignoring,
    mul,
    raises_in_errback,
    replaced_by_chain,
    replaced_by_group,
    seen,
    tsum,
)


@pytest.fixture(autouse=True)
def forget_what_was_seen():
    seen.clear()


def ids_of(sig: Any) -> list[str]:
    """Return the ids of all tasks that a canvas consists of."""
    match sig.subtask_type:
        case "chain" | "group":
            return [found for task in sig.tasks for found in ids_of(task)]
        case "chord":
            return [found for task in [*sig.tasks, sig.body] for found in ids_of(task)]
        case _:
            return [sig.id]


class TestSignature:
    def test_is_a_dict_with_its_parts_as_attributes(self):
        sig = add.s(1, y=2).set(queue="mail")
        assert dict(sig) == {
            "task": add.name,
            "args": (1,),
            "kwargs": {"y": 2},
            "options": {"queue": "mail"},
            "subtask_type": None,
            "immutable": False,
        }
        assert (sig.task, sig.args, sig.kwargs, sig.options) == (add.name, (1,), {"y": 2}, {"queue": "mail"})

    @pytest.mark.parametrize(
        "sig",
        [
            add.s(1, 2),
            add.si(1, 2).set(priority=3, link=[mul.s(2)]),
            add.s(1, 1) | mul.s(2) | tsum.s(),
            group(add.s(1, 1), add.s(2, 2) | mul.s(2)),
            chord([add.s(1, 1), group(add.s(2, 2))], tsum.s()),
            chord(group(add.s(1, 1)), tsum.s() | add.s(1)),
            chain(add.s(1, 1), group(add.s(1), add.s(2))),
            add.map([1, 2]),
            add.starmap([(1, 2)]),
            add.chunks([(1, 2), (3, 4)], 1),
        ],
        ids=repr,
    )
    def test_goes_through_json_and_pickle(self, sig):
        text = json.dumps(sig)
        for rebuilt in (
            Signature.from_dict(json.loads(text)),
            signature(json.loads(text)),
            pickle.loads(pickle.dumps(sig)),
            copy.deepcopy(sig),
        ):
            assert type(rebuilt) is type(sig)
            assert json.dumps(rebuilt) == text
        assert all(isinstance(part, Signature) for part in parts(Signature.from_dict(json.loads(text))))

    def test_call_prepends_and_overrides(self):
        assert add.s(2)(1) == 3
        assert add.s(x=1)(y=4) == 5
        assert add.s(1, y=1)(y=7) == 8
        assert add.si(1, 2)(100) == 3

    def test_merging_keeps_group_and_stamps(self):
        sig = add.s(1).set(group_id="a", stamped_headers=["s"], queue="x")
        _, _, options = sig._merge((), {}, {"group_id": "b", "stamped_headers": ["t"], "queue": "y"})
        assert options == {"group_id": "a", "stamped_headers": ["s"], "queue": "y"}

    def test_an_immutable_one_takes_options_but_no_arguments(self):
        assert add.si(1, 2)._merge((9,), {"z": 1}, {"queue": "q"}) == ((1, 2), {}, {"queue": "q"})
        assert not add.s(1).set(immutable=True).set(immutable=False).immutable

    def test_clone_shares_nothing(self):
        sig = add.s([1], [2]).set(headers={"a": [1]}, link=[mul.s([3])])
        copied = sig.clone()
        copied.args[0].append(9)
        copied.options["headers"]["a"].append(9)
        copied.options["link"][0].args[0].append(9)
        assert sig == add.s([1], [2]).set(headers={"a": [1]}, link=[mul.s([3])])
        assert add.s(2).clone((1,), {"z": 3}, queue="q") == Signature(add, (1, 2), {"z": 3}, queue="q")

    def test_clone_of_a_canvas_shares_nothing(self):
        sig = chord([add.s([1]), add.s([2]) | mul.s([3])], tsum.s([4]))
        copied = sig.clone()
        for part in parts(copied):
            if part.subtask_type is None:
                part.args[0].append(9)
        assert sig == chord([add.s([1]), add.s([2]) | mul.s([3])], tsum.s([4]))

    def test_links_are_kept_once(self):
        sig = add.s(1, 2)
        assert sig.link(mul.s(2)) == mul.s(2)
        sig.link(mul.s(2))
        assert sig.on_error(err_with_id.s()) is sig
        assert sig.options == {"link": [mul.s(2)], "link_error": [err_with_id.s()]}
        assert Signature("a", link=mul.s(1)).flatten_links() == [Signature("a", link=mul.s(1)), mul.s(1)]

    def test_replace_returns_a_copy_with_other_parts(self):
        sig = add.s(1, 2)
        assert sig.replace(args=(3,)).args == (3,)
        assert sig.replace(kwargs={"a": 1}).kwargs == {"a": 1}
        assert sig == add.s(1, 2)

    def test_what_is_no_signature_is_refused(self):
        with pytest.raises(TypeError):
            add.s(1) | 10
        with pytest.raises(TypeError, match="expected a signature"):
            group([1, 2])
        with pytest.raises(TypeError, match="expected a signature"):
            chain(add.s(1), None)
        with pytest.raises(ValueError, match="size of chunks"):
            add.chunks([], 0)

    def test_reprcall(self):
        assert repr(add.s(1, y=2)) == f"{add.name}(1, y=2)"
        assert repr(add.s(2, 2) | add.s(2)) == f"{add.name}(2, 2) | add(2)"


def parts(sig: Any) -> list[Any]:
    inner = []
    if sig.subtask_type in ("chain", "group"):
        inner = list(sig.tasks)
    elif sig.subtask_type == "chord":
        inner = [sig.header, sig.body]
    return [sig, *(found for part in inner for found in parts(part))]


class TestAlgebra:
    def test_chains_flatten(self):
        joined = (add.s(1, 1) | add.s(2)) | (add.s(3) | add.s(4))
        assert isinstance(joined, Chain)
        assert [task.args for task in joined.tasks] == [(1, 1), (2,), (3,), (4,)]
        assert isinstance(add.s(1) | (add.s(2) | add.s(3)), Chain)

    def test_a_group_stays_the_last_step(self):
        joined = add.s(1, 1) | group(add.s(1), add.s(2))
        assert isinstance(joined, Chain)
        assert isinstance(joined.tasks[-1], group)

    def test_what_follows_a_group_makes_a_chord_of_it(self):
        members = [add.s(1, 1), add.s(2, 2)]
        assert group(members) | tsum.s() == chord(members, tsum.s())
        both = group(members) | group(add.s(1), add.s(2))
        assert isinstance(both, chord)
        assert isinstance(both.body, group)
        assert isinstance(group(members) | (tsum.s() | add.s(1)), chord)
        whole = add.s(1, 1) | group(add.s(1), add.s(2)) | tsum.s()
        assert isinstance(whole, Chain)
        assert isinstance(whole.tasks[-1], chord)

    def test_what_follows_a_chord_joins_its_body(self):
        first = chord([add.s(1, 1)], tsum.s())
        assert isinstance(first | add.s(1), chord)
        assert isinstance((first | add.s(1)).body, Chain)
        assert isinstance(first | group(add.s(1)), chord)
        assert isinstance(first | group(add.s(1), add.s(2)), Chain)
        assert isinstance(chord([add.s(1, 1)], group(add.s(1), add.s(2))) | tsum.s(), chord)
        assert first == chord([add.s(1, 1)], tsum.s())

    def test_chords_in_a_row_stay_flat(self):
        whole = chain(*(chord([add.s(n, n), add.s(n, 1)], tsum.s()) for n in range(5)))
        assert [type(task) for task in whole.tasks] == [chord] * 5
        assert len({len(json.dumps(task)) for task in whole.tasks}) == 1

    def test_groups_in_a_row_become_one_chord(self):
        groups = [group(add.s(i, i) for i in range(3)) for _ in range(3)]
        whole = chain(*groups, add.s(30))
        assert isinstance(whole, Chain)
        assert [type(task) for task in whole.tasks] == [chord]

    def test_empty_parts_are_passed_over(self):
        assert isinstance(chain(group(add.s(2, 2), add.s(4, 4)), group(), group()), group)
        assert chain(chain(), add.s(1, 1), chain(), group(), add.s(2)).apply().get() == 4
        assert group(add.s(1, 1), group(), chain()).apply().get() == [2]

    def test_a_chain_of_one(self):
        sig = add.s(1, 1)
        assert chain([sig]) is sig
        assert chain(sig).tasks == [sig]
        assert chain([chain(sig)]).tasks == chain(sig).tasks

    def test_links_of_an_inner_chain_stay_with_its_steps(self):
        inner = add.s(1, 1) | mul.s(2)
        inner.link(tsum.s())
        inner.link_error(err_with_id.s())
        whole = inner | add.s(3)
        assert whole.options == {}
        assert [task.options for task in whole.tasks] == [
            {"link_error": [err_with_id.s()]},
            {"link": [tsum.s()], "link_error": [err_with_id.s()]},
            {},
        ]
        assert inner.tasks[0].options == {}

    def test_a_long_chain_is_joined_in_linear_time(self):
        whole = chain(identity.s() for _ in range(2000))
        assert len(whole.tasks) == 2000

    def test_operators_change_neither_side(self):
        left, right = add.s(1, 1) | add.s(2), add.s(3) | add.s(4)
        before = json.dumps([left, right])
        left | right
        left | group(right)
        group(left) | right
        chord([left], right) | left
        assert json.dumps([left, right]) == before


class TestSize:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (add.s(), 1),
            (group(add.s()), 1),
            (group(add.s(), add.s()), 2),
            (add.s() | add.s(), 2),
            (group(add.s() | add.s()), 1),
            (group(group(add.s(), add.s()), add.s()), 3),
            (group(add.s() | group(add.s(), add.s())), 2),
            (group(chord([add.s(), add.s()], tsum.s())), 1),
            (group(chord([add.s()], group(add.s(), add.s()))), 2),
            ([], 0),
            (group(chain(), group()), 0),
        ],
        ids=repr,
    )
    def test_of_headers(self, header, expected):
        """A task counts 1, a chain as its last step, a group as its members and a chord as its body."""
        assert chord(header).__length_hint__() == expected


class TestFreezing:
    def canvas(self) -> Any:
        return chain(
            add.s(1, 1),
            group(add.s(1), add.s(2) | mul.s(3), chord([add.s(1), add.s(1)], tsum.s())),
            tsum.s(),
            group([add.s(1)] * 3),
        )

    def test_every_task_has_an_id_of_its_own(self):
        whole = self.canvas()
        whole.freeze()
        ids = ids_of(whole)
        assert None not in ids
        assert len(ids) == len(set(ids)) == 11

    def test_the_same_signature_twice_is_two_tasks(self):
        once = add.s(1, 1)
        whole = chord([once] * 3 + [chain(once, once)], once)
        whole.freeze()
        assert len(set(ids_of(whole))) == 6

    def test_the_root_is_the_first_task_and_the_parent_the_one_before(self):
        whole = chain(add.s(1, 1), add.s(2), add.s(3))
        result = whole.freeze()
        first, second, third = whole.tasks
        assert {task.root_id for task in whole.tasks} == {first.id}
        assert [task.parent_id for task in whole.tasks] == [None, first.id, second.id]
        assert (result.id, whole.id) == (third.id, third.id)
        assert result.as_list() == [third.id, second.id, first.id]

    def test_a_body_is_caused_by_a_member_of_the_header(self):
        whole = chord([add.s(1, 1), add.s(2, 2)], tsum.s())
        result = whole.freeze()
        assert result.id == whole.body.id
        assert isinstance(result.parent, GroupResult)
        assert [r.id for r in result.parent] == [task.id for task in whole.tasks]
        assert whole.body.parent_id in [task.id for task in whole.tasks]
        assert whole.body.root_id == whole.tasks[0].id
        assert [task.options["group_index"] for task in whole.tasks] == [0, 1]
        assert {task.options["group_id"] for task in whole.tasks} == {result.parent.id}

    def test_members_of_a_group_body_count_from_0(self):
        whole = group([chord([add.s()], group([add.s()] * 5))])
        whole.freeze()
        assert [task.options["group_index"] for task in whole.tasks[0].body.tasks] == list(range(5))

    def test_chosen_ids_are_taken(self):
        id, group_id, root_id, parent_id = (uuid() for _ in range(4))
        sig = add.s(1, 1)
        assert sig.freeze(id, group_id, None, root_id, parent_id, 3) == id
        assert sig.options == {
            "task_id": id,
            "group_id": group_id,
            "group_index": 3,
            "root_id": root_id,
            "parent_id": parent_id,
        }
        assert (add.s(1, 1) | add.s(2)).freeze(id).id == id
        with pytest.raises(ValueError, match="expected task_id to be a UUID"):
            add.s().freeze("mine")

    def test_a_part_that_was_frozen_and_applied_is_new_in_the_next_canvas(self, db):
        part = add.s(1, 1)
        id = part.freeze().id
        inner = chain(part, add.s(1))
        first = chord([inner], tsum.s()).apply_async()
        second = chord([inner], tsum.s()).apply_async()
        assert first.parent[0].parent.id == id
        assert second.parent[0].parent.id != id

    def test_definitions_are_signatures_without_arguments(self):
        whole = chord([tsum, tsum], identity)
        assert [sig.task for sig in (*whole.tasks, whole.body)] == [tsum.name, tsum.name, identity.name]
        with pytest.raises(TypeError, match="expected a signature"):
            group(len, tsum)

    def test_freezing_again_keeps_the_ids(self):
        whole = self.canvas()
        whole.freeze()
        before = ids_of(whole)
        whole.freeze()
        assert ids_of(whole) == before

    def test_results_as_tuples(self):
        result = self.canvas().freeze()
        restored = result_from_tuple(json.loads(json.dumps(result.as_tuple())))
        assert restored.as_tuple() == result.as_tuple()
        assert isinstance(restored.parent.parent, GroupResult)
        assert restored.parent.parent.results[1].parent == result.parent.parent.results[1].parent


class TestOptions:
    def handed(self, canvas: Any, *args: Any, **options: Any) -> Any:
        whole = canvas.copied(deep=False)
        whole.hand_down(args, {}, options)
        return whole

    def test_of_a_chain_go_to_its_first_step(self):
        whole = self.handed(
            chain(add.s(1), add.s(2)).set(priority=3), 7, queue="q", link=[tsum.s()], link_error=[mul.s()]
        )
        assert whole.tasks[0].args == (7, 1)
        assert whole.tasks[0].options == {"priority": 3, "queue": "q", "link_error": [mul.s()]}
        assert whole.tasks[1].options == {"link": [tsum.s()], "link_error": [mul.s()]}

    def test_of_a_group_go_to_its_members(self):
        whole = self.handed(group(add.s(1), add.s(2).set(queue="own")), 7, queue="q", countdown=3)
        assert [task.args for task in whole.tasks] == [(7, 1), (7, 2)]
        assert [task.options for task in whole.tasks] == [{"queue": "q", "countdown": 3}] * 2

    def test_of_a_chord_go_to_header_and_body_but_delays_to_the_header(self):
        whole = self.handed(chord([add.s(1)], tsum.s()), queue="q", countdown=3, link=[mul.s()])
        assert whole.tasks[0].options == {"queue": "q", "countdown": 3}
        assert whole.body.options == {"queue": "q", "link": [mul.s()]}

    def test_links_of_a_group(self):
        whole = group(add.s(1), add.s(2))
        whole.link(mul.s(1))
        whole.link_error(err_with_id.s())
        assert whole.tasks[0].options["link"] == [mul.si(1)]
        assert "link" not in whole.tasks[1].options
        assert [task.options["link_error"] for task in whole.tasks] == [[err_with_id.s()]] * 2
        for option in ("link", "link_error"):
            with pytest.raises(TypeError, match=f"expected {option} to be added to the members"):
                whole.apply_async(**{option: add.s()})

    def test_links_of_a_chord(self, settings):
        whole = chord([add.s(1)], tsum.s())
        whole.link(mul.s(2))
        whole.link_error(err_with_id.s())
        assert whole.body.options == {"link": [mul.s(2)], "link_error": [err_with_id.s()]}
        assert whole.tasks[0].options == {}
        settings.DJQUEUE = {"ALLOW_ERROR_CB_ON_CHORD_HEADER": True}
        whole.link_error(err_with_error.s())
        assert whole.tasks[0].options["link_error"] == [err_with_error.si()]

    def test_skew(self):
        whole = group(add.s(i, i) for i in range(3)).skew(start=1, stop=10)
        assert [task.options["countdown"] for task in whole.tasks] == [1, 2, 3]


class Stamping(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"by": sig.name.rpartition(".")[2], "stamped_headers": ["by"]}

    def on_group_start(self, group, **headers):
        return {"in_group": True}

    def on_chord_body(self, sig, **header):
        return {"body": True}

    def on_callback(self, callback, **header):
        return {"callback": True}


class TestStamping:
    def test_stamps_reach_every_task(self):
        whole = chord([add.s(1), add.s(2) | mul.s(2)], tsum.s())
        whole.stamp(customer="x")
        for part in parts(whole):
            assert part.options.get("customer") == "x" or part is whole.header
        assert whole.tasks[0].options == {"stamped_headers": ["customer"], "customer": "x"}

    def test_a_visitor_sees_each_part_in_its_role(self):
        linked = tsum.s()
        linked.link(mul.s(2))
        whole = chord([add.s(1)], linked)
        whole.stamp(Stamping())
        header, body = whole.tasks[0].options, whole.body.options
        assert (header["by"], header["in_group"], "body" in header) == ("add", True, False)
        assert (body["by"], body["body"], "in_group" in body) == ("tsum", True, False)
        assert body["link"][0].options["callback"] is True

    def test_stamps_reach_what_is_linked_to_a_canvas(self):
        body = add.s(1) | add.s(2)
        whole = chord([add.s(1, 1)], body)
        whole.link(add.s(5))
        whole.link(mul.s(2) | add.s(1))
        whole.stamp(customer="x")
        single, both = whole.body.options["link"]
        assert [sig.options["customer"] for sig in (single, both, *both.tasks)] == ["x"] * 4

    def test_signals_tell_stamps(self, db):
        told = []

        @signals.before_task_publish.connect
        def before(headers=None, properties=None, **values):
            told.append((headers["stamped_headers"], headers["stamps"], "customer" in properties))

        try:
            add.s(1, 1).stamp(customer="x").apply_async()
            chain(add.s(1, 1), add.s(1)).stamp(customer="x").apply_async()
        finally:
            signals.before_task_publish.disconnect(before)
        assert told == [(["customer"], {"customer": "x"}, False)] * 3

    def test_the_newest_stamp_wins_or_they_are_appended(self):
        sig = add.s(1).stamp(who="a")
        assert sig.stamp(who="b").options["who"] == "b"
        sig.stamp(append_stamps=True, who="c")
        assert sig.options["who"] == ["c", "b"]
        assert sig.options["stamped_headers"] == ["who"]


class TestInPlace:
    def test_chain(self):
        result = chain(add.s(4, 4), add.s(8), add.s(10)).apply()
        assert isinstance(result, EagerResult)
        assert (result.get(), result.parent.get(), result.parent.parent.get()) == (26, 16, 8)
        assert result.parent.parent.parent is None
        assert chain(add.s(), add.s(8)).apply(kwargs={"x": 1, "y": 1}).get() == 10

    def test_nothing_to_do(self):
        assert chain().apply() is None
        assert chain()() is None
        assert group().apply().get() == []
        assert chord([], tsum.s()).apply().get() == 0

    def test_header_order_and_nesting(self):
        nested = group(
            identity.s(1), group(identity.s(2), identity.s(3)), identity.s(4) | group(identity.s(), add.s(1))
        )
        assert nested.apply().get() == [1, 2, 3, [4, 5]]
        assert (nested | identity.s()).apply().get() == [1, 2, 3, [4, 5]]
        assert chain(identity.s(1), group([add.s(1)]), add.s(2)).apply().get() == 4
        assert (group([add.s(1, 1)]) | identity.s()).apply().get() == [2]
        assert chain(group([add.s(1, 1)]), identity.s()).apply().get() == 2  # as in Celery
        assert chord([add.s(1, 1)], identity.s()).apply().get() == [2]

    def test_maps_and_chunks(self):
        assert identity.map([1, 2]).apply().get() == [1, 2]
        assert add.starmap([(1, 2), (3, 4)]).apply().get() == [3, 7]
        assert add.chunks([(n, n) for n in range(5)], 2).apply().get() == [[0, 2], [4, 6], [8]]
        assert chain(add.chunks([(n, n) for n in range(3)], 2), identity.s()).apply().get() == [[0, 2], [4]]
        assert [type(add.map([])), type(add.starmap([])), type(add.chunks([], 1))] == [xmap, xstarmap, chunks]

    def test_a_failing_step_stops_the_chain(self):
        result = chain(add.s(1, 1), boom.s(), add.s(1)).apply()
        assert result.failed()
        with pytest.raises(ValueError, match="boom"):
            result.get()

    def test_a_failing_header_fails_the_chord(self):
        body = tsum.s().on_error(err_with_error.s("stored"))
        result = chord([add.s(1, 1), boom.si()], body).apply()
        with pytest.raises(ValueError, match="boom"):
            result.get()
        (called,) = seen
        assert called[0] == "error"
        assert called[2].startswith("Dependency ")
        assert called[3:] == ["stored"]

    @pytest.mark.parametrize("how", [Ignore(), Reject()])
    def test_an_ignored_step_stops_the_chain(self, how):
        result = chain(ignoring.s(isinstance(how, Reject)), identity.si("ran")).apply()
        assert not result.successful()

    def test_links_run(self):
        sig = add.s(1, 1)
        sig.link(identity.s().set(link=[mul.s(10)]))
        sig.link(err_with_id.s())
        assert sig.apply().get() == 2
        assert seen == [["id", 2]]

    def test_both_styles_of_errbacks(self):
        sig = boom.s()
        sig.link_error(raises_in_errback.s())
        sig.link_error(err_with_id.s())
        sig.link_error(err_with_error.s("stored"))
        result = sig.apply()
        assert seen == [["id", result.id], ["error", result.id, "boom", "stored"]]

    def test_replacing(self):
        assert replaced_by_chain.s(2).apply().get() == 12
        assert replaced_by_group.s(1, 2).apply().get() == [3, 2]
        assert chain(replaced_by_group.s(1, 2), tsum.s(), add.s(1)).apply().get() == 6
        assert chord([replaced_by_group.s(1, 2), add.s(1, 1)], identity.s()).apply().get() == [[3, 2], 2]
        assert isinstance(replaced_by_chain.s(0).apply().result, ImproperlyConfigured)

    def test_frozen_ids_are_used(self):
        whole = chain(add.s(1, 1), add.s(1))
        frozen = whole.freeze()
        result = whole.apply()
        assert (result.id, result.parent.id) == (frozen.id, frozen.parent.id)
        again = whole.apply()
        assert again.id != frozen.id

    def test_always_eager(self, settings):
        settings.DJQUEUE = {"ALWAYS_EAGER": True}
        assert ~(add.s(4, 4) | add.s(8)) == 16
        assert group(add.s(n, n) for n in range(3))().get() == [0, 2, 4]
        assert chord([add.s(1, 1), add.s(2, 2)])(tsum.s()).get() == 6
        assert add_with_group.delay().get() == [2, 4]
        assert add.apply_async((1, 1), link=err_with_id.s()).get() == 2
        assert seen == [["id", 2]]
        assert add.apply_async((1, 1), chain=[err_with_id.s(), add.s(5)], chord=identity.s()).get() == 2
        assert seen == [["id", 2], ["id", 7]]

    def test_arguments_go_through_the_serializer(self):
        assert identity.s((1, 2)).apply().get() == [1, 2]
        with pytest.raises(EncodeError):
            group(identity.s(object())).apply()


class TestResults:
    def test_equality_and_text(self):
        members = [AsyncResult(uuid()), AsyncResult(uuid())]
        result = GroupResult(uuid(), members)
        assert result == GroupResult(result.id, members)
        assert result != GroupResult(uuid(), members)
        assert (str(result), len(result), result[1], list(result)) == (result.id, 2, members[1], members)
        assert hash(result) == hash(result.id)

    def test_sets_of_results_change(self):
        first, second = AsyncResult(uuid()), AsyncResult(uuid())
        results = GroupResult(uuid(), [first])
        results.add(second)
        results.add(second)
        assert results.results == [first, second]
        results.remove(first.id)
        with pytest.raises(KeyError):
            results.remove(first)
        results.discard(first)
        results.clear()
        assert results.results == []
