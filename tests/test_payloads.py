"""Payloads: serializers by name, what a site accepts, encryption, redaction, and what the admin shows of it all."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import math
import pickle
import sys
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Coroutine
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client, override_settings
from hypothesis import given
from hypothesis import strategies as st

from djqueue import AsyncResult, registry, send_task, shared_task
from djqueue.checks import check_payloads
from djqueue.conf import settings as djqueue_settings
from djqueue.decorator import define
from djqueue.encryption import ENVIRONMENT_VARIABLE, FernetCodec
from djqueue.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    MaxRetriesExceededError,
    SecurityError,
)
from djqueue.models import Task, TaskResult
from djqueue.observability import logs
from djqueue.records import Claim, Outcome
from djqueue.redaction import REDACTED, arguments_repr, redact, redact_arguments
from djqueue.registry import DuplicateTaskNameWarning
from djqueue.serializers import (
    decode_arguments,
    decode_error,
    decode_result,
    describe,
    encode_arguments,
    encode_error,
    encode_result,
    register_serializer,
    stored_traceback,
)
from djqueue.states import State
from djqueue.worker.runner import run

from .site import payload_tasks
from .site.models import Mark
from .site.payload_tasks import Mine, Touch
from .site.typed_tasks import LemonCard, WithSecret
from .test_serializers import enveloped, plain, quick, raised, same, texts, through_jsonb
from .worker_process import Kept, Workers, eventually, stored

ALL = ["json", "msgpack", "yaml", "pickle", "reversed"]
KEY, OLD_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
IMPORTS = ["tests.site.worker_tasks", "tests.site.payload_tasks"]
FERNET = {"PAYLOAD_CODEC": "djqueue.encryption.FernetCodec", "PAYLOAD_KEYS": [KEY]}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
Pair = namedtuple("Pair", "x y")

accepting_all = override_settings(DJQUEUE={"ACCEPT_CONTENT": ALL})
encrypting = override_settings(DJQUEUE={**FERNET, "ACCEPT_CONTENT": ALL})


def through(serializer: str, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """Return arguments as they come back from the database."""
    args_text, kwargs_text = encode_arguments("t", args, kwargs, serializer)
    return decode_arguments(through_jsonb(args_text), through_jsonb(kwargs_text))


class Place:
    """Where an attempt runs that is not to report anything."""

    hostname = "host"
    worker_id = 1

    def begin(self, soft: float | None, hard: float | None) -> None:
        assert (soft, hard) == (None, None)

    def end(self) -> None:
        """Nothing was limited."""

    def is_aborted(self, task_id: str) -> bool:
        return False

    def drive(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        return asyncio.run(coroutine)

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        raise AssertionError(f"expected no report, got: {state} {meta}")


def error_of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.error is not None
    return dict(json.loads(outcome.error))


# What comes back as what. None: it is refused at the call.
FIDELITY: dict[str, tuple[Any, Any, Any, Any]] = {
    # value: msgpack, yaml, pickle
    "tuple": ((1, (2,)), [1, [2]], [1, [2]], (1, (2,))),
    "named tuple": (Pair(1, 2), [1, 2], None, Pair(1, 2)),
    "bytes": (b"\0\xff", b"\0\xff", b"\0\xff", b"\0\xff"),
    "set": ({1, 2}, None, {1, 2}, {1, 2}),
    "keys that are numbers": ({1: "a", None: "b"}, {1: "a", None: "b"}, {1: "a", None: "b"}, {1: "a", None: "b"}),
    "aware datetime": (NOON, NOON, NOON, NOON),
    "naive datetime": (NOON.replace(tzinfo=None),) * 4,
    "date": (date(2026, 1, 31),) * 4,
    "time": (time(9, 30), time(9, 30), None, time(9, 30)),
    "timedelta": (timedelta(1, 2, 3), timedelta(1, 2, 3), None, timedelta(1, 2, 3)),
    "decimal": (Decimal("1.50"), Decimal("1.50"), None, Decimal("1.50")),
    "uuid": (uuid.UUID(int=1), uuid.UUID(int=1), None, uuid.UUID(int=1)),
    "infinity": (math.inf,) * 4,
    "a NUL character": ("a\0b",) * 4,
    "an integer beyond 64 bits": (2**70, None, 2**70, 2**70),
    "a large float": (1e22,) * 4,
    "ordered dict": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}, None, OrderedDict(b=1, a=2)),
    "an integer of an enum": (enum.IntEnum("Level", "LOW").LOW, 1, None, None),
    "an object": (object, None, None, object),
}


class TestSerializers:
    @pytest.mark.parametrize("kind", FIDELITY)
    @pytest.mark.parametrize(("place", "serializer"), [(1, "msgpack"), (2, "yaml"), (3, "pickle")])
    @accepting_all
    def test_what_comes_back_as_what(self, db, kind, place, serializer):
        value, expected = FIDELITY[kind][0], FIDELITY[kind][place]
        if expected is None:
            with pytest.raises(EncodeError, match=rf"argument 1 of task t cannot be stored: .*{serializer}|NaN"):
                through(serializer, 1, value)
            with pytest.raises(EncodeError, match=r"the result of task t cannot be stored"):
                encode_result("t", value, serializer)
            return
        (back, *_others), kwargs = through(serializer, value, 1, named=value)
        assert (back, type(back)) == (expected, type(expected))
        assert kwargs == {"named": expected}
        assert decode_result(through_jsonb(encode_result("t", value, serializer))) == expected

    trees = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10)

    @pytest.mark.parametrize("serializer", ["yaml", "pickle", "reversed"])
    @given(value=trees)
    @quick
    def test_what_json_holds_comes_back_from_the_others(self, serializer, value):
        with accepting_all:
            (back,), _kwargs = decode_arguments(*encode_arguments("t", [value], {}, serializer))
        assert same(back, value)

    @given(
        value=st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
            | enveloped,
            lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 99) | texts, inner),
            max_leaves=10,
        )
    )  # fmt: skip
    @quick
    def test_what_msgpack_holds_comes_back(self, value):
        with accepting_all:
            try:
                texts_of = encode_arguments("t", [value], {}, "msgpack")
            except EncodeError as error:
                assert "surrogates not allowed" in str(error) or "beyond 64 bits" in str(error)  # noqa: PT017
                return
            (back,), _kwargs = decode_arguments(*texts_of)
        assert same(back, value)

    @pytest.mark.parametrize("serializer", ["json", "msgpack"])
    @accepting_all
    def test_a_lone_surrogate_is_refused_naming_the_argument(self, serializer):
        with pytest.raises(EncodeError, match=r"argument 'x' of task t cannot be stored"):
            encode_arguments("t", [], {"x": "\ud83d"}, serializer)

    @pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": -math.inf}])
    def test_json_refuses_what_it_has_not_naming_the_argument(self, value):
        with pytest.raises(EncodeError, match=r"argument 'x' of task t cannot be stored: JSON has no NaN"):
            encode_arguments("t", [1], {"x": value})

    @accepting_all
    def test_a_serializer_of_the_sites_own(self, db):
        assert through("reversed", 1, a=[2]) == ([1], {"a": [2]})
        assert encode_arguments("t", [], {}, "reversed")[0].startswith('{"__serializer__":"reversed","body":"')

    @pytest.mark.parametrize("name", ["json", "Upper", "", 'a"b', None, "ünï"])
    def test_a_serializers_name_must_be_one(self, name):
        with pytest.raises(ValueError, match=r"expected (the|a) name of"):
            register_serializer(name, repr, eval)

    def test_a_serializer_is_two_functions(self):
        with pytest.raises(TypeError, match="expected dumps and loads of serializer mine to be functions, got: 5"):
            register_serializer("mine", 5, eval)  # type: ignore[arg-type]

    @accepting_all
    def test_an_unknown_serializer_is_refused_with_the_nearest_name(self):
        with pytest.raises(ValueError, match=r"expected the name of a serializer, got: 'yml'. Did you mean 'yaml'"):
            encode_arguments("t", [], {}, "yml")

    @pytest.mark.parametrize(("extra", "package"), [("msgpack", "msgpack"), ("yaml", "yaml")])
    @accepting_all
    def test_a_missing_package_names_the_extra(self, monkeypatch, extra, package):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImproperlyConfigured, match=rf"django-djqueue\[{extra}\]"):
            encode_arguments("t", [], {}, extra)

    @pytest.mark.parametrize("rows", [lambda: Mark.objects.create(name="a"), Mark.objects.all])
    @accepting_all
    def test_pickle_takes_no_rows(self, db, rows):
        with pytest.raises(EncodeError, match=r"argument 0 of task t cannot .* is not to be stored.*primary"):
            encode_arguments("t", [rows()], {}, "pickle")

    @override_settings(DJQUEUE={"SERIALIZER": "msgpack", "RESULT_SERIALIZER": "yaml", "ACCEPT_CONTENT": ALL})
    def test_the_settings_choose(self):
        assert '"msgpack"' in encode_arguments("t", [], {})[0]
        assert '"yaml"' in encode_result("t", 1)

    @pytest.mark.parametrize("serializer", ["json", "pickle"])
    @accepting_all
    def test_a_result_of_100_mb_is_a_failure_that_says_so(self, serializer):
        claim = Claim("id", 1, payload_tasks.returns_bytes.name, "[100000000]", "{}", None, "default", 0, 0.0, 0.0)
        with override_settings(DJQUEUE={"RESULT_SERIALIZER": serializer, "ACCEPT_CONTENT": ALL}):
            error = error_of(run(claim, Place()))
        assert error["exc_type"] == "EncodeError"
        assert "to take at most 16,777,216 bytes as JSON (DJQUEUE['RESULT_MAX_BYTES']), got: 133,3" in str(error)


class TestAcceptedContent:
    def test_by_default_only_json_is(self):
        for serializer in ("msgpack", "yaml", "pickle"):
            with pytest.raises(ImproperlyConfigured, match=f"got: '{serializer}'. Workers would refuse it"):
                encode_arguments("t", [], {}, serializer)
            with pytest.raises(ImproperlyConfigured, match="ACCEPT_CONTENT"):
                encode_result("t", 1, serializer)

    def test_json_itself_can_be_refused(self):
        with override_settings(DJQUEUE={"ACCEPT_CONTENT": ["yaml"], "SERIALIZER": "yaml", "RESULT_SERIALIZER": "yaml"}):
            assert decode_arguments(*encode_arguments("t", [1], {})) == ([1], {})
            assert decode_result("null") is None
            for read in (lambda: decode_arguments("[1]", "{}"), lambda: decode_result("1")):
                with pytest.raises(SecurityError, match=r"serializer 'json': DJQUEUE\['ACCEPT_CONTENT'\] is \['yaml'"):
                    read()

    def test_what_is_refused_is_not_read(self, tmp_path):
        file = tmp_path / "touched"
        with accepting_all:
            args, kwargs = encode_arguments("t", [Touch(str(file))], {}, "pickle")
            value = encode_result("t", Touch(str(file)), "pickle")
        for read in (lambda: decode_arguments(args, kwargs), lambda: decode_result(value)):
            with pytest.raises(SecurityError, match="refused to read a payload of serializer 'pickle'"):
                read()
        assert not file.exists()
        with accepting_all:
            decode_arguments(args, kwargs)
        assert file.exists(), "the payload would have done it"

    @pytest.mark.parametrize("serializer", ["pickle", "json", "lemon"])
    def test_a_result_that_looks_like_a_wrapper_is_none(self, db, serializer):
        """Whoever can choose what a task returns must not choose what is unpickled."""
        body = pickle.dumps(Mine(5)).hex()
        for value in (
            {"__serializer__": serializer, "body": body},
            {"__serializer__": serializer, "body": body, "encrypted": True},
            {"__serializer__": serializer, "body": body, "more": 1},
            [{"__serializer__": serializer, "body": body}],
        ):
            with accepting_all:
                assert decode_result(through_jsonb(encode_result("t", value))) == value
                assert decode_arguments(*encode_arguments("t", [value], {"body": value})) == ([value], {"body": value})

    @pytest.mark.parametrize(
        ("args", "kwargs", "said"),
        [
            ("{}", "{}", "expected the stored args of task t to be a list, got: dict"),
            ("5", "{}", "expected the stored args of task t to be a list, got: int"),
            ("[]", "[]", "expected the stored kwargs of task t to be a dict, got: list"),
            ('{"__serializer__":"json","body":"NQ=="}', "{}", "expected the stored arguments of task t to be a pair"),
            ('{"__serializer__":"json","body":"!"}', "{}", "expected the body of a payload to be base64"),
            ('{"__serializer__":"json","body":5}', "{}", "expected the body of a payload to be base64, got: int"),
            ('{"__serializer__":"json","body":"AA=="}', "{}", "the payload is not readable as json"),
            ('{"__serializer__":"msgpack","body":"wQ=="}', "{}", "the payload is not readable as msgpack"),
            ('{"__serializer__":"pickle","body":"AA=="}', "{}", "the payload is not readable as pickle"),
            ('{"__serializer__":"yaml","body":"Ww=="}', "{}", "the payload is not readable as yaml"),
            ('{"__serializer__":"json","encrypted":true,"body":"AA=="}', "{}", "PAYLOAD_CODEC'] is not set"),
            ('[{"__type__":"date","__value__":"x"}]', "{}", "expected the stored date to be readable"),
        ],
    )
    @accepting_all
    def test_what_is_damaged_is_a_decode_error(self, args, kwargs, said):
        with pytest.raises(DecodeError) as caught:
            decode_arguments(args, kwargs, "t")
        assert said in str(caught.value)

    @pytest.mark.parametrize("name", ["5", "[]", "{}", "null"])
    def test_a_serializer_that_is_no_name_is_refused(self, name):
        with pytest.raises((SecurityError, TypeError)) as caught:
            decode_arguments(f'{{"__serializer__":{name},"body":""}}', "{}")
        assert caught.type is SecurityError


class TestEncryption:
    def test_nothing_of_it_can_be_read_in_the_database(self, db):
        with encrypting:
            for serializer in ALL:
                args, kwargs = encode_arguments("t", ["lullaby"], {"password": "lullaby"}, serializer)
                assert ("lullaby" in args, kwargs) == (False, "{}")
                assert "lullaby" not in encode_result("t", "lullaby", serializer)
                assert describe(json.loads(args)) == "[encrypted]"
                assert through(serializer, "lullaby", a=b"x" if serializer == "msgpack" else 1)[0] == ["lullaby"]
                assert decode_result(through_jsonb(encode_result("t", ["lullaby"], serializer))) == ["lullaby"]

    def test_an_error_shows_its_class_only(self, db):
        error = raised(ValueError("lullaby", {"password": "lullaby"}))
        with encrypting:
            text = through_jsonb(encode_error(error))
            assert "lullaby" not in text
            seen = json.loads(text)
            assert (seen["exc_type"], seen["exc_module"]) == ("ValueError", "builtins")
            assert (seen["exc_message"], seen["traceback"]) == (["[encrypted]"], "[encrypted]")
            back = decode_error(text)
            assert (type(back), back.args) == (ValueError, error.args)
            traceback = stored_traceback(text)
            assert traceback is not None
            assert traceback.endswith("ValueError: ('lullaby', {'password': 'lullaby'})\n")
        with pytest.raises(DecodeError, match="encrypted, and"):
            decode_error(text)

    def test_an_error_can_be_read_where_json_is_not_accepted(self):
        settings = {**FERNET, "ACCEPT_CONTENT": ["yaml"], "SERIALIZER": "yaml", "RESULT_SERIALIZER": "yaml"}
        with override_settings(DJQUEUE=settings):
            assert decode_error(encode_error(KeyError("k"))).args == ("k",)

    def test_an_error_that_cannot_be_encrypted_is_stored_without_its_contents(self):
        with override_settings(DJQUEUE={"PAYLOAD_CODEC": "tests.site.payload_tasks.BrokenCodec"}):
            text = encode_error(raised(ValueError("lullaby")))
            with pytest.raises(EncodeError, match=r"it could not be encrypted: RuntimeError$"):
                encode_arguments("t", [1], {})
        assert "lullaby" not in text
        assert str(decode_error(text)) == "[could not be encrypted: EncodeError]"

    def test_keys_can_be_rotated(self):
        with override_settings(DJQUEUE={**FERNET, "PAYLOAD_KEYS": [OLD_KEY]}):
            old = encode_arguments("t", [1], {})
        with override_settings(DJQUEUE={**FERNET, "PAYLOAD_KEYS": [KEY, OLD_KEY]}):
            assert decode_arguments(*old) == ([1], {})
            new = encode_arguments("t", [2], {})
        with override_settings(DJQUEUE=FERNET):
            assert decode_arguments(*new) == ([2], {}), "the first key encrypts"
            with pytest.raises(DecodeError, match=r"could not be decrypted \(InvalidToken\): is the key"):
                decode_arguments(*old)

    def test_what_was_stored_in_the_open_can_still_be_read(self):
        before = encode_arguments("t", [1], {"a": 2})
        with encrypting:
            assert decode_arguments(*before) == ([1], {"a": 2})
            assert decode_result("[1]") == [1]

    def test_a_changed_payload_is_refused(self):
        with encrypting:
            args, _kwargs = encode_arguments("t", ["lullaby"], {})
            place = args.index('"body":"') + 60
            changed = args[:place] + ("A" if args[place] != "A" else "B") + args[place + 1 :]
            with pytest.raises(DecodeError, match="InvalidToken"):
                decode_arguments(changed, "{}")

    def test_keys_may_come_from_the_environment(self, monkeypatch):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, f"{KEY}, {OLD_KEY},")
        with override_settings(DJQUEUE={"PAYLOAD_CODEC": FERNET["PAYLOAD_CODEC"]}):
            from_environment = encode_arguments("t", [1], {})
        with override_settings(DJQUEUE=FERNET):
            assert decode_arguments(*from_environment) == ([1], {})

    def test_without_a_key_nothing_is_stored(self, monkeypatch, db):
        monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
        with (
            override_settings(DJQUEUE={"PAYLOAD_CODEC": FERNET["PAYLOAD_CODEC"]}),
            pytest.raises(ImproperlyConfigured, match=f"FernetCodec has no key: set .* {ENVIRONMENT_VARIABLE}"),
        ):
            payload_tasks.returns.delay(1)
        assert not Task.objects.exists()

    def test_a_bad_key_is_not_shown(self):
        with (
            override_settings(DJQUEUE={**FERNET, "PAYLOAD_KEYS": ["lullaby-lullaby"]}),
            pytest.raises(ImproperlyConfigured, match="to be 32 bytes as url-safe base64") as caught,
        ):
            FernetCodec()
        assert "lullaby" not in str(caught.value)

    def test_a_missing_package_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
        with override_settings(DJQUEUE=FERNET), pytest.raises(ImproperlyConfigured, match=r"djqueue\[encryption\]"):
            FernetCodec()

    def test_a_codec_of_the_sites_own(self):
        with override_settings(DJQUEUE={"PAYLOAD_CODEC": "tests.site.payload_tasks.XorCodec"}):
            text = encode_result("t", "lullaby")
            assert "lullaby" not in text
            assert decode_result(text) == "lullaby"

    def test_a_failure_is_logged_without_its_contents(self, caplog):
        claim = Claim("id", 1, "t", "[]", "{}", None, "default", 0, 0.0, 0.0)
        with encrypting:
            error = encode_error(raised(ValueError("lullaby")))
        with caplog.at_level(logging.INFO, "djqueue.task"):
            logs._failed(claim, Outcome.failed("id", 1, error, 1.0, 2.0))
        assert "ValueError('[encrypted]')" in caplog.text
        assert "lullaby" not in caplog.text


class TestChecks:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"ACCEPT_CONTENT": ["json", "yml"]}, "expected the name of a serializer, got: 'yml'"),
            ({"PAYLOAD_CODEC": "no.such.Codec"}, "DJQUEUE['PAYLOAD_CODEC'] cannot be used: No module named 'no'"),
            ({"PAYLOAD_CODEC": "tests.site.payload_tasks.NoCodec"}, "a class with the methods encode and decode"),
            ({**FERNET, "PAYLOAD_KEYS": ["x"]}, "expected each key in DJQUEUE['PAYLOAD_KEYS']"),
            ({"REDACT": "no.such.function"}, "DJQUEUE['REDACT'] cannot be used: No module named 'no'"),
            ({"REDACT": "tests.site.payload_tasks.not_a_function"}, "expected DJQUEUE['REDACT'] to name a function"),
        ],
    )
    def test_what_cannot_be_used_is_found(self, given, said):
        with override_settings(DJQUEUE=given):
            (error,) = check_payloads(None)
            assert error.id == "djqueue.E004"
            assert said in error.msg
            with pytest.raises(SystemCheckError, match="E004"):
                call_command("check")

    @pytest.mark.parametrize("given", [{}, {**FERNET, "ACCEPT_CONTENT": ALL}, {"REDACT": []}, {"LEESE": 5}])
    def test_what_can_be_used_is_not(self, given):
        with override_settings(DJQUEUE=given):
            assert check_payloads(None) == []


class TestRedaction:
    name = payload_tasks.logs_in.name

    def test_values_are_hidden_by_the_names_of_parameters(self):
        args, kwargs = redact_arguments(
            self.name,
            ["ann", "lullaby", "more"],
            {
                "api_key": "lullaby",
                "details": {"Card-Number": "lullaby", "list": [{"cvv": "lullaby", "kept": 1}], "n": 1},
            },
        )
        assert args == ["ann", REDACTED, "more"]
        assert kwargs == {
            "api_key": REDACTED,
            "details": {"Card-Number": REDACTED, "list": [{"cvv": REDACTED, "kept": 1}], "n": 1},
        }

    @pytest.mark.parametrize(
        "key",
        ["password", "PASSWORD", "new_password2", "passwd", "secret", "client-secret", "access_token", "apiKey",
         "X-API-Key", "Authorization", "credit_card", "cardNumber", "card_number", "cvc", "private_key"],
    )  # fmt: skip
    def test_the_usual_names_are_hidden(self, key):
        assert redact({key: "lullaby"}) == {key: REDACTED}

    @pytest.mark.parametrize("key", ["user", "pass_rate", "card", "keyboard", "author", "", 5, None])
    def test_other_names_are_not(self, key):
        assert redact({key: "seen"}) == {key: "seen"}

    def test_of_an_unknown_task_only_names_are_known(self):
        assert redact_arguments("no.such.task", ["lullaby"], {"password": "lullaby"}) == (
            ["lullaby"],
            {"password": REDACTED},
        )

    def test_a_signature_inside_is_redacted_as_a_task(self):
        inner = {"task": self.name, "args": ["ann", "lullaby"], "kwargs": {"api_key": "lullaby"}, "options": {}}
        hidden = {"task": self.name, "args": ["ann", REDACTED], "kwargs": {"api_key": REDACTED}, "options": {}}
        assert redact([inner]) == [hidden]

    def test_a_site_names_what_it_hides(self):
        with override_settings(DJQUEUE={"REDACT": ["user", "Det*"]}):
            args, kwargs = redact_arguments(self.name, ["ann", "seen"], {"details": 1, "api_key": "seen"})
        assert (args, kwargs) == ([REDACTED, "seen"], {"details": REDACTED, "api_key": "seen"})
        with override_settings(DJQUEUE={"REDACT": []}):
            assert redact({"password": "seen"}) == {"password": "seen"}

    def test_a_site_may_bring_a_function(self):
        with override_settings(DJQUEUE={"REDACT": "tests.site.payload_tasks.hide_everything"}):
            assert redact_arguments("t", [1, 2], {"a": 1}) == (["2 of t"], {"a": "…"})
            assert redact({"password": "lullaby"}) == {"password": REDACTED}, "results have no function"

    @pytest.mark.parametrize("function", ["tests.site.payload_tasks.hide_nothing_well", "no.such.function"])
    def test_where_the_function_fails_nothing_is_shown(self, function):
        with override_settings(DJQUEUE={"REDACT": function}):
            shown = redact_arguments("t", ["lullaby"], {"password": "lullaby"})
        assert "lullaby" not in str(shown)
        assert "[not shown: redacting failed with" in str(shown)

    def test_a_log_line_gets_short_texts(self):
        args, kwargs = arguments_repr(self.name, ["ann", "lullaby"], {"details": "x" * 5000, "api_key": "lullaby"})
        assert args == "('ann', '[redacted]')"
        assert len(kwargs) == 1024
        assert kwargs.startswith("{'details': 'xxx")
        assert kwargs.endswith("…")

    def test_a_log_line_can_be_made_of_anything(self):
        class Rude:
            def __repr__(self) -> str:
                raise RuntimeError

        cycle: list[Any] = []
        cycle.append(cycle)
        assert arguments_repr("t", [Rude()], {})[0] == "(… RuntimeError …)"
        assert arguments_repr("t", [cycle], {})[0] == "('[not shown: redacting failed with RecursionError]',)"

    def test_a_task_that_logs_its_request_tells_no_secrets(self):
        shown = payload_tasks.shows_request.apply(("ann", "lullaby"), {"api_key": "lullaby"}).get()
        assert shown.startswith("<Request: args=('ann', '[redacted]') kwargs={'api_key': '[redacted]'} {'id': ")

    def test_inside_dataclasses_and_models_it_holds_as_well(self):
        args, _kwargs = arguments_repr(
            "t", [LemonCard("ann", "lullaby"), {LemonCard}, WithSecret(secret="lullaby")], {}
        )
        assert "lullaby" not in args
        assert "'holder': 'ann'" in args


class TestAdmin:
    @pytest.fixture
    def page(self, db, client: Client):
        client.force_login(User.objects.create_superuser("root"))
        return lambda task: client.get(f"/admin/djqueue/task/{task.pk}/change/").content.decode()

    def test_arguments_results_and_options_are_redacted(self, page):
        task = Task.objects.create(
            name=payload_tasks.logs_in.name, queue="default", args=["ann", "lullaby"], kwargs={"api_key": "lullaby"},
            options={"headers": {"Authorization": "lullaby"}, "link": []},
        )  # fmt: skip
        TaskResult.objects.create(
            task=task, state=State.SUCCEEDED, attempt=1, worker="w", finished_at=NOON,
            value={"user": "ann", "session_token": "lullaby"},
        )  # fmt: skip
        shown = page(task)
        assert "lullaby" not in shown
        assert shown.count(REDACTED) == 5  # the header twice: among the headers, and among the options
        assert shown.count("ann") >= 2

    def test_what_is_encrypted_is_said_to_be(self, page):
        with encrypting:
            payload_tasks.logs_in.delay("ann", "lullaby")
            task = Task.objects.get()
            TaskResult.objects.create(
                task=task, state=State.FAILED, attempt=1, worker="w", finished_at=NOON,
                error=json.loads(encode_error(raised(ValueError("lullaby")))),
            )  # fmt: skip
            task.ready_rows.all().delete()
            shown = page(task)
        assert "lullaby" not in shown
        assert "ann" not in shown
        assert shown.count("[encrypted]") >= 4
        assert str(task.args["body"])[:20] not in shown

    def test_another_serializer_is_named_and_not_read(self, page, tmp_path):
        with accepting_all:
            send_task("t", [Touch(str(tmp_path / "touched"))], {}, serializer="pickle")
            assert "bytes of pickle]" in page(Task.objects.get())
        assert not (tmp_path / "touched").exists()

    def test_argsrepr_stands_for_the_arguments(self, page):
        payload_tasks.returns.apply_async(("lullaby",), argsrepr="(<b>one</b>,)", kwargsrepr="{nothing}")
        shown = page(Task.objects.get())
        assert "lullaby" not in shown
        assert "(&lt;b&gt;one&lt;/b&gt;,)" in shown
        assert "{nothing}" in shown

    def test_arguments_that_are_none_are_shown_all_the_same(self, page):
        task = Task.objects.create(name="t", queue="default", args={"a": 1, "password": "lullaby"}, kwargs=[5])
        shown = page(task)
        assert "lullaby" not in shown
        assert REDACTED in shown

    def test_an_error_without_arguments_says_what_it_says(self, page):
        class Quiet(Exception):
            def __str__(self) -> str:
                return "quiet words"

        task = Task.objects.create(name="t", queue="default")
        TaskResult.objects.create(
            task=task, state=State.FAILED, attempt=1, worker="w", finished_at=NOON,
            error={**json.loads(encode_error(Quiet())), "traceback": None},
        )  # fmt: skip
        assert "Quiet: quiet words" in page(task)


class TestEagerMode:
    @pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle", "reversed"])
    @pytest.mark.parametrize("codec", [{}, FERNET], ids=["open", "encrypted"])
    def test_payloads_go_the_same_way(self, serializer, codec):
        settings = {"SERIALIZER": serializer, "RESULT_SERIALIZER": serializer, "ACCEPT_CONTENT": ALL, **codec}
        with override_settings(DJQUEUE={**settings, "ALWAYS_EAGER": True}):
            kind = "tuple" if serializer == "pickle" else "list"
            assert payload_tasks.types_of.delay((1,), b=1).get() == [kind, "int"]
            assert payload_tasks.gathers.delay(["a"], times=3).get() == ["a", "a", "a", "a", 12]
            if serializer == "pickle":
                assert payload_tasks.returns_mine.delay().get().number == 5

    def test_a_result_that_cannot_be_stored_fails(self):
        with pytest.raises(
            EncodeError, match=r"the result of task .*returns_mine cannot be stored: .*Mine is not JSON"
        ):
            payload_tasks.returns_mine.apply().get()
        with override_settings(DJQUEUE={"RESULT_MAX_BYTES": 10}), pytest.raises(EncodeError, match="at most 10 bytes"):
            payload_tasks.returns_bytes.apply((100,)).get()


class TestErrors:
    class Odd(Exception):
        """Its arguments are not what they should be."""

        @property
        def args(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no arguments today")

    class NoConstructor(Exception):
        def __init__(self) -> None:
            raise RuntimeError("never made")

        def __str__(self) -> str:
            return "what it says"

    class Unpicklable(Exception):
        def __reduce__(self) -> Any:
            raise pickle.PicklingError("never")

    def test_an_error_whose_arguments_raise_is_stored(self):
        assert json.loads(encode_error(self.Odd("x")))["exc_message"] == ["x"]

    def test_an_error_that_cannot_be_made_again_keeps_what_it_said(self):
        error = self.NoConstructor.__new__(self.NoConstructor)
        back = decode_error(encode_error(error))
        assert type(back) is Exception
        assert "what it says" in str(back)

    @accepting_all
    def test_an_error_that_cannot_be_pickled_is_stored_whatever_the_serializer(self):
        with override_settings(DJQUEUE={"RESULT_SERIALIZER": "pickle", "ACCEPT_CONTENT": ALL}):
            back = decode_error(encode_error(self.Unpicklable("x", Mine(5))))
        assert type(back) is self.Unpicklable
        assert back.args[0] == "x"

    def test_an_error_of_50_mb_is_cut_also_when_it_is_encrypted(self):
        with encrypting:
            text = encode_error(raised(ValueError("x" * 50_000_000, "y" * 50_000_000)))
            assert len(text) < 400_000
            assert "characters left out" in decode_error(text).args[0]

    def test_whatever_is_raised_is_a_failure_and_the_worker_goes_on(self, workers: Workers):
        workers.run("--concurrency", "1", IMPORTS=IMPORTS)
        odd = {how: payload_tasks.fails_oddly.delay(how) for how in
               ("constructor", "repr", "pickle", "length", "arguments", "text")}  # fmt: skip
        errors: dict[str, BaseException] = {}
        for how, result in odd.items():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is looked at below
                result.get(timeout=60)
            errors[how] = caught.value
            assert len(json.dumps(stored(result).error)) < 500_000
        assert "NeedsTwo" in str(errors["constructor"])
        assert "first" in str(errors["constructor"])
        assert errors["repr"].args == ("<Rude, whose repr raises RuntimeError>", "kept")
        assert (type(errors["pickle"]), errors["pickle"].args) == (payload_tasks.Unpicklable, ("never", "pickled"))
        assert "49,983,616 characters left out" in errors["length"].args[0]
        assert "arguments left out" in errors["arguments"].args[-1]
        assert errors["text"].args == (repr("\x00 \ud83d"),)
        assert payload_tasks.returns.delay(1).get(timeout=30) == 1
        assert "lost" not in workers.logs(), "no executor has died of it"

    def test_an_ignored_result_may_be_anything(self, workers: Workers):
        workers.run("--concurrency", "1", IMPORTS=IMPORTS)
        ignored = payload_tasks.returns_mine.apply_async(ignore_result=True)
        eventually(lambda: not Task.objects.filter(pk=ignored.id).exists(), what="nothing to be kept of it")
        assert "returns_mine" not in workers.logs(), "no failure was logged"
        assert payload_tasks.returns_mine.apply(ignore_result=True).successful()

    def test_a_result_of_100_mb_costs_neither_the_worker_nor_its_executor(self, kept: Kept):
        kept("--concurrency", "1", IMPORTS=IMPORTS)
        with pytest.raises(EncodeError, match=r"at most 16,777,216 bytes as JSON .*, got: 133,333,"):
            payload_tasks.returns_bytes.delay(100_000_000).get(timeout=60)
        assert payload_tasks.returns.delay(1).get(timeout=30) == 1

    def test_a_definition_that_changed_since_the_call_is_a_failure_that_says_so(self, kept: Kept):
        older = define(lambda value, unit: None, name=payload_tasks.returns.name)
        renamed = define(lambda number: None, name=payload_tasks.returns.name)
        kept("--concurrency", "1", IMPORTS=IMPORTS)
        for result, said in (
            (older.delay(1, "kg"), "takes 1 positional argument but 2 were given"),
            (renamed.delay(number=1), "got an unexpected keyword argument 'number'"),
        ):
            with pytest.raises(TypeError, match="do not fit its function, which may have changed") as caught:
                result.get(timeout=30)
            assert said in str(caught.value)
            assert "its signature is (value: 'Any')" in str(caught.value)

    def test_a_type_error_of_the_function_itself_stays_as_it_is(self):
        def adds(a: Any, b: Any) -> Any:
            return a + b

        result = define(adds, name="adds").apply((1, "2"))
        assert str(result.result) == "unsupported operand type(s) for +: 'int' and 'str'"

    def test_of_two_tasks_with_one_name_the_first_stays(self):
        with pytest.warns(DuplicateTaskNameWarning, match=r"two callables are named .*: .*\.returns stays, .*<lambda>"):
            shared_task(name=payload_tasks.returns.name)(lambda: None)
        assert registry.get(payload_tasks.returns.name) is payload_tasks.returns

    def test_giving_up_does_not_tell_secrets(self):
        error = payload_tasks.gives_up.apply(("ann", "lullaby")).result
        assert type(error) is MaxRetriesExceededError
        assert "lullaby" not in str(error)
        assert "args:['ann', '[redacted]']" in str(error)

    def test_a_module_that_is_no_text_is_stored(self):
        kind = type("Strange", (Exception,), {"__module__": "a\0b", "__qualname__": "Stra\udc80nge"})
        seen = json.loads(encode_error(kind()))
        assert (seen["exc_module"], seen["exc_type"]) == ("a\\x00b", "Stra\\udc80nge")


class TestWorkers:
    @pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle", "reversed"])
    @pytest.mark.parametrize("codec", [{}, FERNET], ids=["open", "encrypted"])
    def test_there_and_back(self, workers: Workers, serializer, codec):
        settings = {"SERIALIZER": serializer, "RESULT_SERIALIZER": serializer, "ACCEPT_CONTENT": ALL, **codec}
        workers.run("--concurrency", "1", IMPORTS=IMPORTS, **settings)
        with override_settings(DJQUEUE={**djqueue_settings_given(), **settings}):
            assert payload_tasks.returns.delay({"a": [1, "x"]}).get(timeout=30) == {"a": [1, "x"]}
            kinds = {"json": "list", "msgpack": "list", "yaml": "list", "pickle": "tuple", "reversed": "list"}
            assert payload_tasks.types_of.delay((1,), b=1).get(timeout=30) == [kinds[serializer], "int"]
            failed = payload_tasks.fails_with.delay("lullaby")
            with pytest.raises(ValueError, match="wrong password") as caught:
                failed.get(timeout=30)
            assert caught.value.args == ("wrong password", "lullaby")
            assert failed.traceback is not None
            assert "lullaby" in failed.traceback
            if serializer == "pickle":
                assert payload_tasks.number_of.delay(Mine(7)).get(timeout=30) == 7
                assert payload_tasks.returns_mine.delay().get(timeout=30).number == 5
            if codec:
                assert "lullaby" not in workers.logs()
                assert "lullaby" not in str(TaskResult.objects.get(task_id=failed.id).error)

    def test_a_worker_refuses_what_it_does_not_accept(self, workers: Workers, tmp_path):
        file = tmp_path / "touched"
        with accepting_all:
            refused = [
                send_task(payload_tasks.returns.name, [Touch(str(file))], {}, serializer="pickle"),
                send_task(payload_tasks.returns.name, [1], {}, serializer="yaml"),
            ]
        workers.run("--concurrency", "1", IMPORTS=IMPORTS)
        for result in refused:
            row = stored(result)
            assert (row.state, row.error["exc_type"]) == (State.FAILED, "SecurityError")
            with pytest.raises(SecurityError, match=r"refused to read a payload of serializer '(pickle|yaml)'"):
                AsyncResult(result.id).get(timeout=30)
        assert not file.exists(), "nothing was unpickled"
        assert payload_tasks.returns.delay(1).get(timeout=30) == 1, "and the worker goes on"

    def test_a_caller_refuses_what_it_does_not_accept(self, kept: Kept):
        settings = {"RESULT_SERIALIZER": "pickle", "ACCEPT_CONTENT": ALL}
        kept("--concurrency", "1", IMPORTS=IMPORTS, **settings)
        result = payload_tasks.returns_mine.delay()
        assert stored(result).state == State.SUCCEEDED
        with pytest.raises(SecurityError, match="refused to read a payload of serializer 'pickle'"):
            result.get(timeout=30)
        with override_settings(DJQUEUE={**djqueue_settings_given(), **settings}):
            assert result.get(timeout=30).number == 5

    @pytest.mark.parametrize("codec", [{}, FERNET], ids=["open", "encrypted"])
    @pytest.mark.parametrize("serializer", ["json", "msgpack"])
    def test_a_retry_may_change_some_arguments_and_keeps_the_others(self, kept: Kept, serializer, codec):
        settings = {"SERIALIZER": serializer, "ACCEPT_CONTENT": ALL, **codec}
        kept("--concurrency", "1", IMPORTS=IMPORTS, **settings)
        with override_settings(DJQUEUE={**djqueue_settings_given(), **settings}):
            # A large float is what jsonb would give back as an integer.
            result = payload_tasks.gathers.delay([1e22], times=3)
            gathered = result.get(timeout=30)
            task = Task.objects.get()
        assert [(value, type(value)) for value in gathered] == [(1e22, float)] * 4 + [(12, int)]
        assert isinstance(task.args, list) == (serializer == "json" and not codec)
        assert (str(task.args).count("1e+22") == 4) == isinstance(task.args, list)

    def test_a_retry_may_choose_another_serializer(self, kept: Kept):
        kept("--concurrency", "1", IMPORTS=IMPORTS, ACCEPT_CONTENT=ALL)
        with override_settings(DJQUEUE={**djqueue_settings_given(), "ACCEPT_CONTENT": ALL}):
            assert payload_tasks.gathers.delay(["a"], serializer="yaml").get(timeout=30) == ["a", "a", "a", "a", 4]
        assert Task.objects.get().args["__serializer__"] == "yaml"

    def test_a_definition_may_have_a_serializer_and_a_call_another(self, kept: Kept):
        kept("--concurrency", "1", IMPORTS=IMPORTS, ACCEPT_CONTENT=ALL)
        with override_settings(DJQUEUE={**djqueue_settings_given(), "ACCEPT_CONTENT": ALL}):
            results = [
                payload_tasks.doubled.delay(Mine(2)),
                payload_tasks.doubled.apply_async([Mine(3)], countdown=0),
                *payload_tasks.doubled.delay_many([((Mine(4),), {}), ((), {"mine": Mine(5)})]),
            ]
            assert [result.get(timeout=30) for result in results] == [4, 6, 8, 10]
            with pytest.raises(EncodeError, match=r"argument 0 of task .*doubled cannot be stored: .*Mine is not JSON"):
                payload_tasks.doubled.apply_async([Mine(6)], serializer="json")
        kinds = [args["__serializer__"] for args in Task.objects.values_list("args", flat=True)]
        assert kinds == ["pickle"] * 4

    def test_a_serializer_that_the_site_refuses_is_an_error_at_the_call(self, transactional_db):
        for call in (
            lambda: payload_tasks.doubled.delay(1),
            lambda: payload_tasks.doubled.delay_many([((1,), {})]),
            lambda: payload_tasks.doubled.apply((1,)),
            lambda: payload_tasks.returns.apply_async((1,), serializer="pickle"),
            lambda: send_task("t", (1,), serializer="pickle"),
        ):
            with pytest.raises(ImproperlyConfigured, match=r"got: 'pickle'\. Workers would refuse it"):
                call()
        with pytest.raises(ValueError, match="expected the name of a serializer, got: 'pikle'"):
            payload_tasks.returns.apply_async((1,), serializer="pikle")
        assert not Task.objects.exists()

    def test_progress_is_encrypted_as_well(self, kept: Kept):
        kept("--concurrency", "1", IMPORTS=IMPORTS, **FERNET)
        with override_settings(DJQUEUE={**djqueue_settings_given(), **FERNET}):
            seen, kept = payload_tasks.shows.delay({"step": "lullaby"}).get(timeout=30)
        assert seen == {"step": "lullaby"}
        assert "encrypted" in kept
        assert "lullaby" not in kept

    def test_a_worker_that_could_not_read_anything_does_not_start(self, workers: Workers):
        worker = workers.start(PAYLOAD_CODEC=FERNET["PAYLOAD_CODEC"], environment={ENVIRONMENT_VARIABLE: ""})
        assert worker.wait() == 1
        assert "djqueue.E004" in worker.log
        assert "FernetCodec has no key" in worker.log

    def test_a_worker_without_the_key_says_so(self, workers: Workers):
        with encrypting:
            result = payload_tasks.returns.delay("lullaby")
        workers.run("--concurrency", "1", IMPORTS=IMPORTS, **{**FERNET, "PAYLOAD_KEYS": [OLD_KEY]})
        assert stored(result).error["exc_type"] == "DecodeError"
        with (
            override_settings(DJQUEUE={**FERNET, "PAYLOAD_KEYS": [OLD_KEY]}),
            pytest.raises(DecodeError, match=r"could not be decrypted \(InvalidToken\)"),
        ):
            result.get(timeout=30)


def djqueue_settings_given() -> dict[str, Any]:
    """The settings of this test run, to which a test adds its own."""
    return {"LEASE": djqueue_settings.LEASE, "HEARTBEAT": djqueue_settings.HEARTBEAT}
