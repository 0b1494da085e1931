"""Figures: percentiles, and one way to print a report for people and one for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

__all__ = ["median", "ms", "print_report", "say", "spread"]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the usual percentiles in milliseconds."""
    return {
        **{f"p{percent}_ms": ms(percentile(seconds, percent)) for percent in (50, 95, 99)},
        "max_ms": ms(max(seconds)),
    }


def say(text: str) -> None:
    """Tell on stderr what goes on; stdout is for the report."""
    print(text, file=sys.stderr, flush=True)


def print_report(report: dict[str, Any], *, as_json: bool) -> None:
    """Print a report as one line of JSON, or as a table."""
    if as_json:
        print(json.dumps(report), flush=True)
        return
    rows = list(_rows(report))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {value}", flush=True)


def _rows(report: dict[str, Any], prefix: str = "") -> Any:
    for key, value in report.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(_readable(item) for item in value)
        else:
            yield f"{prefix}{key}", _readable(value)


def _readable(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
