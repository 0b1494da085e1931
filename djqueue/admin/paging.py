"""Lists that never count a table: the keys of the first 10,000 rows are read once, and paged through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from . import display

LISTED = 10_000
"""Rows that a list shows at the most. Its last page then costs no more than its first."""

ESTIMATE = "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass"

if TYPE_CHECKING:
    KeysetPaginator = Paginator[Any]
else:
    KeysetPaginator = Paginator


class CappedPaginator(KeysetPaginator):
    """Reads the keys of the first ``LISTED`` rows in one query, and whole rows for the asked page only.

    A COUNT and a page would be two scans where no index answers the filter; and what is annotated or wide is
    computed for a hundred rows then, not for those that OFFSET skips.
    """

    def __init__(
        self, object_list: QuerySet[Any], per_page: int, *, rows: Callable[[Sequence[Any]], list[Model]]
    ) -> None:
        super().__init__(object_list, per_page)
        self.rows = rows

    @cached_property
    def keys(self) -> list[Any]:
        queryset: Any = self.object_list
        return list(queryset.values_list("pk", flat=True)[: LISTED + 1])

    @cached_property
    def count(self) -> int:
        return min(len(self.keys), LISTED)

    @property
    def has_more(self) -> bool:
        return len(self.keys) > LISTED

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        keys = self.keys[bottom : min(bottom + self.per_page, LISTED)]
        return Page(self.rows(keys), number, self)


class CappedChangeList(ChangeList):
    """A change list in the admin's own order, whatever ``?o=`` says: no index would answer another."""

    paginator: CappedPaginator

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return list(self.model_admin.get_ordering(request))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # For an action on all of them, which would read them a second time.
        request.djqueue_listed = self.paginator.keys  # type: ignore[attr-defined]
        if not self.multi_page:
            self.result_list = self.paginator.page(1).object_list

    @property
    def note(self) -> str:
        """What the number of rows under the list leaves out."""
        if not self.paginator.has_more:
            return ""
        listed = display.number(LISTED)
        about = 0 if self.queryset.query.where else self._estimate()
        if about < LISTED:  # it may have been estimated when there were few
            return _("More than %(listed)s match; the newest %(listed)s are listed.") % {"listed": listed}
        text = _("About %(about)s in all; the newest %(listed)s are listed. Filter or search for others.")
        return text % {"about": display.number(about), "listed": listed}

    def _estimate(self) -> int:
        with connections[self.queryset.db].cursor() as cursor:
            cursor.execute(ESTIMATE, (f'"{self.opts.db_table}"',))
            return int(cursor.fetchone()[0])
