"""Tags, which are headers and stamps: those of a task, and the tasks that have one, among the newest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue.redaction import redact

from . import display
from .searching import LOOKED_AT, among_the_newest, as_json


class TagFilter(admin.SimpleListFilter):
    """A field to type ``name=value`` or only ``name``. List it before the state.

    ``7`` stands for the text as well as the number; a stamp that is a list has each of its values.
    """

    title = _("tag")
    template = "admin/djqueue/task/by_tag.html"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        """Return that there is something to show, though there is nothing to choose from."""
        return True

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return what the form holds: the tag, and the parameters that go with it."""
        others = [(name, value) for name, value in changelist.params.items() if name != self.parameter_name]
        yield {"name": self.parameter_name, "value": self.value() or "", "others": others}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        tag = (self.value() or "").strip()
        if not tag:
            return queryset
        name, given, value = (part.strip() for part in tag.partition("="))
        if not name:
            raise IncorrectLookupParameters(f"expected a tag to be name=value, or only its name, got: {tag!r}")
        if redact({name: value}) != {name: value}:
            # Whoever can ask whether a secret is this or that can find it out.
            messages.error(request, gettext("What is hidden in lists cannot be searched for."))
            return queryset.none()
        try:
            carried = _with(name, value) if given else _named(name)
        except ValueError as error:
            raise IncorrectLookupParameters(f"expected a tag that JSON can hold, got: {tag!r}") from error
        if not request.GET.get("state"):  # which has a bound of its own
            queryset = among_the_newest(request, queryset, LOOKED_AT)
        return queryset.filter(carried)


def _named(name: str) -> Q:
    as_json(json.dumps(name))
    return Q(options__headers__has_key=name) | Q(options__stamps__has_key=name)


def _with(name: str, text: str) -> Q:
    as_json(json.dumps([name, text]))
    values: list[Any] = [text]
    try:
        value = as_json(text)
    except ValueError:
        pass  # it is a text and nothing else
    else:
        values += [] if isinstance(value, list | dict) else [value]
    found = Q()
    for value in values:
        for held in ({"headers": {name: value}}, {"stamps": {name: value}}, {"stamps": {name: [value]}}):
            found |= Q(options__contains=held)
    return found


def shown(task: Any) -> SafeString | str:
    """Show the headers and stamps of a task, each a link to the others that have it. What is redacted is no link."""
    options = task.options if isinstance(task.options, dict) else {}
    rows = [row for place in ("headers", "stamps") for row in _rows(place, options.get(place))]
    if not rows:
        return display.EMPTY
    return format_html('<ul class="djqueue-headers">{}</ul>', format_html_join("", "<li>{}</li>", rows))


def _rows(place: str, tags: Any) -> Iterator[tuple[Any]]:
    if not isinstance(tags, dict):
        return
    seen, url = redact(tags), reverse("admin:djqueue_task_changelist")
    for name, value in tags.items():
        words = f"{name}: {json.dumps(seen[name], ensure_ascii=False)}"
        asked = _question(place, name, value) if seen[name] == value else None
        yield (words if asked is None else format_html('<a href="{}?{}">{}</a>', url, urlencode(asked), words),)


def _question(place: str, name: str, value: Any) -> dict[str, str] | None:
    """Return the parameters that ask for all tasks with a tag, None if there are none."""
    if "=" not in name and name.strip() == name and not isinstance(value, list | dict):
        return {"tag": f"{name}={value if isinstance(value, str) else json.dumps(value)}"}
    # A name with = in it, or a value in parts, can only be asked for as JSON, which knows headers.
    return {"q": f"headers:{json.dumps({name: value}, ensure_ascii=False)}"} if place == "headers" else None
