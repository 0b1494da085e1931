"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence on what was found, and one on what to do about it (empty if nothing)."""

    check: str
    level: Level
    found: str
    advice: str = ""

    @classmethod
    def ok(cls, check: str, found: str) -> Finding:
        return cls(check, "ok", found)

    @classmethod
    def warning(cls, check: str, found: str, advice: str) -> Finding:
        return cls(check, "warning", found, advice)

    @classmethod
    def error(cls, check: str, found: str, advice: str) -> Finding:
        return cls(check, "error", found, advice)


def listed(items: list[str], most: int = 5) -> str:
    """Return items as text, the first ``most`` of them."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
