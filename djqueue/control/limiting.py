"""Limiting: rate limits that are set while workers run. They are the cluster's, so there is no worker to ask."""

from __future__ import annotations

from djqueue.rates import set_rate_limit


def rate_limit(task_name: str, rate_limit: str | float | None, destination: None = None) -> None:
    """Let no more tasks of a name start in a time, in the whole cluster; see ``djqueue.rates.set_rate_limit``.

    Raises ``ValueError`` for a rate that is none, and ``TypeError`` for a ``destination``.
    """
    if destination is not None:
        raise TypeError(f"expected no destination, because a rate limit holds for all workers, got: {destination!r}")
    set_rate_limit(task_name, rate_limit)
