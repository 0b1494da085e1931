"""The queue pages: how long each line is, how old its first task is, and whether it is paused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from djqueue.models import Queue

from . import display
from .lines import COUNTED, Line, read_lines
from .readonly import ReadOnlyAdmin


@admin.register(Queue)
class QueueAdmin(ReadOnlyAdmin):
    list_display = ("name", "paused", "ready", "oldest", "running")
    ordering = ("name",)
    fields = ("name", "paused", "ready", "oldest", "running", "first_seen")
    readonly_fields = fields

    def list_rows(self, request: HttpRequest, keys: Sequence[Any]) -> list[Any]:
        return with_lines(super().list_rows(request, keys))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        queue = super().get_object(request, object_id, from_field)
        return None if queue is None else with_lines([queue])[0]

    @admin.display(description=_("paused until"))
    def paused(self, queue: Queue) -> str:
        return display.moment(queue.paused_until)

    @admin.display(description=_("ready"))
    def ready(self, queue: Any) -> str:
        count = number_format(min(queue.line.ready, COUNTED), force_grouping=True)
        return f"{count}+" if queue.line.ready > COUNTED else count

    @admin.display(description=_("oldest first in line"))
    def oldest(self, queue: Any) -> str:
        """The age since it was enqueued; a task that was scheduled also waited for its time."""
        return display.duration(queue.line.oldest)

    @admin.display(description=_("running"))
    def running(self, queue: Any) -> int:
        return int(queue.line.running)

    @admin.display(description=_("first seen"))
    def first_seen(self, queue: Queue) -> str:
        return display.moment(queue.created_at)


def with_lines(queues: list[Any]) -> list[Any]:
    """Attach to each queue its ``line``."""
    if queues:
        lines = read_lines(queues[0]._state.db, [queue.name for queue in queues])
        for queue in queues:
            queue.line = lines.get(queue.name, Line())
    return queues
