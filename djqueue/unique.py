"""Unique calls: from the options of a call to the key that it asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any

from . import registry
from .calls import check_limit
from .exceptions import EncodeError
from .serializers import encode
from .uniqueness import LONGEST_KEY, Action, Unique, Until

if TYPE_CHECKING:
    from .definition import TaskDefinition

UNTIL = {until.name.lower(): until for until in Until}
ACTIONS = {action.name.lower(): action for action in Action}
NEED_KEY = ("unique_until", "unique_for", "unique_action", "debounce_max")


def unique_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Unique | None:
    """Return what a call asks for, None if it is not unique. Raises ``ValueError`` or ``TypeError``."""
    if not asks(options):
        return None
    check_unique(name, options)
    definition = registry.find(name)
    template = options.get("unique_key")
    if template is not None:
        key = _rendered(name, template, args, kwargs, definition)
    elif options.get("unique"):
        key = _digest(name, args, kwargs, definition)
    else:
        key = ""
    key = f"{name}:{key}"
    if len(key) > LONGEST_KEY:
        raise ValueError(f"expected the unique key of {name} to have at most {LONGEST_KEY} characters, got: {key!r}")
    debounce = options.get("debounce") is not None
    return Unique(
        key,
        UNTIL[options.get("unique_until") or ("start" if debounce else "finish")],
        ACTIONS[options.get("unique_action") or ("replace" if debounce else "skip")],
        check_limit("unique_for", options.get("unique_for")),
        check_limit("debounce_max", options.get("debounce_max")),
    )


def asks(options: Mapping[str, Any]) -> bool:
    """Whether a call is to be unique, or says something that only unique calls can say. ``unique=False`` is a no."""
    if options.get("unique") is False:
        return False
    return any(options.get(option) is not None for option in ("unique", "unique_key", "debounce", *NEED_KEY))


def check_unique(name: str, options: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` or ``ValueError`` naming the first option of uniqueness that makes no sense."""
    unique, key, debounce = (options.get(option) for option in ("unique", "unique_key", "debounce"))
    if unique is not None and not isinstance(unique, bool):
        raise TypeError(f"expected unique of {name} to be True or False, got: {unique!r}")
    if key is not None and not (isinstance(key, str) and key):
        raise TypeError(f"expected unique_key of {name} to be a template such as 'invoice:{{id}}', got: {key!r}")
    if not (unique or key or debounce is not None):
        given = next(option for option in NEED_KEY if options.get(option) is not None)
        raise ValueError(f"expected {given} of {name} beside unique, unique_key or debounce, got none of these")
    for option, known in (("unique_until", UNTIL), ("unique_action", ACTIONS)):
        if options.get(option) is not None and options[option] not in known:
            raise ValueError(f"expected {option} of {name} to be one of {', '.join(known)}, got: {options[option]!r}")
    check_limit("unique_for", options.get("unique_for"))
    _check_debounce(name, options)


def _check_debounce(name: str, options: Mapping[str, Any]) -> None:
    pause = check_limit("debounce", options.get("debounce"))
    most = check_limit("debounce_max", options.get("debounce_max"))
    if pause is None:
        if most is not None:
            raise ValueError(f"expected debounce_max of {name} beside debounce, got no debounce")
        return
    if most is not None and most < pause:
        raise ValueError(f"expected debounce_max of {name} to be at least debounce ({pause:g} s), got: {most:g}")
    for option, only in (("unique_until", "start"), ("unique_action", "replace")):
        if options.get(option) not in (None, only):
            raise ValueError(f"expected {option} of {name} to be {only!r} with debounce, got: {options[option]!r}")
    for option in ("countdown", "eta"):
        if options.get(option) is not None:
            raise ValueError(f"expected no {option} for {name}: debounce={pause:g} says when it runs")


def check_template(definition: TaskDefinition) -> None:
    """Raise ``ValueError`` if the template of a definition names what is none of its parameters."""
    check = definition.check_call
    parameters = check.signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for _, field, _, _ in Formatter().parse(definition.unique_key or ""):
        if field is None:
            continue
        named = field.split(".")[0].split("[")[0]
        if named not in parameters and not (named.isdigit() and check.takes_more_than(int(named))):
            raise ValueError(
                f"expected unique_key of task {definition.name} to name parameters of its function "
                f"({', '.join(parameters) or 'none'}), got: {definition.unique_key!r}"
            )


def _rendered(name: str, template: str, args: Any, kwargs: Any, definition: TaskDefinition | None) -> str:
    positional, named = _bound(args, kwargs, definition)
    try:
        return template.format(*positional, **named)
    except (LookupError, AttributeError, ValueError) as error:
        raise ValueError(
            f"expected unique_key of {name} to name arguments of the call, got: {template!r} ({error!r})"
        ) from None


def _bound(args: Any, kwargs: Any, definition: TaskDefinition | None) -> tuple[Any, dict[str, Any]]:
    """Return positional arguments, and all arguments by the names of their parameters, if these are known."""
    if definition is None or not definition.typing:
        return args, dict(kwargs)
    bound = definition.check_call.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    further = next((p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    return args, {**bound.arguments, **(bound.arguments.get(further, {}) if further else {})}


def _digest(name: str, args: Any, kwargs: Any, definition: TaskDefinition | None) -> str:
    """Return a digest that two calls have in common if their arguments are equal, however they are passed."""
    if definition is not None and definition.typing:
        bound = definition.check_call.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        args, kwargs = bound.args, bound.kwargs
    try:
        text = encode([list(args), dict(kwargs)])
    except (EncodeError, TypeError, ValueError) as error:
        raise EncodeError(
            f"expected arguments of {name} that JSON can hold, because of unique=True, got: {error}. Give a unique_key."
        ) from None
    return hashlib.sha256(json.dumps(json.loads(text), sort_keys=True).encode()).hexdigest()[:32]
