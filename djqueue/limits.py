"""Limits: what ``rate_limit``, ``concurrency_limit`` and their keys may be, and what is stored of them with a task.

A *gate* is where limited tasks are parked until they may pass: one for each concurrency key, and one for each rate
limit and rate key. Its name begins with a word that says what kind it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from inspect import Parameter, Signature
from string import Formatter
from typing import Any

LIMITS = ("rate_limit", "rate_key", "rate_strict", "concurrency_key", "concurrency_limit", "concurrency_ordered")
"""Options of definitions."""
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smhd]))?")
EXPECTED_RATE = "a number of tasks a second, or one with its unit, as '10/s', '100/m', '5/h' or '1000/d'"
LONGEST_KEY = 200
"""Characters in a key."""
MOST_SLOTS = 1000
"""Highest ``concurrency_limit``."""
KEY = "key "
"""Begins the gate of a concurrency key."""
STREAM = "stream "
"""Begins the gate of a concurrency key whose tasks run in the order of their calls."""


def parse_rate(rate: object) -> float | None:
    """Return a rate limit in tasks per second; None, as for ``None`` and 0, means that there is none.

    Raises ``ValueError`` for anything that is no rate.
    """
    if rate is None:
        return None
    if isinstance(rate, str):
        given = RATE.fullmatch(rate.strip())
        number = float(given[1]) / PERIODS[given[2] or "s"] if given else math.nan
    else:
        number = float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"expected a rate limit to be {EXPECTED_RATE}, got: {rate!r}")
    return number or None


def rate_text(rate: object) -> str:
    """Return a rate limit as it is stored. Raises ``ValueError`` as ``parse_rate`` does."""
    parse_rate(rate)
    return "" if rate is None else str(rate).strip()


class KeyTemplate:
    """A key with the names of arguments in braces, such as ``customer:{customer_id}``.

    Raises ``ValueError`` if it is no such text, or names what is no parameter of the function.
    """

    def __init__(self, option: str, task: str, template: object, signature: Signature) -> None:
        self._what = f"{option} of task {task}"
        if not isinstance(template, str) or not template:
            raise ValueError(
                f"expected {self._what} to be a text such as 'customer:{{customer_id}}', got: {template!r}"
            )
        self._template = template
        self._signature = signature
        try:
            fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise ValueError(f"expected {self._what} to be a format string, got: {template!r} ({error})") from None
        self._names = {re.split(r"[.\[]", field, maxsplit=1)[0] for field in fields}
        parameters = signature.parameters
        takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
        for name in sorted(self._names):
            if name not in parameters and not (takes_any and name.isidentifier()):
                known = ", ".join(parameters) or "none"
                raise ValueError(f"expected {self._what} to name parameters of the task ({known}), got: {template!r}")

    def render(self, args: Sequence[Any], kwargs: Mapping[str, Any], before: int = 0) -> str:
        """Return the key of a call whose first ``before`` arguments are not known yet. Raises ``ValueError``."""
        if not self._names:
            return self._checked(self._template)
        arguments = self._arguments(args, kwargs, before)
        if missing := sorted(self._names - arguments.keys()):
            raise ValueError(
                f"expected the call to say {missing[0]!r}, which {self._what} ({self._template!r}) names; "
                "what an earlier step returns is not known yet"
            )
        try:
            key = self._template.format_map(arguments)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self._what} ({self._template!r}) cannot be made from this call: {error!r}") from error
        return self._checked(key)

    def _arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], before: int) -> dict[str, Any]:
        try:
            bound = self._signature.bind_partial(*((None,) * before), *args, **kwargs)
        except TypeError as error:
            raise ValueError(f"{self._what} ({self._template!r}) cannot be made from this call: {error}") from None
        unknown = list(self._signature.parameters)[:before]
        bound.apply_defaults()
        known = {name: value for name, value in bound.arguments.items() if name not in unknown}
        others = next((p.name for p in self._signature.parameters.values() if p.kind is Parameter.VAR_KEYWORD), None)
        return {**(known.pop(others, {}) if others else {}), **known}

    def _checked(self, key: str) -> str:
        if not 0 < len(key) <= LONGEST_KEY or not key.isprintable() or " object at 0x" in key:
            shown = key if len(key) <= LONGEST_KEY else f"{key[:LONGEST_KEY]}…"
            raise ValueError(
                f"expected {self._what} to come to 1 to {LONGEST_KEY} printable characters that mean the same in "
                f"every process, got: {shown!r}"
            )
        return key


def stream_of(limits: Mapping[str, Any]) -> str | None:
    """Return the gate of the ordered stream that a task with these stored limits belongs to, if any."""
    gate: str | None = limits.get("gate")
    return gate if gate is not None and gate.startswith(STREAM) else None


class Limits:
    """The limits of one definition, of which ``options`` are those named in ``LIMITS``; ``rate`` is what it declares.

    Raises ``ValueError`` for options that cannot be.
    """

    def __init__(self, task: str, signature: Signature, options: Mapping[str, Any]) -> None:
        limit, ordered = options["concurrency_limit"], options["concurrency_ordered"]
        try:
            self.rate = rate_text(options["rate_limit"])
        except ValueError as error:
            raise ValueError(f"rate_limit of task {task}: {error}") from None
        for flag in ("rate_strict", "concurrency_ordered"):
            if not isinstance(options[flag], bool):
                raise ValueError(f"expected {flag} of task {task} to be True or False, got: {options[flag]!r}")
        for option in ("rate_key", "rate_strict"):
            if options[option] and options["rate_limit"] is None:
                raise ValueError(f"expected task {task} to have a rate_limit (0 for none yet), because it has {option}")
        if ordered and limit not in (None, 1):
            raise ValueError(
                f"expected concurrency_limit of task {task} to be 1, because it is concurrency_ordered, got: {limit!r}"
            )
        self.strict: bool = options["rate_strict"]
        self.slots = _slots(task, limit)
        self._kind = STREAM if ordered else KEY
        self._rate_key = self._key = None
        if (template := options["rate_key"]) is not None:
            self._rate_key = KeyTemplate("rate_key", task, template, signature)
        if (template := options["concurrency_key"]) is not None or limit is not None or ordered:
            template = task.replace("{", "{{").replace("}", "}}") if template is None else template
            self._key = KeyTemplate("concurrency_key", task, template, signature)

    @property
    def stores(self) -> bool:
        """Whether anything is stored with each task."""
        return self._key is not None or self._rate_key is not None

    def stored(self, args: Sequence[Any], kwargs: Mapping[str, Any], before: int = 0) -> dict[str, Any]:
        """Return the options to store with a call: ``gate`` and ``slots``, and ``rate_key``.

        The first ``before`` arguments come from an earlier step and are not known yet. Raises ``ValueError``.
        """
        stored: dict[str, Any] = {}
        if self._key is not None:
            stored["gate"] = self._kind + self._key.render(args, kwargs, before)
            stored["slots"] = self.slots
        if self._rate_key is not None:
            stored["rate_key"] = self._rate_key.render(args, kwargs, before)
        return stored


def _slots(task: str, limit: Any) -> int:
    if limit is None:
        return 1
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_SLOTS:
        raise ValueError(
            f"expected concurrency_limit of task {task} to be a whole number from 1 to {MOST_SLOTS}, got: {limit!r}"
        )
    return limit
