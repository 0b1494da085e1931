"""Payloads: arguments and results as the JSON text of their columns.

JSON is stored as it is. Whatever else, arguments share one wrapper in the column of the positional ones, which
otherwise holds a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.models import Model, QuerySet

from djqueue.conf import settings
from djqueue.exceptions import DecodeError, EncodeError

from .handed_on import PREVIOUS, is_with_previous, opened, special
from .rules import check_accepted, check_serializer, rules
from .values import decode, encode, hint
from .wrappers import dump, is_wrapper, unwrap, wrap, wrap_bytes


def encode_arguments(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str | None = None
) -> tuple[str, str]:
    """Return the JSON texts of the two columns of arguments.

    ``serializer`` is ``DJQUEUE["SERIALIZER"]`` if None. Raises ``EncodeError`` naming the argument that cannot be
    stored, and what ``check_serializer`` raises.
    """
    site = rules()
    if serializer is None:
        serializer = site.serializer
    else:
        check_serializer(serializer)
    try:
        if serializer == "json" and site.codec is None:
            return encode(args), encode(kwargs) if kwargs else "{}"
        if serializer != "json":
            _refuse_rows(args, kwargs)
        return wrap((list(args), dict(kwargs)), serializer), "{}"
    except EncodeError as error:
        raise _naming_the_argument(name, args, kwargs, _probe(serializer), error) from error


def _probe(serializer: str) -> Callable[[Any], Any]:
    def probe(value: Any) -> None:
        if serializer == "json":
            encode(value)
        else:
            _refuse_rows([value], {})
            dump(value, serializer)

    return probe


def _naming_the_argument(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], probe: Callable[[Any], Any], error: EncodeError
) -> EncodeError:
    named = [(f"{place}", value) for place, value in enumerate(args)]
    named += [(repr(key), value) for key, value in kwargs.items()]
    for label, value in named:
        try:
            probe(value)
        except EncodeError as culprit:
            return EncodeError(f"argument {label} of task {name} cannot be stored: {culprit}")
    return EncodeError(f"the arguments of task {name} cannot be stored: {error}")


def _refuse_rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse what pickle would take: a row as it was at the call, which the task would take for the present one."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Model | QuerySet):
            raise EncodeError(f"{type(value).__module__}.{type(value).__qualname__} is not to be stored{hint(value)}")


def decode_arguments(args: str, kwargs: str, name: str = "") -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments stored in the two columns; ``name`` is the task's, for messages.

    Raises ``SecurityError`` if their serializer is not accepted, and ``DecodeError`` if they cannot be read.
    """
    return _read_arguments(_decode(args), kwargs, name)


def _read_arguments(stored: Any, kwargs: str, name: str) -> tuple[Sequence[Any], dict[str, Any]]:
    if is_with_previous(stored):
        values, named = _read_arguments(stored["args"], kwargs, name)
        return [opened(stored[PREVIOUS]), *values], named
    if type(stored) is dict and is_wrapper(stored):
        values, named = _pair(unwrap(stored), name)
    else:
        check_accepted("json")
        values, named = stored, ({} if kwargs == "{}" else _decode(kwargs))
    if not isinstance(values, list | tuple):
        raise DecodeError(f"expected the stored args of task {name} to be a list, got: {type(values).__name__}")
    if type(named) is not dict:
        raise DecodeError(f"expected the stored kwargs of task {name} to be a dict, got: {type(named).__name__}")
    return values, named


def _pair(stored: object, name: str) -> tuple[Any, Any]:
    match stored:
        case [values, named]:
            # Other serializers have other keys than text.
            if isinstance(named, dict) and all(isinstance(key, str) for key in named):
                return values, named
            raise DecodeError(f"expected the stored kwargs of task {name} to be a dict with names as keys")
    raise DecodeError(f"expected the stored arguments of task {name} to be a pair, got: {type(stored).__name__}")


def encode_result(name: str, value: Any, serializer: str | None = None, *, what: str = "result") -> str:
    """Return the JSON text of a result, or of ``what`` else a task has to tell.

    ``serializer`` is ``DJQUEUE["RESULT_SERIALIZER"]`` if None.

    Raises ``EncodeError`` if it cannot be stored or takes more than ``DJQUEUE["RESULT_MAX_BYTES"]``.
    """
    if value is None:
        return "null"
    site = rules()
    serializer = site.result_serializer if serializer is None else serializer
    try:
        text = _plain_result(value) if serializer == "json" and site.codec is None else None
        if text is None:
            check_serializer(serializer)
            text = wrap(value, serializer)
    except EncodeError as error:
        raise EncodeError(f"the {what} of task {name} cannot be stored: {error}") from error
    size = len(text) if text.isascii() else len(text.encode())
    if size > settings.RESULT_MAX_BYTES:
        raise EncodeError(
            f"expected the {what} of task {name} to take at most {settings.RESULT_MAX_BYTES:,} bytes as JSON "
            f"(DJQUEUE['RESULT_MAX_BYTES']), got: {size:,}"
        )
    return text


def _plain_result(value: Any) -> str:
    text = encode(value)
    if special(text):
        # What only looks like a wrapper, perhaps made to be taken for one, goes into a real one.
        return wrap_bytes(text.encode(), "json", None)
    return text


def decode_result(text: str) -> Any:
    """Return a stored result. Raises as ``decode_arguments`` does."""
    if text == "null":
        return None
    value = _decode(text)
    if special(text):
        return opened(value)
    if not _is_nothing(value):
        check_accepted("json")
    return value


def _is_nothing(value: Any) -> bool:
    """Whether no payload is in it: the results of a group whose tasks return nothing."""
    return value is None or (isinstance(value, list) and all(map(_is_nothing, value)))


def _decode(text: str) -> Any:
    try:
        return decode(text)
    except ValueError as error:
        raise DecodeError(str(error)) from error
