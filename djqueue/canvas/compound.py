"""Compounds: what chains and groups have in common, because they consist of other signatures."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from .signatures import Signature
from .stamping import StampingVisitor, merged, named


class Compound(Signature):
    """A signature whose ``tasks`` are the signatures it consists of."""

    @property
    def tasks(self) -> Any:
        return self.kwargs["tasks"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["tasks"] = value

    def spend(self) -> None:
        super().spend()
        for task in self.tasks:
            task.spend()

    def make_distinct(self, seen: set[int]) -> Any:
        own = super().make_distinct(seen)
        if own is self:
            self.tasks = [task.make_distinct(seen) for task in self.tasks]
        return own

    def copied(self, *, deep: bool, fresh: bool = False) -> Any:
        copy = super().copied(deep=deep, fresh=fresh)
        copy["kwargs"] = {**self.kwargs, "tasks": [task.copied(deep=deep, fresh=fresh) for task in self.tasks]}
        return copy

    def _copy_arguments(self, copy: dict[str, Any]) -> None:
        copy["args"] = deepcopy(self.args)

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        found = {} if visitor is None else getattr(visitor, f"on_{self.subtask_type}_start")(self, **headers) or {}
        stamps = merged(named(headers), named(found), append=append_stamps)
        super().stamp(visitor, append_stamps, **stamps)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            getattr(visitor, f"on_{self.subtask_type}_end")(self, **stamps)
        return self
