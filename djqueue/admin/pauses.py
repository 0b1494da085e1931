"""The pause pages: tasks by name and keys that nobody starts for a while. Adding a row pauses, deleting it resumes."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.control.pausing import FOREVER, pause, resume
from djqueue.models import Pause

from . import display
from .readonly import ReadOnlyAdmin


class PauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """Empty means until it is resumed."""

    until = forms.SplitDateTimeField(
        label=capfirst(_("until")),
        required=False,
        widget=AdminSplitDateTime,
        help_text=_("Empty: until the pause is deleted."),
    )

    class Meta:
        model = Pause
        fields = ("kind", "name", "until")
        widgets = {"name": forms.TextInput(attrs={"class": "vTextField"})}

    def clean_until(self) -> Any:
        until = self.cleaned_data["until"] or FOREVER
        if until <= timezone.now():
            raise forms.ValidationError(_("This time has passed."))
        return until


@admin.register(Pause)
class PauseAdmin(ReadOnlyAdmin):
    form = PauseForm
    list_display = ("name", "kind", "ends", "since")
    ordering = ("kind", "name")

    def get_fields(self, request: HttpRequest, obj: Pause | None = None) -> Any:
        return ("kind", "name", "until") if obj is None else ("kind", "name", "ends", "since")

    def get_readonly_fields(self, request: HttpRequest, obj: Pause | None = None) -> Any:
        return () if obj is None else ("kind", "name", "ends", "since")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Pause, form: Any, change: bool) -> None:
        named: dict[str, Any] = {obj.kind: obj.name}
        pause(**named, until=obj.until)
        obj.pk = Pause.objects.using(settings.DATABASE).get(kind=obj.kind, name=obj.name).pk

    def delete_model(self, request: HttpRequest, obj: Pause) -> None:
        resume(**{obj.kind: obj.name})

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Pause]) -> None:
        with transaction.atomic(using=settings.DATABASE):
            for obj in queryset:
                self.delete_model(request, obj)

    @admin.display(description=_("until"))
    def ends(self, obj: Pause) -> str:
        if obj.until >= FOREVER:
            return str(_("it is resumed"))
        ended = obj.until <= timezone.now()
        return f"{display.moment(obj.until)} ({_('has ended')})" if ended else display.moment(obj.until)

    @admin.display(description=_("since"))
    def since(self, obj: Pause) -> str:
        return display.moment(obj.paused_at)
