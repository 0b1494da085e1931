"""What all our admin pages share: nothing can be changed, and no page reads a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from djqueue.conf import settings

from .paging import CappedChangeList, CappedPaginator

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Shows rows to those who may view them, on the database that holds the queue."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 100
    list_max_show_all = 0
    list_only: Sequence[str] = ()
    """The columns that the list reads; empty means all."""

    class Media:
        css = {"all": ["djqueue/admin.css", "djqueue/monitor.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(settings.DATABASE)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CappedChangeList]:
        return CappedChangeList

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: Any,
        per_page: int,
        orphans: int = 0,
        allow_empty_first_page: bool = True,
    ) -> Any:
        if queryset.model is not self.model:  # its history
            return super().get_paginator(request, queryset, per_page, orphans, allow_empty_first_page)
        return CappedPaginator(queryset, per_page, rows=partial(self.list_rows, request))

    def list_rows(self, request: HttpRequest, keys: Sequence[Any]) -> list[Any]:
        """Return the rows of one page in the order of ``keys``; one that is gone meanwhile is left out."""
        queryset = self.get_queryset(request).order_by()
        found = (queryset.only(*self.list_only) if self.list_only else queryset).in_bulk(keys)
        return [found[key] for key in keys if key in found]


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Whether the user may view rows of ``model``."""
    user: Any = request.user
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))
