"""Checks of schedules: whether a beat fires them, and whether they can be enqueued."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

from .finding import Finding, listed

OVERDUE = 60.0
"""Seconds after which a slot that nobody has fired means that no beat is there: beats look twice a minute."""

SCHEDULES = """
SELECT
    count(*) FILTER (WHERE enabled),
    array_agg(name ORDER BY next_run_at) FILTER (
        WHERE enabled AND held_until IS NULL AND next_run_at < clock_timestamp() - make_interval(secs => %s)
    ),
    array_agg(name ORDER BY name) FILTER (WHERE enabled AND last_error <> '')
FROM djqueue_schedule
"""


def schedules(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """A beat fires what is due, and what it fires can be enqueued."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEDULES, [OVERDUE])
        enabled, overdue, failing = cursor.fetchone()
    if overdue:
        yield Finding.error(
            "schedules", f"No beat seems to run: overdue are {listed(overdue)}.", "Start one: manage.py runbeat."
        )
    elif failing:
        yield Finding.warning(
            "schedules", f"Could not be enqueued: {listed(failing)}.", "Look at their last error in the admin."
        )
    else:
        yield Finding.ok("schedules", f"{enabled} enabled, none is overdue.")
