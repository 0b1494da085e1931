"""The tree of a workflow: all tasks of one root, with their states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper

SEED = """
SELECT task.id::text, task.workflow_id::text, task.group_id::text
FROM djqueue_task AS task
WHERE task.id = %(id)s OR task.id = (SELECT root_id FROM djqueue_task WHERE id = %(id)s)
"""
# What tasks have caused, and the others of their workflows and groups.
MORE = """
SELECT id::text, workflow_id::text, group_id::text FROM djqueue_task WHERE parent_id = ANY (%(ids)s::uuid[])
UNION
SELECT id::text, workflow_id::text, group_id::text FROM djqueue_task WHERE workflow_id = ANY (%(workflows)s::uuid[])
UNION
SELECT id::text, workflow_id::text, group_id::text FROM djqueue_task WHERE group_id = ANY (%(groups)s::uuid[])
LIMIT %(most)s
"""
# Each row is looked up by its key, one by one: joins, and EXISTS, may be planned as a walk through all rows there are.
NODES = """
SELECT
    task.id::text, task.parent_id::text, task.name, task.group_id::text,
    CASE
        WHEN result.state = 5 THEN 'succeeded'
        WHEN result.state = 6 THEN 'failed'
        WHEN result.state = 7 THEN 'cancelled'
        WHEN (SELECT true FROM djqueue_runningtask WHERE task_id = task.id LIMIT 1) THEN 'running'
        WHEN waiting.task_id IS NOT NULL THEN 'waiting'
        WHEN (SELECT true FROM djqueue_parkedtask WHERE task_id = task.id LIMIT 1) THEN 'waiting'
        WHEN (SELECT true FROM djqueue_scheduledtask WHERE task_id = task.id LIMIT 1) THEN 'scheduled'
        ELSE 'ready'
    END,
    waiting.waits_for::text,
    CASE WHEN waited.group_id IS DISTINCT FROM task.group_id THEN waited.group_id::text END
FROM unnest(%(ids)s::uuid[]) AS found (id)
CROSS JOIN LATERAL (SELECT id, parent_id, name, group_id FROM djqueue_task WHERE id = found.id LIMIT 1) AS task
LEFT JOIN LATERAL (SELECT state FROM djqueue_taskresult WHERE task_id = found.id LIMIT 1) AS result ON true
LEFT JOIN LATERAL (
    SELECT task_id, waits_for FROM djqueue_waitingtask WHERE task_id = found.id LIMIT 1
) AS waiting ON true
LEFT JOIN LATERAL (SELECT group_id FROM djqueue_task WHERE id = task.parent_id LIMIT 1) AS waited ON true
ORDER BY task.id
"""
MOST_READ = 100_000
"""Tasks that are looked at for a picture, in which those that are alike share a place."""
ALIKE = 6
"""So many members of a group that are alike are folded into one."""
# Of what is folded together the first of these that is there is shown.
SHOWN_FIRST = ("failed", "running", "ready", "scheduled", "waiting", "cancelled", "succeeded")


class Node(NamedTuple):
    """A task in a workflow, or ``number`` that are alike, with how many are in which of ``states``.

    ``joins`` is the group, if any, whose members come before it.
    """

    id: str
    parent_id: str | None
    name: str
    group_id: str | None
    state: str
    waits_for: str | None
    joins: str | None
    number: int = 1
    states: Mapping[str, int] = {}


def read_tree(cursor: CursorWrapper, task_id: str, most: int = MOST_READ) -> list[Node]:
    """Return the tasks of the workflow that a task belongs to, in the order of their ids; at most so many."""
    cursor.execute(SEED, {"id": task_id})
    found: dict[str, None] = {}
    workflows: set[str] = set()
    groups: set[str] = set()
    rows = cursor.fetchall()
    while rows and len(found) < most:
        asked: dict[str, Any] = {
            "ids": _new([row[0] for row in rows], found),
            "workflows": _new([row[1] for row in rows], workflows),
            "groups": _new([row[2] for row in rows], groups),
            "most": most,
        }
        found.update(dict.fromkeys(asked["ids"]))
        workflows.update(asked["workflows"])
        groups.update(asked["groups"])
        if not asked["ids"]:
            break
        cursor.execute(MORE, asked)
        rows = cursor.fetchall()
    cursor.execute(NODES, {"ids": sorted(found)[:most]})
    return [Node(*row) for row in cursor.fetchall()]


def _new(values: Iterable[str | None], known: Any) -> list[str]:
    return list({value: None for value in values if value is not None and value not in known})


def folded(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes, members of a group that are alike and have nothing below them as one."""
    groups = {node.id: node.group_id for node in nodes}
    parents = {
        node.parent_id for node in nodes
        if node.parent_id in groups and (node.joins is None or node.joins != groups[node.parent_id])
    }  # fmt: skip
    alike: dict[tuple[str | None, ...], list[Node]] = {}
    for node in nodes:
        if node.group_id is not None and node.id not in parents:
            alike.setdefault((node.group_id, node.name, node.joins), []).append(node)
    first = {pile[0].id: _as_one(pile) for pile in alike.values() if len(pile) >= ALIKE}
    gone = {node.id for pile in alike.values() if len(pile) >= ALIKE for node in pile[1:]}
    return [first.get(node.id, node) for node in nodes if node.id not in gone]


def _as_one(pile: Sequence[Node]) -> Node:
    states = Counter(node.state for node in pile)
    shown = next(state for state in SHOWN_FIRST if state in states)
    said = ("succeeded", *(state for state in SHOWN_FIRST if state != "succeeded"))
    return pile[0]._replace(state=shown, number=len(pile), states={s: states[s] for s in said if s in states})
