"""Typed arguments: what annotations make of arguments at the call, in storage and in the worker."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial, wraps
from types import MethodType
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from djqueue import shared_task
from djqueue.decorator import define
from djqueue.exceptions import EncodeError
from djqueue.models import Task
from djqueue.serializers import decode_arguments, encode_arguments
from djqueue.states import State
from djqueue.typed_arguments import TypedArguments

from .site import typed_tasks
from .site.models import Mark
from .site.typed_tasks import (
    Address,
    Colour,
    Corner,
    Customer,
    Item,
    Level,
    Node,
    Order,
    OrderId,
    Point,
    Positive,
    RushOrder,
    StrictModel,
    Twin,
    WithSecret,
    described,
    signatures,
)
from .test_serializers import quick
from .worker_process import Workers, stored

ID = uuid.UUID(int=7)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEMON = Item("lemon", Decimal("1.50"), frozenset({Colour.GREEN}))
ORDER = Order(ID, [LEMON], NOON)
IMPORTS = ["tests.site.worker_tasks", "tests.site.typed_tasks"]


def typed(function: Callable[..., Any], **options: Any) -> TypedArguments:
    return TypedArguments(function, name="t", **options)


def through(typed: TypedArguments, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments as a worker would have them: by way of JSON, as it is stored."""
    values, named = decode_arguments(*encode_arguments("t", *typed.encode(args, kwargs)))
    args_back, kwargs_back = typed.decode(values, named)
    return list(args_back), dict(kwargs_back)


SIGNATURES = typed(signatures)


def one(name: str, value: Any) -> Any:
    """Return what becomes of a value of that parameter of ``signatures``."""
    return through(SIGNATURES, **{name: value})[1][name]


def comes_back(back: Any, value: Any) -> None:
    assert described(back) == described(value)
    assert back == value


class TestThereAndBack:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("optional", date(2026, 1, 31)),
            ("optional", None),
            ("union", ORDER),
            ("union", LEMON),
            ("date_or_text", NOON),
            ("date_or_text", "2026-01-31T12:00:00+00:00"),
            ("annotated", Decimal("1.50")),
            ("literal", Colour.RED),
            ("literal", "blue"),
            ("mapping", {ID: LEMON}),
            ("counts", {1: "a", -2: "b"}),
            ("sequence", [date(2026, 1, 31)]),
            ("iterable", [Corner.FAR, Corner.ORIGIN]),
            ("pair", (date(2026, 1, 31), Level.HIGH)),
            ("pairs", (LEMON, LEMON)),
            ("pairs", ()),
            ("bare", (1, "a")),
            ("nested", {"a": [LEMON, None], "b": []}),
            ("set_or_list", {1, 2}),
            ("node", Node(1, [Node(2, [Node(3)]), Node(4)])),
            ("implicit", LEMON),
            ("implicit", None),
        ],
    )
    def test_a_value_comes_back_as_what_it_was(self, name, value):
        comes_back(one(name, value), value)

    def test_all_kinds_of_parameters_are_known(self):
        args = [NOON, date(2026, 1, 31), time(9, 30), timedelta(microseconds=1), Decimal("1.10"), OrderId(ID)]
        args += [Point(1, NOON), Point(2, NOON)]
        kwargs = {"colours": {Colour.RED}, "low": Level.LOW, "high": Level.HIGH}
        back = through(typed_tasks.takes_many.typed_arguments, *args, **kwargs)
        comes_back(back, (args, kwargs))

    @given(
        st.builds(
            Order,
            st.uuids(),
            st.lists(
                st.builds(Item, st.text(alphabet="ab"), st.decimals(allow_nan=False, allow_infinity=False)),
                min_size=1,
                max_size=3,
            ),
            st.datetimes(timezones=st.just(UTC)),
            st.none() | st.text(alphabet="ab"),
        )
    )
    @quick
    def test_any_dataclass_comes_back(self, order):
        (back,), _kwargs = through(typed_tasks.takes_order.typed_arguments, order)
        assert back == order

    def test_what_is_stored_is_plain_json(self):
        ((stored,), _kwargs) = typed_tasks.takes_order.typed_arguments.encode((ORDER,), {})
        assert stored == {
            "id": ID,
            "items": [{"sku": "lemon", "price": Decimal("1.50"), "colours": ["green"]}],
            "placed": NOON,
            "note": None,
        }

    @pytest.mark.parametrize(
        ("name", "stored", "value"),
        [
            ("optional", "2026-01-31", date(2026, 1, 31)),
            ("annotated", "1.50", Decimal("1.50")),
            ("annotated", 2, Decimal(2)),
            ("literal", "red", Colour.RED),
            ("implicit", {"sku": "a", "price": "1.50"}, Item("a", Decimal("1.50"))),
            ("pairs", [{"sku": "a", "price": 1}], (Item("a", Decimal(1)),)),
            ("bare", [1], (1,)),
            ("mapping", {str(ID): LEMON}, {ID: LEMON}),
        ],
    )
    def test_the_stored_form_is_taken_as_well(self, name, stored, value):
        comes_back(one(name, stored), value)

    def test_the_callers_own_values_stay_as_they_are(self):
        args, kwargs = [ORDER], {}
        typed_tasks.takes_order.typed_arguments.encode(args, kwargs)
        assert args == [ORDER]
        assert args[0] is ORDER

    def test_equal_sets_are_stored_as_equal_text(self):
        encode = SIGNATURES.encode
        assert encode((), {"set_or_list": {"b", "a", "c"}}) == encode((), {"set_or_list": {"c", "b", "a"}})

    def test_arguments_from_an_earlier_step_come_before(self):
        def follows(previous: str, when: date) -> None: ...

        assert typed(follows).encode(["2026-01-31"], {}, before=1) == ([date(2026, 1, 31)], {})
        with pytest.raises(TypeError, match="argument when of task t: expected date, got: 'lemon'"):
            typed(follows).encode(["lemon"], {}, before=1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("optional", "lemon", "argument optional of task t: expected date or None, got: 'lemon'"),
            ("optional", 5, "expected date or None, got: 5"),
            ("annotated", 1.5, "expected Decimal, got: 1.5"),
            ("annotated", True, "expected Decimal, got: True"),
            ("annotated", None, "expected Decimal, got: None"),
            ("annotated", "1,50", "expected Decimal, got: '1,50'"),
            ("union", 5, "expected Order or Item, got: 5"),
            ("mapping", {"x": LEMON}, "expected UUID as a key, got: 'x'"),
            ("mapping", [LEMON], "expected dict, got: [Item("),
            ("mapping", {ID: 5}, f"argument mapping[{ID!r}] of task t: expected Item, got: 5"),
            ("sequence", "abc", "expected list, got: 'abc'"),
            ("sequence", [NOON, 5], "argument sequence[1] of task t: expected date, got: 5"),
            ("iterable", [[0, 1]], "expected Corner, got: [0, 1]"),
            ("pair", (date(2026, 1, 31),), "expected tuple of 2, got: ("),
            ("pair", (date(2026, 1, 31), 3), "argument pair[1] of task t: expected Level, got: 3"),
            ("nested", {"a": [5]}, "argument nested['a'][0] of task t: expected Item or None, got: 5"),
            ("implicit", {"sku": "a"}, "expected Item (Item.__init__() missing 1 required positional argument"),
            ("implicit", {"sku": "a", "price": 1, "x": 1}, "expected Item, which has no field 'x', got: {"),
            ("implicit", {"sku": "a", "price": "x"}, "argument implicit['price'] of task t: expected Decimal, got"),
            ("node", {"value": 1, "children": [{"valu": 1}]}, "argument node['children'][0] of task t: expected Node"),
        ],
    )
    def test_another_value_is_refused_at_the_call_naming_the_argument(self, name, value, expected):
        with pytest.raises(TypeError) as caught:
            SIGNATURES.encode((), {name: value})
        assert expected in str(caught.value)

    def test_a_subclass_that_would_lose_its_own_fields_is_refused(self):
        with pytest.raises(TypeError, match="expected Order, got: RushOrder"):
            typed_tasks.takes_order.delay(RushOrder(ID, [LEMON], NOON, courier="x"))

    @pytest.mark.parametrize(
        ("name", "value", "other"),
        [("twins", Twin("a", Decimal(1)), "Item"), ("set_or_list", [1, 2], "set")],
    )
    def test_what_would_come_back_as_another_member_of_a_union_is_refused(self, name, value, other):
        with pytest.raises(TypeError, match=f"of which {other} would be what comes back"):
            SIGNATURES.encode((), {name: value})

    def test_the_reason_of_a_constructor_is_told(self):
        with pytest.raises(TypeError, match=r"expected Order \(an order has items\), got: "):
            typed_tasks.takes_order.delay({"id": str(ID), "items": [], "placed": NOON})

    def test_a_dataclass_that_cannot_be_made_of_its_fields_is_refused(self):
        @dataclass
        class Padded:
            text: str
            width: InitVar[int]

        def takes(padded: Any) -> None: ...

        takes.__annotations__["padded"] = Padded
        with pytest.raises(TypeError, match=r"expected Padded to be made of its fields, but missing .*'width'"):
            typed(takes).encode((Padded("a", 5),), {})

    def test_a_long_or_rude_value_is_not_shown_whole(self):
        class Rude:
            def __repr__(self) -> str:
                raise RuntimeError

        with pytest.raises(TypeError, match=r"got: <.*Rude, whose repr raises RuntimeError>"):
            SIGNATURES.encode((), {"annotated": Rude()})
        with pytest.raises(TypeError) as caught:
            SIGNATURES.encode((), {"annotated": "x" * 10_000})
        assert len(str(caught.value)) < 400

    def test_the_value_of_a_redacted_argument_is_not_shown(self):
        def pays(card_number: Decimal, card: dict[str, list[Item]]) -> None: ...

        with pytest.raises(TypeError, match=r"argument card_number of task t: expected Decimal, got: \[redacted\]"):
            typed(pays).encode(("4111-1111",), {})
        with pytest.raises(TypeError, match=r"got: \[redacted\]"):
            typed(pays).encode((1, {"secret": ["4111-1111"]}), {})

    def test_nothing_is_stored(self, db):
        with pytest.raises(TypeError):
            typed_tasks.takes_order.delay(5)
        with pytest.raises(TypeError):
            typed_tasks.takes_order.apply_async((), {"order": 5})
        assert not Task.objects.exists()

    def test_rows_and_querysets_are_refused_with_a_hint(self, db):
        mark = Mark.objects.create(name="a")
        with pytest.raises(EncodeError, match=rf"argument 0 .*models\.Mark .*Pass its primary key \({mark.pk}\)"):
            typed_tasks.takes_row.delay(mark)
        with pytest.raises(EncodeError, match=r"argument 'text' .*Pass a list of primary keys"):
            typed_tasks.plain.delay(1, text={"inside": Mark.objects.all()})

    @pytest.mark.parametrize(("value", "kind"), [({1}, "set"), (LEMON, "Item"), (Colour.RED, "Colour")])
    def test_without_an_annotation_a_hint_says_to_add_one(self, value, kind):
        with pytest.raises(EncodeError, match=f"Annotate the parameter as {kind}"):
            typed_tasks.plain.delay(1, value)


class TestTrivial:
    def test_without_such_annotations_nothing_is_done(self):
        plain = typed_tasks.plain.typed_arguments
        assert plain.trivial
        args, kwargs = ("x", object()), {"items": 5, "rest": None}
        assert plain.encode(args, kwargs) == (args, kwargs)
        assert plain.encode(args, kwargs)[0] is args

    def test_an_int_takes_what_celery_would_take(self, db):
        typed_tasks.plain.delay("not a number", items="no list", more="no float")
        assert Task.objects.get().args == ["not a number"]

    @pytest.mark.parametrize("function", [lambda x: x, "".join, partial(sorted, reverse=True)])
    def test_what_has_no_annotations_is_trivial(self, function):
        assert typed(function).trivial

    def test_decorated_functions_methods_and_objects_are_looked_through(self):
        class Taker:
            def method(self, when: datetime) -> None: ...

            def __call__(self, when: datetime) -> None: ...

        @wraps(Taker.method)
        def wrapped(*args: Any, **kwargs: Any) -> None: ...

        for function in [Taker().method, Taker(), MethodType(wrapped, Taker())]:
            with pytest.raises(TypeError, match="argument when of task t"):
                typed(function).encode((5,), {})
        with pytest.raises(TypeError, match="argument when of task t"):
            typed(partial(Taker().method)).encode((5,), {})

    def test_a_name_for_type_checkers_only_spoils_only_its_own_parameter(self):
        half = typed_tasks.half_resolved.typed_arguments
        assert not half.trivial
        comes_back(through(half, "anything", NOON)[0], ["anything", NOON])
        with pytest.raises(TypeError, match="argument when"):
            half.encode(("anything", 5), {})

    def test_annotations_are_resolved_at_the_first_call(self):
        namespace: dict[str, Any] = {}
        exec("from __future__ import annotations\ndef early(x: Later): return x", namespace)
        late = typed(namespace["early"])
        namespace["Later"] = Decimal
        assert through(late, "1.5") == ([Decimal("1.5")], {})

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with 3.12")
    def test_a_type_that_is_defined_by_itself_counts_as_none(self):
        namespace: dict[str, Any] = {"Item": Item}
        exec("type Json = dict[str, Json] | Item\ndef takes(x: Json): ...", namespace)
        assert typed(namespace["takes"]).trivial


class TestModels:
    def test_a_model_comes_back(self):
        customer = Customer(customerId=1, addresses=[Address(street="a", since=date(2026, 1, 31))], tags={"b", "a"})
        (back,), _kwargs = through(typed_tasks.takes_customer.typed_arguments, customer)
        assert back == customer
        assert type(back.addresses[0]) is Address

    def test_what_a_model_is_made_of_is_taken_as_well(self):
        (back,), _kwargs = through(typed_tasks.takes_customer.typed_arguments, {"customerId": 1})
        assert back == Customer(customerId=1)

    def test_a_strict_model_comes_back(self):
        def strict(model: StrictModel) -> None: ...

        model = StrictModel(when=NOON, amount=Decimal("1.50"))
        assert through(typed(strict), model) == ([model], {})

    def test_a_bad_value_is_refused_without_being_shown(self):
        with pytest.raises(TypeError, match=r"expected Customer \(customerId: Input should be a valid integer"):
            typed_tasks.takes_customer.delay({"customerId": "lemon"})

    def test_a_model_that_would_not_come_back_as_it_was_is_refused(self):
        def secret(model: WithSecret) -> None: ...

        with pytest.raises(TypeError, match="to come back from model_dump as it was"):
            typed(secret).encode((WithSecret(secret="lullaby"),), {})

    def test_a_subclass_is_refused(self):
        class Richer(Address):
            more: int = 1

        def plain(address: Address) -> None: ...

        with pytest.raises(TypeError, match="expected Address"):
            typed(plain).encode((Richer(street="a", since=date(2026, 1, 31)),), {})


class TestPydanticOption:
    option = typed_tasks.takes_positive.typed_arguments

    def test_the_caller_may_pass_a_model_or_a_dict(self):
        model = Positive.model_validate({"number": 12})
        assert through(self.option, model, maybe={"number": 11}) == (
            [model],
            {"maybe": Positive.model_validate({"number": 11})},
        )

    def test_a_dict_is_validated_in_the_worker_with_the_context(self):
        stored = self.option.encode(({"number": 5},), {})
        assert stored == ([{"number": 5}], {})
        with pytest.raises(pydantic.ValidationError, match=r"not 10 or more, says tests\.site\.typed_tasks\.takes_po"):
            self.option.decode(*stored)

    def test_a_model_that_the_worker_would_refuse_is_refused(self):
        with pytest.raises(TypeError, match=r"argument positive of task .*: expected Positive to be readable again"):
            typed_tasks.takes_positive.delay(Positive.model_validate({"number": 5}))

    @pytest.mark.parametrize(("strict", "back"), [(False, 12), (True, None)])
    def test_strict_is_strict(self, strict, back):
        def takes(positive: Positive) -> None: ...

        option = typed(takes, pydantic=True, pydantic_strict=strict)
        if strict:
            with pytest.raises(pydantic.ValidationError, match="valid integer"):
                option.decode([{"number": "12"}], {})
        else:
            assert option.decode([{"number": "12"}], {})[0][0].number == back

    def test_the_dump_takes_options(self):
        def returns() -> Customer: ...

        option = typed(returns, pydantic=True, pydantic_dump_kwargs={"by_alias": True, "include": {"id"}})
        assert option.encode_return(Customer(customerId=1)) == {"customerId": 1}

    def test_a_return_of_another_class_stays(self):
        def returns() -> Customer | None: ...

        model = Positive(number=1)
        assert typed(returns, pydantic=True).encode_return(model) is model
        assert typed(returns, pydantic=True).encode_return(None) is None

    def test_its_options_alone_are_refused(self):
        with pytest.raises(TypeError, match="need pydantic=True"):
            shared_task(pydantic_strict=True)(lambda: None)


class TestReturns:
    @pytest.mark.parametrize(
        ("annotation", "value", "stored"),
        [
            (Order, ORDER, {"id": ID, "items": [{"sku": "lemon", "price": Decimal("1.50"), "colours": ["green"]}],
                            "placed": NOON, "note": None}),
            (set[int], {2, 1}, [1, 2]),
            (Colour, Colour.RED, "red"),
            (Colour, "lemon", "lemon"),
            (datetime, NOON, NOON),
            (Order, 5, 5),
            (int, {1}, {1}),
            (Order | None, None, None),
        ],
    )  # fmt: skip
    def test_what_was_announced_is_stored_in_its_form_and_anything_else_as_it_is(self, annotation, value, stored):
        def returns() -> Any: ...

        returns.__annotations__ = {"return": annotation}
        assert typed(returns).encode_return(value) == stored


class TestWorkers:
    def test_the_function_gets_what_was_passed(self, workers: Workers):
        workers.run("--concurrency", "1", IMPORTS=IMPORTS)
        many = ([NOON, date(2026, 1, 31), time(9, 30), timedelta(1), Decimal("1.10"), ID, Point(1, NOON)],)
        named = {"colours": {Colour.RED}, "low": Level.LOW}
        results = {
            "order": typed_tasks.takes_order.delay(ORDER),
            "many": typed_tasks.takes_many.delay(*many[0], **named),
            "bound": typed_tasks.bound.delay("2026-01-31T12:00:00+00:00", id=ID),
            "returned": typed_tasks.returns_order.delay(ORDER),
            "customer": typed_tasks.takes_customer.delay(Customer(customerId=1)),
            "positive": typed_tasks.takes_positive.delay({"number": 12}, maybe=Positive(number=11)),
        }
        assert results["order"].get(timeout=30) == described((ORDER, ORDER.items, ORDER.placed, ORDER.total))
        *args, point = many[0]
        assert results["many"].get(timeout=30) == described((*args, (point,), named["colours"], {"low": Level.LOW}))
        assert results["bound"].get(timeout=30) == described((NOON, ID, [NOON]))
        assert results["returned"].get(timeout=30)["items"][0]["price"] == Decimal("1.50")
        assert results["customer"].get(timeout=30) == {"id": 1, "addresses": [], "tags": ["seen"]}
        assert results["positive"].get(timeout=30) == {"number": 23}

    def test_what_a_worker_cannot_convert_is_a_failure(self, workers: Workers):
        workers.run("--concurrency", "1", IMPORTS=IMPORTS)
        unchecked = define(lambda order: None, name=typed_tasks.takes_order.name)
        failed = stored(unchecked.delay({"id": 5}))
        assert failed.state == State.FAILED
        assert failed.error["exc_type"] == "TypeError"
        assert "argument order['id'] of task tests.site.typed_tasks.takes_order: expected UUID" in json.dumps(
            failed.error
        )
        invalid = stored(typed_tasks.takes_positive.delay({"number": 5}))
        assert invalid.error["exc_type"] == "ValidationError"
        assert "not 10 or more" in invalid.error["exc_text"]
        assert typed_tasks.takes_order.delay(ORDER).get(timeout=30)
