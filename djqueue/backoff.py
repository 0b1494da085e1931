"""Backoff: how long a task waits before its next attempt."""

from __future__ import annotations

import random


def backoff(factor: float, retries: int, longest: float, *, jitter: bool) -> float:
    """Return seconds: ``factor`` doubled for each earlier retry, at most ``longest``.

    With ``jitter`` any moment from 0 up to that is as likely ("full jitter", which spreads tasks that failed together
    best: M. Brooker, "Exponential Backoff And Jitter", 2015).
    """
    # A float never overflows here: 2.0 ** 1023 is the largest power, and far above any `longest`.
    pause = min(longest, factor * 2.0 ** min(retries, 1000))
    return random.uniform(0.0, pause) if jitter else max(0.0, pause)  # noqa: S311 - not for secrets
