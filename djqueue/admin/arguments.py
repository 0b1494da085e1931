"""Arguments and results as the admin shows them: redacted, and never decrypted."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from django.utils.safestring import SafeString

from djqueue import registry
from djqueue.exceptions import NotRegistered
from djqueue.models import Task
from djqueue.redaction import redact, redact_arguments
from djqueue.serializers import describe

from . import display

logger = logging.getLogger("djqueue.admin")


def positional(task: Task) -> SafeString | str:
    """Return the positional arguments of a task; where they are wrapped, the others are in there as well.

    ``argsrepr`` of the call stands for them, if it was given: so that something else is seen.
    """
    return _own_words(task, "argsrepr") or describe(task.args) or display.pretty_json(_redacted(task)[0])


def named(task: Task) -> SafeString | str:
    return _own_words(task, "kwargsrepr") or describe(task.args) or display.pretty_json(_redacted(task)[1])


def value(stored: Any) -> SafeString | str:
    """Return a result or options: what stands under a redacted name is hidden."""
    return describe(stored) or display.pretty_json(redact(stored))


def shown(task: Task) -> tuple[Any, Any]:
    """Return positional and keyword arguments as JSON may show them."""
    options = task.options if isinstance(task.options, dict) else {}
    if (described := describe(task.args)) is not None:
        return described, None
    args, kwargs = _redacted(task)
    return options.get("argsrepr", args), options.get("kwargsrepr", kwargs)


def plain(stored: Any) -> Any:
    """Return a result as JSON may show it."""
    return describe(stored) or redact(stored)


def _own_words(task: Task, option: str) -> SafeString | None:
    options = task.options if isinstance(task.options, dict) else {}
    return display.preformatted(str(options[option])) if option in options else None


def _redacted(task: Task) -> tuple[Any, Any]:
    if not isinstance(task.args, list) or not isinstance(task.kwargs, dict):
        return redact(task.args), redact(task.kwargs)
    try:
        registry.get(task.name)
    except NotRegistered:
        # Positional arguments have names only where the definition is known, which a site without callers need not be.
        _load_definitions()
    return redact_arguments(task.name, task.args, task.kwargs)


@cache
def _load_definitions() -> None:
    try:
        registry.load_all()
    except Exception:
        logger.warning("the modules that define tasks cannot be loaded, so arguments are redacted less", exc_info=True)
