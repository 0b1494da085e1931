"""Time limits that were changed while the worker runs."""

from __future__ import annotations

from typing import Any

from djqueue.calls import check_limit
from djqueue.records import Claim
from djqueue.serializers import decode, encode

from .options import CANNOT


class Limits:
    """Other limits for tasks by name, put into what executors are sent; a call's own stay."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._limits: dict[str, dict[str, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    @property
    def shown(self) -> dict[str, dict[str, float]]:
        return self._limits

    def set(self, name: str, hard: float | None, soft: float | None) -> None:
        """Set the limits, in seconds, of a task; none at all gives it back its own. Raises ``ValueError``."""
        hard, soft = check_limit("hard", hard), check_limit("soft", soft)
        if hard is not None and soft is not None and soft > hard:
            raise ValueError(f"expected soft to be at most hard ({hard:g} s), got: {soft:g}")
        if hard is not None and (why := CANNOT.get(self._pool, {}).get("time_limit")):
            raise ValueError(f"--pool {self._pool} cannot honour hard ({hard:g}): {why}")
        given = {"time_limit": hard, "soft_time_limit": soft}
        if limits := {key: value for key, value in given.items() if value is not None}:
            self._limits[name] = limits
        else:
            self._limits.pop(name, None)

    def apply(self, claim: Claim) -> Claim:
        """Return a claim whose options hold the limits that are set for its task."""
        if (limits := self._limits.get(claim.name)) is None:
            return claim
        options: dict[str, Any] = {**limits, **decode(claim.options or "{}")}
        return claim._replace(options=encode(options))
