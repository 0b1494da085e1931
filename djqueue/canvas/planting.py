"""Planting: insert all rows of a workflow, and tell who listens. The only caller of ``store.plant``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import IntegrityError, connections, transaction

from djqueue import signals
from djqueue.conf import settings
from djqueue.enqueue import announce, told_of
from djqueue.planned import PlannedGroup, PlannedTask, as_group_rows, as_rows
from djqueue.results import EnqueuedIn
from djqueue.serializers import decode_arguments
from djqueue.store.plant import plant

PLANT_BLOCK = 5000
"""Tasks of a workflow that are inserted with one statement."""


def enqueue_plan(tasks: Sequence[PlannedTask], groups: Sequence[PlannedGroup], *, linked: bool) -> EnqueuedIn | None:
    """Insert the tasks and groups of a workflow, all of them or none.

    ``linked`` says whether something waits for any of them. Raises ``ValueError`` for an id that is taken.
    """
    told = []
    if signals.before_task_publish.receivers or signals.after_task_publish.receivers:
        told = [(p.task.name, told_of(p.task, *decode_arguments(p.task.args, p.task.kwargs), {})) for p in tasks]
    for name, values in told:
        signals.before_task_publish.send(name, **values)
    connection = connections[settings.DATABASE]
    # One statement is a transaction by itself; of several, or inside the caller's, it must be all or none.
    alone = len(tasks) <= PLANT_BLOCK and not connection.in_atomic_block
    try:
        with nullcontext() if alone else transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            for start in range(0, len(tasks), PLANT_BLOCK):
                rows = as_rows(tasks[start : start + PLANT_BLOCK])
                plant(cursor, tasks[0].task.id if linked else None, rows, "[]" if start else as_group_rows(groups))
    except IntegrityError as error:
        raise ValueError(f"expected the ids of a workflow's tasks to be new, got one that is taken: {error}") from error
    enqueued_in = None
    for queue in {planned.task.queue for planned in tasks if planned.waits_for is None}:
        enqueued_in = announce(connection, queue)
    for name, values in told:
        signals.after_task_publish.send(name, **values)
    return enqueued_in
