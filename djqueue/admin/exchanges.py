"""The exchange pages: which queues calls reach by exchange and routing key, and how to change that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import BaseInlineFormSet, ModelForm, ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.models import Binding, Exchange
from djqueue.routing.topics import check_binding_key

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Exchange]
    Inline = admin.TabularInline[Binding, Exchange]
    FormSet = BaseInlineFormSet[Binding, Exchange, ModelForm[Binding]]
else:
    ModelAdmin, Inline, FormSet = admin.ModelAdmin, admin.TabularInline, BaseInlineFormSet


class BindingFormSet(FormSet):
    def clean(self) -> None:
        """Judge routing keys by the kind that the exchange is about to have."""
        super().clean()
        for form in self.forms:
            given = form.cleaned_data if form.is_valid() else {}
            if given.get("queue") and not given.get("DELETE"):
                try:
                    check_binding_key(self.instance.kind, given["routing_key"])
                except ValueError as error:
                    form.add_error("routing_key", ValidationError(str(error)))


class BindingInline(Inline):
    model = Binding
    formset = BindingFormSet
    extra = 1


@admin.register(Exchange)
class ExchangeAdmin(ModelAdmin):
    list_display = ("name", "kind", "number_of_bindings", "description")
    list_filter = ("kind",)
    search_fields = ("name", "bindings__queue", "bindings__routing_key")
    ordering = ("name",)
    inlines = (BindingInline,)

    class Media:
        css = {"all": ["djqueue/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Exchange]:
        rows = super().get_queryset(request).using(settings.DATABASE)
        return rows.annotate(number_of_bindings=Count("bindings"))

    def get_readonly_fields(self, request: HttpRequest, obj: Exchange | None = None) -> tuple[str, ...]:
        return ("name",) if obj is not None else ()

    @admin.display(description=_("bindings"), ordering="number_of_bindings")
    def number_of_bindings(self, exchange: Any) -> int:
        return int(exchange.number_of_bindings)
