"""Histograms of durations: few numbers that add up, and from which percentiles come.

As in HdrHistogram, steps are four to each doubling of the duration, so a percentile is at most 12 % off, from
microseconds to weeks.
"""

from __future__ import annotations

from collections.abc import Mapping

RUNS = 256
"""Steps of running times begin here in what is stored; those of waiting times at 0."""
LONGEST_STEP = RUNS - 1


def step_of(seconds: float) -> int:
    """Return the step of a duration; a negative one, which clocks can yield, is none at all."""
    micros = int(seconds * 1_000_000)
    if micros < 4:
        return micros if micros > 0 else 0
    shift = micros.bit_length() - 3
    step = (shift << 2) + (micros >> shift)
    return step if step < LONGEST_STEP else LONGEST_STEP


def bounds_of(step: int) -> tuple[float, float]:
    """Return the seconds from which and below which a duration is in a step."""
    if step < 4:
        return step / 1_000_000, (step + 1) / 1_000_000
    shift = (step >> 2) - 1
    lowest = 4 + (step & 3)
    return (lowest << shift) / 1_000_000, ((lowest + 1) << shift) / 1_000_000


def percentile(counts: Mapping[int, int], percent: float) -> float | None:
    """Return the seconds that ``percent`` of the durations do not exceed; None without any.

    Within a step the durations are taken to lie evenly.
    """
    rank = sum(counts.values()) * percent / 100
    if not rank:
        return None
    seen = 0
    for step in sorted(counts):
        if seen + counts[step] >= rank:
            low, high = bounds_of(step)
            return low + (high - low) * (rank - seen) / counts[step]
        seen += counts[step]
    raise AssertionError("unreachable")
