"""Planting: insert all rows of a workflow, and tell who listens. The only caller of ``store.plant``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import IntegrityError, connections, transaction

from djqueue import signals
from djqueue.conf import settings
from djqueue.drafts import told_of
from djqueue.enqueue import announce
from djqueue.planned import PlannedGroup, PlannedTask, as_group_rows, as_rows
from djqueue.results import EnqueuedIn
from djqueue.serializers import decode_arguments
from djqueue.store.plant import make_durable, plant
from djqueue.store.tickets import draw_tickets

PLANT_BLOCK = 5000
"""Tasks of a workflow that are inserted with one statement."""


def enqueue_plan(
    tasks: Sequence[PlannedTask], groups: Sequence[PlannedGroup], *, linked: bool, streamed: bool = False
) -> EnqueuedIn | None:
    """Insert the tasks and groups of a workflow, all of them or none.

    ``linked`` says whether something waits for any of them. Of those that are ``streamed`` only the last commit waits
    for the disk, which is ``end_stream``. Raises ``ValueError`` for an id that is taken.
    """
    told = []
    if signals.before_task_publish.receivers or signals.after_task_publish.receivers:
        told = [(p.task.name, told_of(p.task, *decode_arguments(p.task.args, p.task.kwargs), {})) for p in tasks]
    for name, values in told:
        signals.before_task_publish.send(name, **values)
    connection = connections[settings.DATABASE]
    # One statement is a transaction by itself; of several, or inside the caller's, it must be all or none.
    alone = (
        len(tasks) <= PLANT_BLOCK
        and not connection.in_atomic_block
        and connection.get_autocommit()
        and not any(planned.task.stream for planned in tasks)
    )
    try:
        with nullcontext() if alone else transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            for start in range(0, len(tasks), PLANT_BLOCK):
                rows = as_rows(tasks[start : start + PLANT_BLOCK])
                workflow_id = tasks[0].task.id if linked else None
                planned_groups = "[]" if start else as_group_rows(groups)
                plant(cursor, workflow_id, rows, planned_groups, lazily=streamed and alone)
            draw_tickets(cursor, (planned.task for planned in tasks))
    except IntegrityError as error:
        raise ValueError(f"expected the ids of a workflow's tasks to be new, got one that is taken: {error}") from error
    enqueued_in = None
    for queue in {planned.task.queue for planned in tasks if planned.waits_for is None}:
        enqueued_in = announce(connection, queue)
    for name, values in told:
        signals.after_task_publish.send(name, **values)
    return enqueued_in


def end_stream() -> None:
    """Wait until what was streamed is on disk, unless the caller's transaction sees to it."""
    connection = connections[settings.DATABASE]
    if not connection.in_atomic_block and connection.get_autocommit():
        with connection.cursor() as cursor:
            make_durable(cursor)
