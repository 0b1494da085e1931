"""Enqueueing by hand: a form for each task that the site allows, made from the annotations of its function."""

from __future__ import annotations

import inspect
import json
import typing
from datetime import date, datetime, time
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Literal

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from djqueue import registry
from djqueue.conf import settings
from djqueue.converters.annotations import of_function
from djqueue.routing import HIGHEST_PRIORITY, LOWEST_PRIORITY, check_queue

PREFIX = "arg_"
EXAMPLES = {datetime: "2030-01-02T03:04:05+00:00", date: "2030-01-02", time: "03:04:05"}


def allowed_tasks() -> list[str]:
    """Return the names of tasks that ``DJQUEUE["ENQUEUE_BY_HAND"]`` allows, sorted."""
    if not settings.ENQUEUE_BY_HAND:
        return []
    registry.load_all()
    return sorted(name for name in registry.names() if is_allowed(name))


def is_allowed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in settings.ENQUEUE_BY_HAND)


class JsonField(forms.CharField):
    """Text that is JSON."""

    widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValidationError(_("This is no JSON: %(error)s"), params={"error": error}) from error


class PlaceForm(forms.Form):
    """Where and when a task is to run. A field that is left empty is not passed."""

    queue = forms.CharField(label=_("Queue"), required=False, help_text=_("Empty: where the task belongs."))
    priority = forms.IntegerField(
        label=_("Priority"), required=False, min_value=LOWEST_PRIORITY, max_value=HIGHEST_PRIORITY,
        help_text=_("Higher runs first."),
    )  # fmt: skip
    run_at = forms.SplitDateTimeField(
        label=_("Run at"), required=False, widget=AdminSplitDateTime, help_text=_("Empty: now.")
    )

    def clean_queue(self) -> str:
        name: str = self.cleaned_data["queue"]
        if name:
            try:
                check_queue(name)
            except ValueError as error:
                raise ValidationError(str(error)) from error
        return name

    def options(self) -> dict[str, Any]:
        """Return the options of the call."""
        cleaned = self.cleaned_data
        found = {"queue": cleaned["queue"], "priority": cleaned["priority"], "eta": cleaned["run_at"]}
        return {name: value for name, value in found.items() if value not in (None, "")}


class EnqueueForm(PlaceForm):
    """Arguments of one task, and where and when it is to run."""

    def __init__(self, definition: Any, data: Any = None) -> None:
        super().__init__(data)
        self.definition = definition
        hints = of_function(definition.run)
        own = {
            PREFIX + parameter.name: _field(parameter, hints.get(parameter.name))
            for parameter in definition.check_call.signature.parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        self.fields = {**own, **self.fields}

    def clean(self) -> dict[str, Any]:
        """Check the arguments as a call does."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                cleaned["kwargs"] = self._arguments(cleaned)
            except (TypeError, ValueError) as error:
                raise ValidationError(str(error)) from error
        return cleaned

    def _arguments(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        given = {
            name.removeprefix(PREFIX): value
            for name, value in cleaned.items()
            if name.startswith(PREFIX) and value not in (None, "")
        }
        self.definition.check_call((), given)
        _args, typed = self.definition.typed_arguments.decode((), given)
        return dict(typed)

    def enqueue(self) -> Any:
        """Enqueue the task; return its result. Raises what ``apply_async`` raises."""
        return self.definition.apply_async(kwargs=self.cleaned_data["kwargs"], **self.options())


def _field(parameter: inspect.Parameter, hint: Any) -> forms.Field:
    """Return the field for a parameter: a text for a text, a number for a number, else JSON."""
    required = parameter.default is parameter.empty
    hint, optional = _without_none(hint)
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    said = "" if required else _("Empty: %(default)r.") % {"default": default}
    common: dict[str, Any] = {
        "label": parameter.name, "required": required and not optional, "help_text": said, "label_suffix": "",
    }  # fmt: skip
    if hint is bool:
        choices = [("", "---"), ("true", _("yes")), ("false", _("no"))]
        return forms.TypedChoiceField(choices=choices, coerce=lambda text: text == "true", empty_value=None, **common)
    if hint is int:
        return forms.IntegerField(**common)
    if hint is float:
        return forms.FloatField(**common)
    if hint is str:
        return forms.CharField(widget=forms.TextInput(attrs={"class": "vTextField"}), empty_value=None, **common)
    if options := _choices(hint):
        # By their places: values may be of any kind.
        places = [("", "---"), *((str(place), str(value)) for place, value in enumerate(options))]
        return forms.TypedChoiceField(
            choices=places, coerce=lambda place: options[int(place)], empty_value=None, **common
        )
    if isinstance(hint, type) and hint.__name__ in ("datetime", "date", "time", "Decimal", "UUID"):
        example = EXAMPLES.get(hint, "")
        widget = forms.TextInput(attrs={"class": "vTextField", "placeholder": example})
        return forms.CharField(widget=widget, empty_value=None, **common)
    return JsonField(**{**common, "help_text": f"{_('JSON.')} {said}".strip()})


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return what may be passed besides None, and whether that may."""
    options = typing.get_args(hint)
    if type(None) not in options:
        return hint, False
    others = [option for option in options if option is not type(None)]
    return (others[0] if len(others) == 1 else None), True


def _choices(hint: Any) -> list[Any]:
    """Return the values of an enum, as they are stored, or of a literal."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [member.value for member in hint]
    return list(typing.get_args(hint)) if typing.get_origin(hint) is Literal else []
