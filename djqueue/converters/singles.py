"""Converters of single values: dates and the like, enums, dataclasses, pydantic models."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import cached_property
from typing import Any

from .annotations import of_class
from .converter import Converter, Mismatch, decode_inner, encode_inner

Find = Callable[[Any], Converter | None]


class Scalar:
    """A type that serializers bring back by themselves; its text is taken as well, and decoded."""

    text_only = True

    def __init__(self, kind: type, read: Callable[[Any], Any] | None = None, *, also: tuple[type, ...] = ()) -> None:
        self.expected = kind.__name__
        self._kind, self._read, self._readable = kind, read, (str, *also)

    def owns(self, value: Any) -> bool:
        return isinstance(value, self._kind)

    def decode(self, value: Any) -> Any:
        if isinstance(value, self._kind):
            return value
        if self._read is not None and isinstance(value, self._readable) and not isinstance(value, bool):
            try:
                return self._read(value)
            except (ValueError, ArithmeticError):
                pass
        raise Mismatch(self.expected, value)

    encode = decode


class EnumConverter:
    """Stored as the member's value."""

    text_only = False

    def __init__(self, kind: type[Enum], members: Collection[Enum] | None = None) -> None:
        self._kind, self._members = kind, members
        self.expected = kind.__name__ if members is None else " or ".join(str(member) for member in members)

    def owns(self, value: Any) -> bool:
        return isinstance(value, self._kind) and (self._members is None or value in self._members)

    def decode(self, value: Any) -> Any:
        if self.owns(value):
            return value
        # A tuple comes back from JSON as a list.
        for form in (value, tuple(value)) if isinstance(value, list) else (value,):
            try:
                member = self._kind(form)
            except (ValueError, TypeError):
                continue
            if self.owns(member):
                return member
        raise Mismatch(self.expected, value)

    def encode(self, value: Any) -> Any:
        return self.decode(value).value


class DataclassConverter:
    """Stored as a dict of its fields. The exact class only: a subclass would come back without what it adds."""

    text_only = False

    def __init__(self, kind: type, find: Find) -> None:
        self._kind, self._find = kind, find
        self.expected = kind.__name__

    @cached_property
    def _fields(self) -> dict[str, Converter | None]:
        # Not in the constructor: a dataclass may contain itself.
        types = of_class(self._kind)
        names = [field.name for field in dataclasses.fields(self._kind) if field.init]
        try:
            inspect.signature(self._kind).bind(**dict.fromkeys(names))
        except TypeError as error:
            # Better at the call than in the worker.
            raise Mismatch(f"{self.expected} to be made of its fields, but {error}", self._kind) from error
        return {name: self._find(types.get(name)) for name in names}

    def owns(self, value: Any) -> bool:
        return type(value) is self._kind

    def decode(self, value: Any) -> Any:
        if self.owns(value):
            return value
        if not isinstance(value, Mapping):
            raise Mismatch(self.expected, value)
        if unknown := [name for name in value if name not in self._fields]:
            raise Mismatch(f"{self.expected}, which has no field {unknown[0]!r}", value)
        fields = {name: decode_inner(self._fields[name], inner, name) for name, inner in value.items()}
        try:
            return self._kind(**fields)
        except (TypeError, ValueError) as error:
            raise Mismatch(f"{self.expected} ({error})", value) from error

    def encode(self, value: Any) -> Any:
        made = self.decode(value)
        return {name: encode_inner(inner, getattr(made, name), name) for name, inner in self._fields.items()}


class ModelConverter:
    """A pydantic model, stored as ``model_dump(mode="json")`` makes it. It must come back from that as it was."""

    text_only = False

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.expected = kind.__name__

    def owns(self, value: Any) -> bool:
        return type(value) is self._kind

    def decode(self, value: Any) -> Any:
        if self.owns(value):
            return value
        try:
            return self.validate(value)
        except ValueError as error:
            raise Mismatch(f"{self.expected} ({_first_complaint(error)})", value) from error

    def encode(self, value: Any) -> Any:
        made = self.decode(value)
        stored = self.dump(made)
        try:
            back = self.validate(stored)
        except ValueError as error:
            raise Mismatch(f"{self.expected} to be readable again ({_first_complaint(error)})", value) from error
        if back != made:
            raise Mismatch(f"{self.expected} to come back from model_dump as it was (SecretStr does not)", value)
        return stored

    def dump(self, made: Any) -> Any:
        try:
            return made.model_dump(mode="json", round_trip=True)
        except ValueError as error:
            raise Mismatch(f"{self.expected} that JSON can hold ({error})", made) from error

    def validate(self, value: Any) -> Any:
        """Return the model that ``value`` stands for. Raises ``pydantic.ValidationError``."""
        try:
            # By name too: that is how it is dumped, whatever its aliases.
            return self._kind.model_validate(value, by_name=True, by_alias=True)
        except ValueError:
            try:
                text = json.dumps(value)
            except (TypeError, ValueError):
                text = ""
            if not text:
                raise
            # A strict model takes text for a date only if it knows that it reads JSON.
            return self._kind.model_validate_json(text, by_name=True, by_alias=True)


def _first_complaint(error: Exception) -> str:
    """Return what a ValidationError says first, without the value, which may be a secret."""
    try:
        complaint = error.errors(include_input=False, include_url=False)[0]  # type: ignore[attr-defined]
        place = ".".join(str(part) for part in complaint["loc"])
        return f"{place}: {complaint['msg']}" if place else str(complaint["msg"])
    except (AttributeError, LookupError):
        return type(error).__name__
