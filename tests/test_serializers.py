"""Values and errors as JSON text and back, also by way of a jsonb column."""

from __future__ import annotations

import enum
import json
import sys
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from djqueue.exceptions import EncodeError, NotRegistered, SecurityError, TimeoutError
from djqueue.serializers import (
    MESSAGE_MAX_CHARACTERS,
    TRACEBACK_MAX_CHARACTERS,
    decode,
    decode_error,
    encode,
    encode_arguments,
    encode_error,
    format_traceback,
)

from .site.tasks import Stubborn, TooSour

quick = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
offsets = st.integers(-24 * 3600 + 1, 24 * 3600 - 1).map(lambda seconds: timezone(timedelta(seconds=seconds)))
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
enveloped = (
    st.datetimes(timezones=st.none() | offsets)
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.binary()
)
values = st.recursive(plain | enveloped, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


def same(one: Any, other: Any) -> bool:
    """Equal and of the same type, all the way down; a Decimal NaN is the same as itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, datetime | time):
        return one == other and one.tzinfo == other.tzinfo
    return one == other


def through_jsonb(text: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb::text", [text])
        return cursor.fetchone()[0]


class TestValues:
    @given(values)
    @quick
    def test_what_is_encoded_comes_back(self, value):
        assert same(decode(encode(value)), value)

    @given(values)
    @quick
    def test_what_is_encoded_comes_back_from_the_database(self, db, value):
        assert same(decode(through_jsonb(encode(value))), value)

    @pytest.mark.parametrize("value", [1e16, 1e22, 1e23, -1e300, sys.float_info.max, 5e-324, 1.0, -0.0])
    def test_a_float_stays_a_float_in_the_database(self, db, value):
        back = decode(through_jsonb(encode(value)))
        assert (back, type(back)) == (value, float)

    @pytest.mark.parametrize(
        "value",
        [
            timedelta(microseconds=1),
            timedelta(days=-1, microseconds=3),
            timedelta(days=200_000, microseconds=1),
            timedelta.max,
            timedelta.min,
        ],
    )
    def test_a_timedelta_keeps_its_microseconds(self, value):
        assert decode(encode(value)) == value

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (datetime(2026, 1, 31, 12, tzinfo=UTC), '{"__type__":"datetime","__value__":"2026-01-31T12:00:00+00:00"}'),
            (date(2026, 1, 31), '{"__type__":"date","__value__":"2026-01-31"}'),
            (Decimal("1.50"), '{"__type__":"decimal","__value__":"1.50"}'),
            (b"\x00\xff", '{"__type__":"bytes","__value__":"AP8="}'),
            (uuid.UUID(int=1), '{"__type__":"uuid","__value__":"00000000-0000-0000-0000-000000000001"}'),
        ],
    )
    def test_an_envelope_names_its_type(self, value, text):
        assert encode(value) == text

    @pytest.mark.parametrize(
        ("value", "back"),
        [
            ((1, (2, 3)), [1, [2, 3]]),
            ({1: "a", None: "b", False: "c", 1.5: "d"}, {"1": "a", "null": "b", "false": "c", "1.5": "d"}),
            (bytearray(b"ab"), b"ab"),
            (memoryview(b"ab"), b"ab"),
            (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
            (namedtuple("Point", "x y")(1, 2), [1, 2]),
            (enum.IntEnum("Level", "LOW HIGH").HIGH, 2),
            (gettext_lazy("task"), "task"),
            (datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")), datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ],
    )
    def test_what_json_cannot_tell_apart_comes_back_as_the_nearest(self, value, back):
        assert decode(encode(value)) == back

    def test_an_object_may_say_itself_what_it_is_in_json(self):
        class Money:
            def __json__(self) -> Any:
                return {"amount": Decimal("1.5")}

        assert decode(encode([Money()])) == [{"amount": Decimal("1.5")}]

    @pytest.mark.parametrize(
        "value",
        [
            {"__type__": "datetime"},
            {"__type__": "lemon", "__value__": 1},
            {"__type__": "datetime", "__value__": "2026-01-31T12:00:00", "more": 1},
            {"__type__": None, "__value__": 1},
            {"__type__": ["datetime"], "__value__": 1},
            {"__type__": {}, "__value__": 1},
        ],
    )
    def test_a_dict_that_only_resembles_an_envelope_comes_back_as_it_is(self, value):
        assert decode(encode(value)) == value

    @pytest.mark.parametrize(
        "text",
        [
            '{"__type__": "datetime", "__value__": "lemon"}',
            '{"__type__": "decimal", "__value__": "lemon"}',
            '{"__type__": "uuid", "__value__": 5}',
            '{"__type__": "bytes", "__value__": "a"}',
            '{"__type__": "timedelta", "__value__": "x"}',
            "{",
            "",
        ],
    )
    def test_broken_text_is_a_value_error(self, text):
        with pytest.raises(ValueError):  # noqa: PT011 - which one is for the parser to say
            decode(text)

    @pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\\\\\u0000", "u0000", "\\"])
    def test_text_that_only_looks_like_u0000_is_stored(self, db, text):
        assert decode(through_jsonb(encode(text))) == text

    @given(st.text(st.sampled_from('\0\\u0ab"')))
    @quick
    def test_u0000_is_refused_exactly_where_it_is(self, text):
        if "\0" in text:
            with pytest.raises(EncodeError, match=r"U\+0000"):
                encode(text)
        else:
            assert decode(encode(text)) == text

    def test_the_argument_that_cannot_be_stored_is_named(self):
        with pytest.raises(EncodeError, match=r"argument 1 of task t cannot be stored: builtins.object is not JSON"):
            encode_arguments("t", [1, object(), object()], {"x": object()})
        with pytest.raises(EncodeError, match=r"argument 'x' of task t cannot be stored: JSON has no NaN"):
            encode_arguments("t", [1], {"a": 1, "x": float("nan")})

    def test_a_keyword_that_cannot_be_stored_is_reported_as_such(self):
        with pytest.raises(EncodeError, match=r"the arguments of task t cannot be stored: .*U\+0000"):
            encode_arguments("t", [], {"a\0b": 1})

    def test_a_fault_of_the_object_itself_is_not_hidden(self):
        class Faulty:
            def __json__(self) -> Any:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            encode(Faulty())


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


class WithOwnState(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def stored(error: BaseException) -> dict[str, Any]:
    return json.loads(encode_error(error))


class TestErrors:
    def test_an_error_is_stored_as_its_class_and_its_arguments(self):
        error = stored(raised(TooSour("a lemon", 42)))
        assert error.pop("traceback").endswith("tests.site.tasks.TooSour: ('a lemon', 42)\n")
        assert error == {"exc_type": "TooSour", "exc_message": ["a lemon", 42], "exc_module": "tests.site.tasks"}

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("x", 1, [None]),
            KeyError("k"),
            OSError(2, "no such file"),
            UnicodeDecodeError("utf-8", b"\xff\x00", 0, 1, "bad"),
            TooSour(),
            WithOwnState(7, "seven"),
            NotRegistered("t"),
            TimeoutError("late"),
            SystemExit(3),
            KeyboardInterrupt(),
            json.JSONDecodeError("bad", "{", 0),
        ],
    )
    def test_an_error_comes_back_as_one_of_its_class(self, db, error):
        back = decode_error(through_jsonb(encode_error(error)))
        if isinstance(error, json.JSONDecodeError):
            assert type(back) is Exception, "its constructor takes other arguments than it keeps"
            return
        if not isinstance(error, Exception):
            assert (type(back), str(back)) == (Exception, f"the task raised {error!r}"), "it would end who asks"
            return
        assert type(back) is type(error)
        assert back.args == error.args
        assert str(back) == str(error)

    def test_a_nested_class_comes_back(self):
        assert type(decode_error(encode_error(Outer.Inner("x")))) is Outer.Inner

    def test_an_unknown_class_is_made_up_under_its_name(self):
        back = decode_error('{"exc_type": "Lemon", "exc_message": ["sour"], "exc_module": "no.such.module"}')
        assert (type(back).__name__, type(back).__module__, back.args) == ("Lemon", "no.such.module", ("sour",))
        assert type(back).__bases__ == (Exception,)

    def test_a_local_class_is_made_up_under_its_last_name(self):
        class Local(Exception):
            pass

        assert type(decode_error(encode_error(Local("x")))).__name__ == "Local"

    def test_no_module_is_imported_to_find_a_class(self):
        assert "this" not in sys.modules
        decode_error('{"exc_type": "Lemon", "exc_message": [], "exc_module": "this"}')
        assert "this" not in sys.modules

    @pytest.mark.parametrize(
        ("module", "name"),
        [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("os", "path.join"), ("builtins", "int")],
    )
    def test_something_that_is_no_exception_is_never_called(self, module, name):
        with pytest.raises(SecurityError, match=f"{module}.{name}"):
            decode_error(json.dumps({"exc_type": name, "exc_message": ["true"], "exc_module": module}))

    def test_a_constructor_that_fails_leaves_a_plain_exception_that_says_so(self):
        back = decode_error(encode_error(Stubborn(fruit="lemon")))
        assert type(back) is Exception
        assert str(back) == "<class 'tests.site.tasks.Stubborn'>(('no lemon today',))"

    @pytest.mark.parametrize("message", ["sour", None, 5, {"a": 1}])
    def test_a_message_that_is_no_list_is_the_only_argument(self, message):
        back = decode_error(json.dumps({"exc_type": "ValueError", "exc_message": message, "exc_module": "builtins"}))
        assert back.args == (message,)

    def test_an_argument_that_json_cannot_hold_becomes_its_repr(self):
        assert stored(ValueError({1, 2}, 1 + 2j))["exc_message"] == ["{1, 2}", "(1+2j)"]

    def test_an_argument_whose_repr_raises_is_described(self):
        assert stored(ValueError(Unprintable()))["exc_message"] == ["<Unprintable, whose repr raises RuntimeError>"]

    @pytest.mark.parametrize("argument", ["a\0b", "\ud83d", float("nan"), float("inf"), ["a\0"]])
    def test_what_postgresql_cannot_hold_is_stored_in_another_form(self, db, argument):
        assert isinstance(decode_error(through_jsonb(encode_error(raised(ValueError(argument))))), ValueError)

    def test_a_message_of_50_mb_is_cut_and_says_so(self):
        error = stored(raised(ValueError("x" * 50_000_000)))
        (message,) = error["exc_message"]
        assert len(message) < MESSAGE_MAX_CHARACTERS + 100
        assert f"[… {50_000_000 - MESSAGE_MAX_CHARACTERS:,} characters left out …]" in message
        assert len(error["traceback"]) < TRACEBACK_MAX_CHARACTERS + 100
        assert "characters left out" in error["traceback"]

    def test_a_message_within_the_limit_is_whole(self):
        assert stored(ValueError("x" * 10_000))["exc_message"] == ["x" * 10_000]

    def test_many_long_arguments_are_cut_as_a_whole(self):
        assert len(encode_error(ValueError(*["x" * 10_000] * 5000), with_traceback=False)) < 1_000_000

    def test_a_traceback_shows_what_caused_the_error(self):
        effect = TooSour("effect")
        effect.__cause__ = raised(KeyError("cause"))
        text = stored(raised(effect))["traceback"]
        assert "KeyError: 'cause'" in text
        assert "The above exception was the direct cause" in text
        assert text.endswith("TooSour: effect\n")

    def test_a_traceback_that_cannot_be_formatted_says_so(self, monkeypatch):
        class Rude(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert "Rude" in format_traceback(raised(Rude()))

    def test_an_endless_recursion_can_be_stored(self):
        def endless() -> None:
            endless()

        with pytest.raises(RecursionError) as caught:
            endless()
        assert "RecursionError" in stored(caught.value)["traceback"]

    def test_a_traceback_can_be_left_out(self):
        assert json.loads(encode_error(ValueError(), with_traceback=False))["traceback"] is None


class Outer:
    class Inner(Exception):
        pass
