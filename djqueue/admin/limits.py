"""The rate limit pages: what holds, what it holds back, and the place where it is changed while workers run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.limits import parse_rate
from djqueue.models import RateLimit
from djqueue.models.limits import Limited
from djqueue.rates import check_limited_queue, has_changed, set_queue_rate_limit, set_rate_limit
from djqueue.store.gates import SEPARATOR

from . import display

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[RateLimit]
    ModelForm = forms.ModelForm[RateLimit]
else:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm

COUNTED = 10_000
# Why this shape. The gates of a limit stand together in the primary key, and the order leaves no other way to them.
HELD_BACK = """
SELECT (
    SELECT count(*)
    FROM (
        SELECT FROM djqueue_parkedtask
        WHERE gate >= asked.first AND gate < asked.after
        ORDER BY gate, rank, seq
        LIMIT %s
    ) AS held
)
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS asked (first, after, place)
ORDER BY asked.place
"""
SPANS = ((1, _("s")), (60, _("min")), (3600, _("h")), (86400, _("d")))


class RateLimitForm(ModelForm):
    """Refuses what is no rate, and a limit that is there already."""

    class Meta:
        model = RateLimit
        fields = ("kind", "name", "rate", "strict")
        widgets = {"name": forms.TextInput(attrs={"size": 60}), "rate": forms.TextInput}
        help_texts = {
            "name": _("The whole name of a task, or of a queue."),
            "rate": _("As 10/s, 100/m, 5/h or 1000/d; 0 for no limit. Empty: as declared in the code."),
            "strict": _("One task at a time, evenly; otherwise tokens of half a second may be used at once."),
        }

    def clean_rate(self) -> str:
        rate = str(self.cleaned_data["rate"]).strip()
        try:
            parse_rate(rate or None)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return rate

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("kind") == Limited.QUEUE and cleaned.get("name"):
            try:
                check_limited_queue(cleaned["name"])
            except ValueError as error:
                self.add_error("name", str(error))
        return cleaned


class RateLimitChangeList(ChangeList):
    """Attaches to the limits of a page how many tasks they hold back."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        for limit, held_back in zip(self.result_list, count_parked(self.result_list), strict=True):
            limit.held_back = held_back


def count_parked(limits: Sequence[RateLimit]) -> list[int]:
    """Return the number of tasks that each of the limits holds back, counted to one more than ``COUNTED``."""
    prefixes = [f"{Limited(limit.kind).name.lower()} {limit.name}" for limit in limits]
    first, after = ([prefix + end for prefix in prefixes] for end in (SEPARATOR, chr(ord(SEPARATOR) + 1)))
    with connections[settings.DATABASE].cursor() as cursor:
        cursor.execute(HELD_BACK, (COUNTED + 1, first, after))
        return [row[0] for row in cursor.fetchall()]


class KindFilter(admin.ChoicesFieldListFilter):
    """Its title is said after "By"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("kind")


@admin.register(RateLimit)
class RateLimitAdmin(ModelAdmin):
    form = RateLimitForm
    list_display = ("name", "kind", "holds", "rate", "declared", "strict", "parked")
    list_filter = (("kind", KindFilter),)
    search_fields = ("name",)
    ordering = ("kind", "name")
    readonly_fields = ("declared", "holds", "parked", "changed")
    fields = ("kind", "name", "rate", "strict", "declared", "holds", "parked", "changed")
    show_full_result_count = False

    class Media:
        css = {"all": ["djqueue/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateLimit]:
        return super().get_queryset(request).using(settings.DATABASE)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RateLimitChangeList]:
        return RateLimitChangeList

    def get_fields(self, request: HttpRequest, obj: RateLimit | None = None) -> Any:
        return self.fields if obj is not None else RateLimitForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: RateLimit | None = None) -> Any:
        """What a limit is about stays: what it holds back is stored under that name."""
        return self.readonly_fields if obj is None else ("kind", "name", *self.readonly_fields)

    def has_delete_permission(self, request: HttpRequest, obj: RateLimit | None = None) -> bool:
        """What is declared in code would come back; it can be set to 0."""
        return super().has_delete_permission(request, obj) and (obj is None or not obj.declared)

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: bool) -> None:
        verb = set_queue_rate_limit if obj.kind == Limited.QUEUE else set_rate_limit
        verb(obj.name, obj.rate or None, strict=obj.strict)
        stored = RateLimit.objects.using(settings.DATABASE).get(kind=obj.kind, name=obj.name)
        obj.pk, obj.per_second = stored.pk, stored.per_second

    def delete_model(self, request: HttpRequest, obj: RateLimit) -> None:
        self._delete([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RateLimit]) -> None:
        self._delete(queryset.filter(declared=""))

    def _delete(self, limits: Iterable[RateLimit]) -> None:
        """Let go what they hold back as well."""
        for limit in limits:
            RateLimit.objects.using(settings.DATABASE).filter(pk=limit.pk).delete()
            has_changed(connections[settings.DATABASE], limit.kind, limit.name)

    @admin.display(description=_("holds"))
    def holds(self, limit: RateLimit) -> str:
        return in_words(limit.per_second)

    @admin.display(description=_("holds back"))
    def parked(self, limit: Any) -> str:
        number = limit.held_back if hasattr(limit, "held_back") else count_parked([limit])[0]
        count = display.number(min(number, COUNTED))
        return ngettext("%(count)s task", "%(count)s tasks", number) % {
            "count": f"{count}+" if number > COUNTED else count
        }

    @admin.display(description=_("changed"))
    def changed(self, limit: RateLimit) -> str:
        return display.moment(limit.changed_at)


def in_words(per_second: float | None) -> str:
    """Return a rate in the shortest unit in which it is at least one."""
    if per_second is None:
        return gettext("no limit")
    seconds, unit = next((span for span in SPANS if per_second * span[0] >= 1), SPANS[-1])
    number = round(per_second * seconds, 3)
    shown = number_format(int(number) if number == int(number) else number)
    return gettext("%(number)s per %(unit)s") % {"number": shown, "unit": unit}
