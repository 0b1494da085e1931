"""Converters: between the values of an annotated type and what a serializer can hold.

There is one for each type that does not come back by itself: enums, dataclasses, pydantic models, named tuples, tuples,
sets, dicts with other keys than text, and whatever contains those; and for dates, decimals and UUIDs, which come back
by themselves but are also taken as text. Other annotations, such as ``int``, have none: values go through unchecked.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from .containers import DictConverter, ListConverter, NamedTupleConverter, SetConverter, TupleConverter
from .converter import Converter
from .keys import key_converter_for
from .singles import DataclassConverter, EnumConverter, ModelConverter, Scalar
from .union import UnionConverter

_SCALARS: dict[Any, Scalar] = {
    datetime: Scalar(datetime, datetime.fromisoformat),
    date: Scalar(date, date.fromisoformat),
    time: Scalar(time, time.fromisoformat),
    timedelta: Scalar(timedelta),
    # Not from a float, whose digits are not those that were meant.
    Decimal: Scalar(Decimal, Decimal, also=(int,)),
    UUID: Scalar(UUID, UUID),
}
_LISTS = (list, Sequence, MutableSequence, Collection, Iterable)
_SETS = (set, frozenset, AbstractSet, MutableSet)
_DICTS = (dict, Mapping, MutableMapping)


class Converters:
    """Makes converters; ``model`` is the kind that pydantic models get."""

    def __init__(self, model: typing.Callable[[type], Converter] = ModelConverter) -> None:
        self._model = model

    def of(self, annotation: Any) -> Converter | None:
        """Return the converter of an annotated type, or None if its values need none."""
        annotation = _plain(annotation)
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self._of_union(arguments)
        if origin is Literal:
            return _of_literal(arguments)
        if isinstance(origin, type):
            return _SCALARS.get(origin) or self._of_class(origin, annotation) or self._of_container(origin, arguments)
        return None

    def _of_class(self, kind: type, annotation: Any) -> Converter | None:
        if issubclass(kind, Enum):
            return EnumConverter(kind)
        if callable(getattr(kind, "model_validate", None)) and callable(getattr(kind, "model_dump", None)):
            return self._model(kind)
        if dataclasses.is_dataclass(kind):
            return DataclassConverter(kind, self.of)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return NamedTupleConverter(kind, self.of)
        return None

    def _of_container(self, kind: type, arguments: tuple[Any, ...]) -> Converter | None:
        first = self.of(arguments[0]) if arguments else None
        if kind is tuple:
            if not arguments or arguments[-1] is Ellipsis:
                return TupleConverter(None, first)
            return TupleConverter([self.of(argument) for argument in arguments], None)
        if kind in _SETS:
            return SetConverter(frozenset if kind is frozenset else set, first)
        if kind in _LISTS and first is not None:
            return ListConverter(first)
        if kind in _DICTS and len(arguments) == 2:
            key, value = key_converter_for(_plain(arguments[0])), self.of(arguments[1])
            return None if key is None and value is None else DictConverter(key, value)
        return None

    def _of_union(self, arguments: tuple[Any, ...]) -> Converter | None:
        known = [(argument, self.of(argument)) for argument in arguments if argument is not type(None)]
        if not any(converter for _argument, converter in known):
            return None
        others = [typing.get_origin(argument) or argument for argument, converter in known if converter is None]
        return UnionConverter([c for _argument, c in known if c is not None], others, type(None) in arguments)


def _of_literal(arguments: tuple[Any, ...]) -> Converter | None:
    members = [argument for argument in arguments if isinstance(argument, Enum)]
    if not members:
        return None
    kinds = {type(member): [m for m in members if type(m) is type(member)] for member in members}
    others = [type(argument) for argument in arguments if not isinstance(argument, Enum) and argument is not None]
    return UnionConverter([EnumConverter(kind, some) for kind, some in kinds.items()], others, None in arguments)


def _plain(annotation: Any) -> Any:
    """Return what a NewType or a ``type`` statement stands for."""
    while True:
        meant = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
        if meant is None or isinstance(annotation, type):
            return annotation
        annotation = meant
