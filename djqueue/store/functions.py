"""Hot statements as database functions: one round trip, a plan that is made once, and pinned.

On a table that was never analysed the planner chose bitmap scans and sorts that cost 4 to 5 times as much. A session
setting would leak through a pooler and a transaction's ``SET LOCAL`` costs statements of its own; a function's ``SET``
clause does neither, and PL/pgSQL keeps the plan for the session without prepared statements.

One trap is left that no setting pins: on a table analysed while it was empty, a join by primary key was planned
as a walk through the whole index for each row, and that plan stays when the table grows. So the statements look rows up
in a LATERAL subquery with LIMIT 1, which is planned by itself and always by its condition.

The name carries a digest of the text, so a statement that changed is another function: workers of two releases can
share a database, and code never meets a function that it was not written for.
Old ones stay until ``migrate djqueue zero``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

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
PINNED = ";".join(f"SET LOCAL {name} = {value}" for name, value in PINS.items())
"""The same for a transaction whose statements are too rare for functions."""


@dataclass(frozen=True)
class Routine:
    """Statements that the database keeps under a name; they use ``$1``, ``$2`` … for ``arguments``."""

    verb: str
    arguments: tuple[str, ...]

    kind = "ROUTINE"

    @property
    def body(self) -> str:
        raise NotImplementedError

    @cached_property
    def name(self) -> str:
        """``djqueue_VERB_DIGEST``, as the database knows it."""
        digest = hashlib.sha256(f"{self.kind} {self.arguments} {self.body}".encode()).hexdigest()
        return f"djqueue_{self.verb}_{digest[:8]}"

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"

    @property
    def create(self) -> str:
        return f"CREATE OR REPLACE {self.kind} {self.signature}\n{self.body}"


@dataclass(frozen=True)
class Function(Routine):
    """A statement that returns rows; ``returns`` is their column list.

    ``lean`` is a condition on the arguments and a statement that then does the same, with fewer nodes to set up.
    """

    returns: str
    statement: str
    lean: tuple[str, str] | None = None

    kind = "FUNCTION"

    @property
    def body(self) -> str:
        pins = "\n".join(f"SET {name} = {value}" for name, value in PINS.items())
        return (
            f"RETURNS TABLE ({self.returns})\nLANGUAGE plpgsql\n{pins}\n"
            f"AS $function$\n#variable_conflict use_column\nBEGIN {self.query}\nEND\n$function$"
        )

    @property
    def query(self) -> str:
        """The statement as PL/pgSQL runs it."""
        query = f"RETURN QUERY\n{self.statement};"
        if self.lean is None:
            return query
        condition, statement = self.lean
        return f"IF {condition} THEN RETURN QUERY\n{statement};\nELSE {query}\nEND IF;"


@dataclass(frozen=True)
class Block(Routine):
    """Several statements with variables; ``returns`` is what follows RETURNS, and ``$1`` … are its arguments."""

    returns: str
    declare: str
    statements: str

    kind = "FUNCTION"

    @property
    def body(self) -> str:
        pins = "\n".join(f"SET {name} = {value}" for name, value in PINS.items())
        return (
            f"RETURNS {self.returns}\nLANGUAGE plpgsql\n{pins}\n"
            f"AS $function$\n#variable_conflict use_column\nDECLARE\n{self.declare}\n"
            f"BEGIN\n{self.statements}\nEND\n$function$"
        )


@dataclass(frozen=True)
class Procedure(Routine):
    """Statements that are too simple to be planned wrongly, and that a CALL saves from being parsed each time."""

    statements: str

    kind = "PROCEDURE"

    @property
    def body(self) -> str:
        return f"LANGUAGE plpgsql\nAS $procedure$\nBEGIN\n{self.statements}\nEND\n$procedure$"
