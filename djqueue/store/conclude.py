"""Conclude: settle tasks that others wait for, or whose slots they wait for, and let these others go on."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from djqueue.records import Outcome

from .advance import ADVANCE
from .functions import Block
from .gates import VACATE
from .settle import SETTLE, settle_parameters

# Why this shape. Only what this worker still held goes on: a result that was settled by another must not be counted
# twice. Plain tasks never come here.
CONCLUDE = Block(
    verb="conclude",
    arguments=SETTLE.arguments,
    returns="SETOF text",
    declare="    settled text[];\n    one text;\n    nothing text;",
    statements=f"""
settled := ARRAY(SELECT id FROM {SETTLE.name}($1, $2, $3, $4, $5, $6, $7, $8, $9));
nothing := {ADVANCE.name}(settled::uuid[]);
nothing := {VACATE.name}(settled::uuid[], settled::uuid[]);
FOREACH one IN ARRAY settled LOOP
    RETURN NEXT one;
END LOOP;
""",
)

CALL = (
    f"SELECT {CONCLUDE.name}(%s, %s, %s::uuid[], %s::integer[], %s::smallint[], %s::jsonb, %s::jsonb,"
    " %s::double precision[], %s::double precision[])"
)


async def conclude(
    connection: AsyncConnection, worker_id: int, worker_name: str, outcomes: Sequence[Outcome]
) -> set[str]:
    """Do ``settle`` for tasks of workflows, whose followers are released or fail, and for tasks that hold a slot, which
    is handed on, in the same transaction.
    """
    cursor = await connection.execute(CALL, settle_parameters(worker_id, worker_name, outcomes))
    return {row[0] for row in await cursor.fetchall()}
