"""What a function's signature says: its parameters, and whether a call fits, cheaply enough for every call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        """Return the signature, whether or not its annotations can be evaluated yet, or ever."""
        return inspect.signature(function, annotation_format=Format.FORWARDREF)

else:

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        """Return the signature; annotations are as they were written."""
        return inspect.signature(function)


class ArgumentCheck:
    """Knows which calls a function accepts.

    ``inspect.Signature.bind`` costs several microseconds; most calls are positional and can be judged by counting.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = signature_of(function)
        parameters = list(self.signature.parameters.values())
        self._name = getattr(function, "__name__", repr(function))
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._fewest = sum(p.default is p.empty for p in positional)
        takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self._most = sys.maxsize if takes_any else len(positional)
        self._keyword_needed = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        self.positional_names = tuple(p.name for p in positional)
        """The names of parameters that positional arguments go to."""
        self.further_name = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
        """The name that all further ones share, or an empty string."""

    def takes_more_than(self, number: int) -> bool:
        """Whether the function takes more positional arguments than that."""
        return self._most > number

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` with the message that the call itself would give."""
        if not kwargs and self._fewest <= len(args) <= self._most and not self._keyword_needed:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}() {error}; its signature is {self._name}{self.signature}") from None

    def accepts(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        try:
            self(args, kwargs)
        except TypeError:
            return False
        return True
