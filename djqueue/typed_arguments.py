"""Typed arguments: a function's annotations decide what its arguments are stored as, and what they come back as."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from .converters import Converters
from .converters.annotations import of_function
from .converters.converter import Converter, Mismatch
from .converters.validated import ValidatedModel
from .redaction import REDACTED, is_redacted
from .signature_check import signature_of

SHOWN_CHARACTERS = 200


class _Plan(NamedTuple):
    """Which converters a call's arguments meet."""

    positional: tuple[tuple[str, Converter | None], ...]
    further: tuple[str, Converter | None]
    named: Mapping[str, Converter]
    others: Converter | None
    returned: Converter | None


class TypedArguments:
    """Converts the arguments of one definition, there and back, and what it returns.

    Annotations are resolved once, at the first call: by then every module is loaded. Those that cannot be resolved,
    such as names that exist for type checkers only, count as none. ``trivial`` says that nothing is to be converted.

    With ``pydantic``, models are handled as by Celery's option of that name: validated in the worker, strictly if
    ``pydantic_strict``, with ``pydantic_context``, and dumped with ``pydantic_dump_kwargs``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        pydantic: bool = False,
        pydantic_strict: bool = False,
        pydantic_context: Mapping[str, Any] | None = None,
        pydantic_dump_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._function = function
        self._name = name or getattr(function, "__name__", repr(function))
        self._converters = Converters()
        if pydantic:
            models = ValidatedModel.options(self._name, pydantic_strict, pydantic_context, pydantic_dump_kwargs)
            self._converters = Converters(models)
        elif pydantic_strict or pydantic_context is not None or pydantic_dump_kwargs is not None:
            raise TypeError(f"task {self._name}: pydantic_strict, _context and _dump_kwargs need pydantic=True")

    @cached_property
    def trivial(self) -> bool:
        plan = self._plan
        arguments = [converter for _name, converter in (*plan.positional, plan.further)]
        return not any((*arguments, *plan.named.values(), plan.others, plan.returned))

    @cached_property
    def _plan(self) -> _Plan:
        types = of_function(self._function)
        parameters = list(signature_of(self._function).parameters.values())
        found = {p.name: self._converter(types.get(p.name), p.default is None) for p in parameters}

        def of_kind(*kinds: Any) -> list[str]:
            return [p.name for p in parameters if p.kind in kinds]

        positional = of_kind(inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = of_kind(inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        further = next(iter(of_kind(inspect.Parameter.VAR_POSITIONAL)), "")
        others = next(iter(of_kind(inspect.Parameter.VAR_KEYWORD)), "")
        return _Plan(
            tuple((name, found[name]) for name in positional),
            (further, found.get(further)),
            {name: converter for name in named if (converter := found[name]) is not None},
            found.get(others),
            self._converter(types.get("return"), False),
        )

    def _converter(self, annotation: Any, none_too: bool) -> Converter | None:
        if annotation is None:
            return None
        try:
            # `x: Order = None` has always meant that None may be passed.
            return self._converters.of(annotation | None if none_too else annotation)
        except (RecursionError, TypeError):
            # A type that is defined by itself, or one that unions do not take.
            return None

    def encode(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, before: int = 0
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments as they are to be stored.

        ``before`` is how many positional ones come first when the task runs, from an earlier step. Raises
        ``TypeError`` naming the argument that is not what its annotation says.
        """
        if self.trivial:
            return args, kwargs
        return self._convert("encode", args, kwargs, before)

    def decode(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return stored arguments as the function wants them. Raises ``TypeError`` as ``encode`` does."""
        if self.trivial:
            return args, kwargs
        return self._convert("decode", args, kwargs, 0)

    def encode_return(self, value: Any) -> Any:
        """Return what the function returned as it is to be stored; another type than announced stays as it is."""
        if value is None or self.trivial or (converter := self._plan.returned) is None:
            return value
        try:
            return converter.encode(value) if converter.owns(value) else value
        except Mismatch:
            return value

    def _convert(
        self, way: str, args: Sequence[Any], kwargs: Mapping[str, Any], before: int
    ) -> tuple[list[Any], dict[str, Any]]:
        plan = self._plan
        converted = list(args)
        for place, value in enumerate(args):
            position = place + before
            known = position < len(plan.positional)
            name, converter = plan.positional[position] if known else plan.further
            if converter is not None:
                converted[place] = self._converted(way, converter, name, value)
        named = dict(kwargs)
        if plan.named or plan.others is not None:
            for name, value in kwargs.items():
                if (converter := plan.named.get(name, plan.others)) is not None:
                    named[name] = self._converted(way, converter, name, value)
        return converted, named

    def _converted(self, way: str, converter: Converter, name: str, value: Any) -> Any:
        try:
            return converter.encode(value) if way == "encode" else converter.decode(value)
        except Mismatch as mismatch:
            raise TypeError(self._complaint(name, mismatch)) from None

    def _complaint(self, name: str, mismatch: Mismatch) -> str:
        secret = any(is_redacted(part) for part in (name, *mismatch.path))
        where = name + "".join(f"[{part!r}]" for part in mismatch.path)
        return (
            f"argument {where} of task {self._name}: expected {mismatch.expected}, "
            f"got: {REDACTED if secret else _shown(mismatch.got)}"
        )


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__qualname__}, whose repr raises {type(error).__qualname__}>"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
