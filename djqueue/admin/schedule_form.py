"""The form of a schedule: what is typed, checked by the same code that a beat runs."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, TypedDict
from zoneinfo import available_timezones

from django import forms
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.forms.widgets import Textarea, TextInput
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from djqueue import registry
from djqueue.models import Schedule
from djqueue.schedules import stored
from djqueue.schedules.sun import EVENTS
from djqueue.schedules.words import in_words

UNITS = {"": 1, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
UNITS |= {"d": 86400, "day": 86400, "w": 604800, "week": 604800}
PART = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
SHORT_UNITS = (("d", 86400), ("h", 3600), ("min", 60))

TIMING_FIELDS = (
    "kind", "expression", "every", "relative", "clocked_at", "solar_event", "latitude", "longitude", "timezone",
    "start_at", "end_at", "one_off",
)  # fmt: skip
"""Fields that decide when a schedule is due, and that are checked while somebody types."""
SLOTS_SHOWN = 5


def parse_span(text: str) -> timedelta:
    """Return a length of time typed as ``90``, ``90 s``, ``1 h 30 min`` or ``2 days``. Raises ``ValueError``."""
    total, place = 0.0, 0
    while place < len(text):
        match = PART.match(text, place)
        unit = match[2].lower() if match else ""
        unit = unit if unit in UNITS else unit.removesuffix("s")
        if match is None or unit not in UNITS:
            raise ValueError(f"expected a length of time such as 90 s, 5 min, 1 h 30 min or 2 days, got: {text!r}")
        total += float(match[1].replace(",", ".")) * UNITS[unit]
        place = match.end()
    try:
        return timedelta(seconds=total)
    except OverflowError:
        raise ValueError(f"expected a length of time of less than a thousand years, got: {text!r}") from None


def span_text(span: timedelta) -> str:
    """Return a length of time as ``parse_span`` reads it, such as ``1 h 30 min``."""
    seconds, parts = span.total_seconds(), []
    for unit, length in SHORT_UNITS:
        number = int(seconds // length)
        if number:
            parts.append(f"{number} {unit}")
            seconds -= number * length
    if seconds or not parts:
        parts.append(f"{round(seconds, 6):g} s")
    return " ".join(parts)


class SpanField(forms.CharField):
    """A length of time in words that a person would type."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, timedelta):
            return value
        text = super().to_python(value)
        if not text:
            return None
        try:
            return parse_span(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def prepare_value(self, value: Any) -> Any:
        return span_text(value) if isinstance(value, timedelta) else value


class JitterField(SpanField):
    """Left empty it is none."""

    def to_python(self, value: Any) -> Any:
        return super().to_python(value) or timedelta(0)


class ListedTextInput(TextInput):
    """A text input that offers values: a ``datalist`` of the template."""

    def __init__(self, listed: str, **attrs: Any) -> None:
        super().__init__({"list": listed, "autocomplete": "off", "class": "vTextField", **attrs})


class SlotShown(TypedDict):
    """A slot as it is shown: in the schedule's zone, and in UTC."""

    local: str
    utc: str


class Preview(TypedDict):
    """What a schedule says of itself: as JSON for the page, or for a template."""

    words: str
    zone: str
    slots: list[SlotShown]
    note: str
    errors: dict[str, list[str]]


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg] # subscriptable for type checkers only
    """All of a schedule that people decide."""

    every = SpanField(
        label=_("Every"), required=False, help_text=_("A length of time: 30 s, 5 min, 1 h 30 min, 2 days.")
    )
    expires = SpanField(
        label=_("Expires after"), required=False,
        help_text=_("A task that has not started so long after it was enqueued is dropped. Empty: that of the task."),
    )  # fmt: skip
    jitter = JitterField(
        label=_("Jitter"), required=False,
        help_text=_("Up to so long each task is delayed, at random, so that many do not start at once."),
    )  # fmt: skip
    solar_event = forms.ChoiceField(
        label=_("Event of the sun"), required=False,
        choices=[("", "---------"), *((event, event.replace("_", " ")) for event in EVENTS)],
    )  # fmt: skip

    class Meta:
        model = Schedule
        fields = (
            "name", "task", "args", "kwargs", "enabled", "description",
            "kind", "expression", "every", "relative", "clocked_at", "solar_event", "latitude", "longitude",
            "timezone", "start_at", "end_at", "one_off",
            "misfire", "misfire_limit", "overlap", "jitter", "expires", "queue", "priority", "options",
        )  # fmt: skip
        widgets = {
            "name": TextInput({"class": "vTextField"}),
            "task": ListedTextInput("djqueue-tasks"),
            "expression": TextInput({"class": "vTextField", "spellcheck": "false"}),
            "timezone": ListedTextInput("djqueue-zones", spellcheck="false"),
            "queue": TextInput({"class": "vTextField"}),
            "args": Textarea({"rows": 2, "class": "vLargeTextField", "spellcheck": "false"}),
            "kwargs": Textarea({"rows": 2, "class": "vLargeTextField", "spellcheck": "false"}),
            "options": Textarea({"rows": 2, "class": "vLargeTextField", "spellcheck": "false"}),
            "description": Textarea({"rows": 2, "class": "vLargeTextField"}),
        }
        help_texts = {
            "expression": _(
                "Minute, hour, day of the month, month, day of the week. In a crontab, as in Celery, all five must "
                "match. In a cron string either day is enough if both are given, and @daily, L, # and seconds as a "
                "sixth field are known."
            ),
            "relative": _("At whole days, hours or minutes of the clock on the wall, rather than from slot to slot."),
            "clocked_at": _("Runs once, at this time."),
            "latitude": _("Degrees, north is positive."),
            "longitude": _("Degrees, east is positive."),
            "start_at": _("An interval counts from here."),
            "options": _("Options of apply_async as JSON, such as headers."),
            "misfire": _("What to do about slots that passed while no beat was there."),
            "one_off": _("Switches itself off after its next run."),
        }

    def clean_args(self) -> Any:
        return [] if self.cleaned_data["args"] is None else self.cleaned_data["args"]

    def clean_kwargs(self) -> Any:
        return {} if self.cleaned_data["kwargs"] is None else self.cleaned_data["kwargs"]

    def clean_options(self) -> Any:
        return {} if self.cleaned_data["options"] is None else self.cleaned_data["options"]

    def clean_clocked_at(self) -> datetime | None:
        """A run in the past would never come."""
        at: datetime | None = self.cleaned_data["clocked_at"]
        from_now = at is not None and "clocked_at" in self.changed_data
        if from_now and self.data.get(self.add_prefix("kind")) == stored.CLOCKED and at < _now():  # type: ignore[operator]
            raise ValidationError(gettext("expected a moment in the future, got: %(at)s") % {"at": at})
        return at

    def add_error(self, field: str | None, error: Any) -> None:
        """Leave out what the model says of a field that could not even be read."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            known = {name: texts for name, texts in error.error_dict.items() if name not in self.errors}
            if not known:
                return
            error = ValidationError(known)
        super().add_error(field, error)

    def preview(self) -> Preview:
        """Return what the typed timing means, or what is wrong with it."""
        self.full_clean()
        errors = {name: [str(text) for text in self.errors[name]] for name in TIMING_FIELDS if name in self.errors}
        if errors:
            return Preview(words="", zone="", slots=[], note="", errors=errors)
        return preview_of(self.instance)


def _now() -> datetime:
    return datetime.now().astimezone()


def preview_of(schedule: Schedule) -> Preview:
    """Return a schedule in words, with its next slots as if it were switched on now."""
    try:
        words, zone = in_words(schedule.timing()), schedule.zone
        slots = schedule.next_slots(SLOTS_SHOWN, _now())
    except (ValueError, TypeError, ImportError, OverflowError) as error:
        return Preview(words="", zone="", slots=[], note=str(error), errors={})
    shown = [
        SlotShown(local=date_format(slot.astimezone(zone), "D Y-m-d H:i:s O"), utc=f"{slot:%Y-%m-%d %H:%M:%S}")
        for slot in slots
    ]
    note = "" if schedule.enabled else gettext("It is switched off.")
    note = note if slots else gettext("It will never run.")
    return Preview(words=words, zone=str(zone), slots=shown, note=note, errors={})


def offered() -> dict[str, list[str]]:
    """Return the values that the form offers: tasks that this process knows, and time zones."""
    zones = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    return {"tasks": list(registry.names()), "zones": ["UTC", *zones], "site_zone": [django_settings.TIME_ZONE]}
