"""Hot statements as database functions: one round trip, a plan that is made once, and pinned.

On a table that was never analysed the planner chose bitmap scans and sorts that cost 4 to 5 times as much. A session
setting would leak through a pooler and a transaction's ``SET LOCAL`` costs statements of its own; a function's ``SET``
clause does neither, and PL/pgSQL keeps the plan for the session without prepared statements.

One trap is left that no setting pins: on a table analysed while it was empty, a join by primary key was planned
as a walk through the whole index for each row, and that plan stays when the table grows. So the statements look rows up
in a LATERAL subquery with LIMIT 1, which is planned by itself and always by its condition.

A released function is never changed: a change gets a new version in its name and a migration, so that workers of two
releases can share a database.
"""

from __future__ import annotations

from typing import NamedTuple

PINS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # The price put on what is switched off would make the planner compile the statement.
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Function(NamedTuple):
    """A statement and the database function that carries it.

    ``statement`` uses ``$1``, ``$2`` … for ``arguments``; ``returns`` is the column list of its rows.
    """

    name: str
    arguments: tuple[str, ...]
    returns: str
    statement: str

    @property
    def create(self) -> str:
        pins = "\n".join(f"SET {name} = {value}" for name, value in PINS.items())
        return (
            f"CREATE FUNCTION {self.name}({', '.join(self.arguments)})\n"
            f"RETURNS TABLE ({self.returns})\nLANGUAGE plpgsql\n{pins}\n"
            f"AS $function$\n#variable_conflict use_column\nBEGIN RETURN QUERY\n{self.statement};\nEND\n$function$"
        )

    @property
    def drop(self) -> str:
        return f"DROP FUNCTION {self.name}({', '.join(self.arguments)})"


class Procedure(NamedTuple):
    """Statements that are too simple to be planned wrongly, and that a CALL saves from being parsed each time."""

    name: str
    arguments: tuple[str, ...]
    statements: str

    @property
    def create(self) -> str:
        return (
            f"CREATE PROCEDURE {self.name}({', '.join(self.arguments)})\nLANGUAGE plpgsql\n"
            f"AS $procedure$\nBEGIN\n{self.statements}\nEND\n$procedure$"
        )

    @property
    def drop(self) -> str:
        return f"DROP PROCEDURE {self.name}({', '.join(self.arguments)})"
