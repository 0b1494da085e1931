"""Search by contents: tasks whose arguments or headers contain some JSON, among the newest."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.translation import gettext

from djqueue.conf import settings
from djqueue.models import Task
from djqueue.redaction import redact

LOOKED_AT = 50_000
"""No index knows what JSON contains, so only so many of the newest tasks are read."""
PLACES = {"args": list, "kwargs": dict, "headers": dict}


def by_contents(request: HttpRequest, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
    """Return the tasks that contain ``term``, such as ``{"order": 17}`` or ``args:[1]``; None if it is no JSON."""
    place, colon, text = term.partition(":")
    if not colon or place not in PLACES:
        place, text = "kwargs" if term.startswith("{") else "args", term
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        wanted = json.loads(text)
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
    return _among_the_newest(request, queryset, place, wanted)


def _among_the_newest(request: HttpRequest, queryset: QuerySet[Any], place: str, wanted: Any) -> QuerySet[Any]:
    newest = Task.objects.using(settings.DATABASE).order_by("-pk").values_list("pk", flat=True)
    oldest = list(newest[LOOKED_AT : LOOKED_AT + 1])
    if oldest:
        queryset = queryset.filter(pk__gt=oldest[0])
        count = number_format(LOOKED_AT, force_grouping=True)
        messages.info(request, gettext("Looked for among the newest %(count)s tasks.") % {"count": count})
    if place == "headers":
        return queryset.filter(options__contains={"headers": wanted})
    return queryset.filter(**{f"{place}__contains": wanted})
