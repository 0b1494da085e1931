"""Converters of what contains other values: lists, tuples, named tuples, sets, dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from .annotations import of_class
from .converter import Converter, Mismatch, decode_inner, encode_inner
from .keys import KeyConverter


class ListConverter:
    """A list whose items are converted; a tuple is taken as well."""

    expected = "list"
    text_only = False

    def __init__(self, item: Converter) -> None:
        self._item = item

    def owns(self, value: Any) -> bool:
        return isinstance(value, list)

    def encode(self, value: Any) -> Any:
        return [encode_inner(self._item, item, place) for place, item in enumerate(_items(self, value))]

    def decode(self, value: Any) -> Any:
        return [decode_inner(self._item, item, place) for place, item in enumerate(_items(self, value))]


class TupleConverter:
    """Stored as a list. ``items`` are the converters of a tuple of fixed length, ``every`` that of any other."""

    expected = "tuple"
    text_only = False

    def __init__(self, items: Sequence[Converter | None] | None, every: Converter | None) -> None:
        self._converters, self._every = items, every
        if items is not None:
            self.expected = f"tuple of {len(items)}"

    def owns(self, value: Any) -> bool:
        return isinstance(value, tuple)

    def encode(self, value: Any) -> Any:
        return [encode_inner(item, inner, place) for place, (item, inner) in enumerate(self._pairs(value))]

    def decode(self, value: Any) -> Any:
        return tuple(decode_inner(item, inner, place) for place, (item, inner) in enumerate(self._pairs(value)))

    def _pairs(self, value: Any) -> list[tuple[Converter | None, Any]]:
        items = _items(self, value)
        if self._converters is None:
            return [(self._every, item) for item in items]
        if len(items) != len(self._converters):
            raise Mismatch(self.expected, value)
        return list(zip(self._converters, items, strict=True))


class NamedTupleConverter:
    """Stored as a list of its fields."""

    text_only = False

    def __init__(self, kind: Any, find: Callable[[Any], Converter | None]) -> None:
        self._kind, self._find = kind, find
        self.expected = kind.__name__

    @cached_property
    def _fields(self) -> list[tuple[str, Converter | None]]:
        types = of_class(self._kind)
        return [(name, self._find(types.get(name))) for name in self._kind._fields]

    def owns(self, value: Any) -> bool:
        return type(value) is self._kind

    def encode(self, value: Any) -> Any:
        made = self.decode(value)
        return [encode_inner(field, item, name) for (name, field), item in zip(self._fields, made, strict=True)]

    def decode(self, value: Any) -> Any:
        if self.owns(value):
            return value
        items = _items(self, value)
        if len(items) != len(self._fields):
            raise Mismatch(self.expected, value)
        pairs = zip(self._fields, items, strict=True)
        return self._kind(*(decode_inner(field, item, name) for (name, field), item in pairs))


class SetConverter:
    """Stored as a list, sorted where it can be: equal sets are stored as equal text."""

    text_only = False

    def __init__(self, kind: type, item: Converter | None) -> None:
        self._kind, self._item = kind, item
        self.expected = kind.__name__

    def owns(self, value: Any) -> bool:
        return isinstance(value, set | frozenset)

    def encode(self, value: Any) -> Any:
        items = list(value) if self.owns(value) else _items(self, value)
        stored = [encode_inner(self._item, item, "…") for item in items]
        self._made(decode_inner(self._item, item, "…") for item in stored)
        try:
            return sorted(stored)
        except TypeError:
            return stored

    def decode(self, value: Any) -> Any:
        items = list(value) if self.owns(value) else _items(self, value)
        return self._made(decode_inner(self._item, item, "…") for item in items)

    def _made(self, items: Any) -> Any:
        try:
            return self._kind(items)
        except TypeError as error:
            raise Mismatch(f"{self.expected} ({error})", items) from error


class DictConverter:
    """A dict whose keys or values are converted."""

    expected = "dict"
    text_only = False

    def __init__(self, key: KeyConverter | None, value: Converter | None) -> None:
        self._key, self._value = key, value

    def owns(self, value: Any) -> bool:
        return isinstance(value, dict)

    def encode(self, value: Any) -> Any:
        return {
            (self._key.encode(key) if self._key else key): encode_inner(self._value, inner, key)
            for key, inner in self._mapping(value).items()
        }

    def decode(self, value: Any) -> Any:
        return {
            (self._key.decode(key) if self._key else key): decode_inner(self._value, inner, key)
            for key, inner in self._mapping(value).items()
        }

    def _mapping(self, value: Any) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            raise Mismatch(self.expected, value)
        return value


def _items(converter: Converter, value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Mismatch(converter.expected, value)
    return value
