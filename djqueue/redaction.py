"""Redaction: which arguments are not to be seen in the admin and in logs."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from . import registry
from .conf import REDACTED_NAMES, settings
from .exceptions import ImproperlyConfigured, NotRegistered

REDACTED = "[redacted]"
SHOWN_CHARACTERS = 1024
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Redactor = Callable[[str, Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], Mapping[str, Any]]]


def redact_arguments(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return arguments as they may be shown, by ``DJQUEUE["REDACT"]``.

    A positional argument goes by its parameter's name, if this process knows the definition. Never raises: where this
    fails, or the site's own function does, nothing is shown.
    """
    try:
        if (own := redactor()) is not None:
            args, kwargs = own(task_name, args, kwargs)
            return list(args), dict(kwargs)
        return _redacted_by_name(task_name, args, kwargs)
    except Exception as error:
        return [f"[not shown: redacting failed with {type(error).__name__}]"], {}


def _redacted_by_name(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    names, further = _parameters(task_name)
    shown = [
        REDACTED if is_redacted(names[place] if place < len(names) else further) else redact(value)
        for place, value in enumerate(args)
    ]
    return shown, {key: REDACTED if is_redacted(key) else redact(value) for key, value in kwargs.items()}


def redact(value: Any) -> Any:
    """Return a value in which what stands under a redacted name is hidden, at any depth."""
    if isinstance(value, Mapping):
        if isinstance(value.get("task"), str) and isinstance(value.get("args"), list | tuple):
            # A signature inside: its positional arguments have names as well.
            args, _kwargs = redact_arguments(value["task"], value["args"], {})
            value = {**value, "args": args}
        return {key: REDACTED if is_redacted(key) else redact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return redact({field.name: getattr(value, field.name, None) for field in fields(value)})
    if hasattr(value, "model_dump"):
        return redact(dict(value))
    return value


def is_redacted(name: object) -> bool:
    """Whether values of that name are not to be shown. ``api-key`` and ``apiKey`` are the same as ``api_key``."""
    return isinstance(name, str) and _pattern().fullmatch(_in_snake_case(name)) is not None


def _in_snake_case(name: str) -> str:
    return _HUMP.sub("_", name).lower().replace("-", "_")


def arguments_repr(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], characters: int = SHOWN_CHARACTERS
) -> tuple[str, str]:
    """Return two texts for a log line, of at most so many characters each: ``argsrepr`` and ``kwargsrepr``."""
    try:
        shown_args, shown_kwargs = redact_arguments(task_name, args, kwargs)
        texts = repr(tuple(shown_args)), repr(dict(shown_kwargs))
    except Exception as error:
        # A task's argument may be anything, also something that cannot be shown.
        texts = (f"(… {type(error).__name__} …)", "{…}")
    cut = [text if len(text) <= characters else f"{text[: characters - 1]}…" for text in texts]
    return cut[0], cut[1]


def _parameters(task_name: str) -> tuple[tuple[str, ...], str]:
    try:
        check = registry.get(task_name).check_call
        return check.positional_names, check.further_name
    except (NotRegistered, TypeError, ValueError):
        return (), ""


@cache
def redactor() -> Redactor | None:
    """Return the site's own function, if it has one. Raises ``ImproperlyConfigured`` if it cannot be used."""
    if not isinstance(settings.REDACT, str):
        return None
    try:
        function = import_string(settings.REDACT)
    except ImportError as error:
        raise ImproperlyConfigured(f"DJQUEUE['REDACT'] cannot be used: {error}") from error
    if not callable(function):
        raise ImproperlyConfigured(f"expected DJQUEUE['REDACT'] to name a function, got: {settings.REDACT!r}")
    own: Redactor = function
    return own


@cache
def _pattern() -> re.Pattern[str]:
    # Where a function decides about arguments, the usual names still hold for what is inside results.
    names = REDACTED_NAMES if isinstance(settings.REDACT, str) else settings.REDACT
    return re.compile("|".join(fnmatch.translate(_in_snake_case(name)) for name in names) or r"(?!)")


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "DJQUEUE":
        redactor.cache_clear()
        _pattern.cache_clear()
