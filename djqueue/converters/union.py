"""The converter of unions: which member a value is of, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .converter import Converter, Mismatch


class UnionConverter:
    """Tries its members: those that own a value first, then those that can read it, in the order they were written.

    ``others`` are members that need no converter: a value that no other member claims goes through unchecked.
    Raises ``Mismatch`` at the call for a value that would come back as another member.
    """

    def __init__(self, members: Sequence[Converter], others: Sequence[Any], none_too: bool) -> None:
        self._members, self._others, self._none_too = members, others, none_too
        # Of `datetime | str`, text is the str.
        self._readers = [member for member in members if not (others and member.text_only)]
        self.text_only = all(member.text_only for member in members)
        names = [member.expected for member in members] + [getattr(o, "__name__", str(o)) for o in others]
        self.expected = " or ".join([*names, "None"] if none_too else names)

    def owns(self, value: Any) -> bool:
        return any(member.owns(value) for member in self._members)

    def encode(self, value: Any) -> Any:
        if value is None and self._none_too:
            return None
        problems: list[Mismatch | ValueError] = []
        for member in self._candidates(value):
            try:
                stored = member.encode(value)
            except (Mismatch, ValueError) as problem:
                problems.append(problem)
                continue
            self._check_distinct(member, value, stored)
            return stored
        return self._otherwise(value, problems)

    def decode(self, value: Any) -> Any:
        if value is None and self._none_too:
            return None
        problems: list[Mismatch | ValueError] = []
        for member in self._candidates(value):
            try:  # a model under pydantic=True raises its own ValueError
                return member.decode(value)
            except (Mismatch, ValueError) as problem:
                problems.append(problem)
        return self._otherwise(value, problems)

    def _candidates(self, value: Any) -> list[Converter]:
        owners = [member for member in self._members if member.owns(value)]
        return owners + [member for member in self._readers if member not in owners]

    def _otherwise(self, value: Any, problems: list[Mismatch | ValueError]) -> Any:
        if self._others:
            return value
        if len(self._members) == 1 and problems:
            # Of an optional value: what is wrong inside it says more.
            problem = problems[0]
            if isinstance(problem, Mismatch) and problem.expected == self._members[0].expected and not problem.path:
                problem.expected = self.expected
            raise problem
        raise Mismatch(self.expected, value)

    def _check_distinct(self, member: Converter, value: Any, stored: Any) -> None:
        """Refuse what would come back as something else: a list as a set, one dataclass as its twin."""
        taken = member if member.owns(value) else None
        if taken is None and not any(isinstance(o, type) and isinstance(value, o) for o in self._others_that_nest()):
            return
        if taken is not None and (taken.text_only or len(self._members) == 1):
            return
        for reader in self._candidates(stored):
            try:
                reader.decode(stored)
            except (Mismatch, ValueError):
                continue
            if reader is not taken:
                raise Mismatch(f"{self.expected}, of which {reader.expected} would be what comes back", value)
            return

    def _others_that_nest(self) -> list[Any]:
        return [other for other in self._others if other in (list, dict)]
