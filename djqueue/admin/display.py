"""How states, values, errors and times look in the admin: everything escaped, nothing inline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from djqueue.control.pausing import FOREVER
from djqueue.states import Ending, State

EMPTY = "-"
SHOWN_CHARACTERS = 50_000
"""A stored result may have megabytes; nobody reads them in a browser."""

STATE_WORDS = {
    State.WAITING: gettext_lazy("waiting"),
    State.SCHEDULED: gettext_lazy("scheduled"),
    State.READY: gettext_lazy("ready"),
    State.RUNNING: gettext_lazy("running"),
    State.SUCCEEDED: gettext_lazy("succeeded"),
    State.FAILED: gettext_lazy("failed"),
    State.CANCELLED: gettext_lazy("cancelled"),
}
STATE_SYMBOLS = {
    State.WAITING: "…",
    State.SCHEDULED: "◷",
    State.READY: "•",
    State.RUNNING: "▶",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "⊘",
}
OUTCOME_WORDS = {
    Ending.FAILED: gettext_lazy("failed"),
    Ending.LOST: gettext_lazy("lost"),
    Ending.RETRIED: gettext_lazy("retried"),
}


def state_label(code: int) -> SafeString:
    """Return a state as symbol and word; never as a colour alone."""
    state = State(code)
    return labelled(state.name.lower(), STATE_SYMBOLS[state], str(STATE_WORDS[state]))


def workflow_label(state: str) -> SafeString:
    """Return the state of a workflow, named as those of tasks are."""
    return state_label(State[state.upper()])


def labelled(kind: str, symbol: str, word: str) -> SafeString:
    return format_html(
        '<span class="djqueue-state djqueue-{}"><span aria-hidden="true">{}</span> {}</span>',
        kind,
        symbol,
        word,
    )


def breakable(name: str) -> SafeString:
    """Return a dotted name that is broken between its words where it is too long for its place."""
    words = re.findall(r"[^._]+[._]*|[._]+", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((word,) for word in words))


def pretty_json(value: Any) -> SafeString:
    """Return a JSON value indented, cut where it is very long."""
    return preformatted(json.dumps(value, indent=2, ensure_ascii=False))


def preformatted(text: str) -> SafeString:
    rest = len(text) - SHOWN_CHARACTERS
    if rest > 0:
        more = _("… %(count)s more characters") % {"count": number(rest)}
        text = f"{text[:SHOWN_CHARACTERS]}\n{more}"
    return format_html('<pre class="djqueue-text">{}</pre>', text)


def error_line(error: dict[str, Any]) -> str:
    message = error.get("exc_message")
    arguments = message if isinstance(message, list) else [message]
    # An exception without arguments may still have something to say.
    arguments = arguments or [error.get("exc_text", "")]
    return f"{error.get('exc_type', _('unknown error'))}: {', '.join(str(a) for a in arguments)}".rstrip(": ")


def facts(pairs: Iterable[tuple[Any, Any]]) -> SafeString:
    """Return labels with their values, as a list of definitions."""
    return format_html('<dl class="djqueue-facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs))


def number(value: int) -> str:
    """Return a number with thousands apart, as the language writes it."""
    return str(number_format(value, force_grouping=True))


def number_of(field: str, label: Any) -> Callable[[Any, Any], str]:
    """Return a column of an admin that shows a field in this way."""

    @admin.display(description=label, ordering=field)
    def shown(_admin: Any, row: Any) -> str:
        return number(getattr(row, field))

    return shown


def moment(time: datetime | None) -> str:
    """Return a time to the second, in the current time zone; the usual admin format ends at the minute."""
    if time is None:
        return EMPTY
    return date_format(localtime(time) if is_aware(time) else time, "Y-m-d H:i:s")


def pause_end(until: datetime | None) -> str:
    """Return when a pause ends, "-" where there is none or it is over."""
    if until is None or until <= timezone.now():
        return EMPTY
    return _("until resumed") if until >= FOREVER else moment(until)


def duration(length: timedelta | None) -> str:
    """Return a length of time in at most two units, such as ``3 h 20 min``."""
    if length is None:
        return EMPTY
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {int(seconds) % 60} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def between(start: datetime | None, end: datetime | None) -> str:
    return EMPTY if start is None or end is None else duration(end - start)


def task_link(task_id: object) -> SafeString:
    return page_link("task", task_id, task_id)


def page_link(model: str, key: object, text: object) -> SafeString:
    url = reverse(f"admin:djqueue_{model}_change", args=[quote(str(key))])
    return format_html('<a href="{}">{}</a>', url, text)
