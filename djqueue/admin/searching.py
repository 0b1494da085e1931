"""Search by contents: tasks whose arguments or headers contain some JSON, among the newest."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext

from djqueue.conf import settings
from djqueue.models import Task
from djqueue.redaction import redact

from . import display

LOOKED_AT = 50_000
"""No index knows what JSON contains, so only so many of the newest tasks are read."""
WALKED = 100_000
"""Nor is there one by queue or name; these are cheaper to look at."""
PLACES = {"args": list, "kwargs": dict, "headers": dict}


def named_in(term: str) -> bool:
    """Whether a search is for the name of a definition."""
    term = term.strip()
    if not term or term.startswith(("{", "[")) or term.partition(":")[0] in PLACES:
        return False
    try:
        UUID(term)
    except ValueError:
        return True
    return False


def by_contents(request: HttpRequest, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
    """Return the tasks that contain ``term``, such as ``{"order": 17}`` or ``args:[1]``; None if it is no JSON."""
    place, colon, text = term.partition(":")
    if not colon or place not in PLACES:
        place, text = "kwargs" if term.startswith("{") else "args", term
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        wanted = as_json(text)
    except ValueError as error:
        messages.error(request, gettext("This is no JSON: %(error)s") % {"error": error})
        return queryset.none()
    if not isinstance(wanted, PLACES[place]):
        expected = "[…]" if PLACES[place] is list else "{…}"
        said = gettext("Expected %(place)s to be searched for %(expected)s.")
        messages.error(request, said % {"place": place, "expected": expected})
        return queryset.none()
    if redact(wanted) != wanted:
        # Whoever can ask whether a secret is this or that can find it out.
        messages.error(request, gettext("What is hidden in lists cannot be searched for."))
        return queryset.none()
    return _containing(request, queryset, place, wanted)


def among_the_newest(request: HttpRequest, queryset: QuerySet[Any], number: int) -> QuerySet[Any]:
    """Leave only tasks that are among so many of the newest, and say so if there are others."""
    newest = Task.objects.using(settings.DATABASE).order_by("-pk").values_list("pk", flat=True)
    beyond = list(newest[number : number + 1])
    if not beyond:
        return queryset
    note_bound(request, number)
    return queryset.filter(pk__gt=beyond[0])


def note_bound(request: HttpRequest, number: int, state: Any = "") -> None:
    """Say that only so many of the newest tasks were looked at; once, and not to who sent a form."""
    if request.method == "GET" and not getattr(request, "djqueue_noted", False):
        request.djqueue_noted = True  # type: ignore[attr-defined]
        count = display.number(number)
        if state:
            said = gettext("Looked for among the newest %(count)s tasks that are %(state)s.")
        else:
            said = gettext("Looked for among the newest %(count)s tasks.")
        messages.info(request, said % {"count": count, "state": state})


def as_json(text: str) -> Any:
    """Return what JSON says. Raises ``ValueError`` for what is none, or cannot be held by PostgreSQL's ``jsonb``."""
    value = json.loads(text, parse_constant=_no_constant)
    held = json.dumps(value, ensure_ascii=False).replace("\\\\", "")
    held.encode()  # fails for a lone surrogate
    if "\\u0000" in held:
        raise ValueError("no text may have a null character")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _containing(request: HttpRequest, queryset: QuerySet[Any], place: str, wanted: Any) -> QuerySet[Any]:
    if not request.GET.get("state"):  # which has a bound of its own
        queryset = among_the_newest(request, queryset, LOOKED_AT)
    if place == "headers":
        return queryset.filter(options__contains={"headers": wanted})
    return queryset.filter(**{f"{place}__contains": wanted})
