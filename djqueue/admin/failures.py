"""Failures, grouped by task, exception and the last line of the site's own code that they passed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from . import display
from .tracebacks import last_own_frame

LOOKED_AT = 2_000
"""Failures that are grouped, the newest; their tracebacks have to be read."""

# Why this shape. The partial index on what did not succeed yields the newest; a task is looked up by its key.
NEWEST = """
SELECT
    result.task_id::text, result.finished_at, (result.error - 'traceback' - 'cause')::text,
    right(result.error ->> 'traceback', 8000), task.name
FROM (
    SELECT task_id, finished_at, error
    FROM djqueue_taskresult
    WHERE state = 6 AND state <> 5 AND finished_at >= statement_timestamp() - make_interval(secs => %(within)s)
    ORDER BY finished_at DESC
    LIMIT %(limit)s
) AS result
CROSS JOIN LATERAL (SELECT name FROM djqueue_task WHERE id = result.task_id LIMIT 1) AS task
ORDER BY result.finished_at DESC
"""


@dataclass
class Failures:
    """Tasks that failed in the same way."""

    key: str
    name: str
    exception: str
    frame: str
    example: str
    message: str
    first: datetime
    last: datetime
    ids: list[str]

    @property
    def count(self) -> int:
        return len(self.ids)


def read_failures(database: str, within: timedelta, limit: int = LOOKED_AT) -> tuple[list[Failures], bool]:
    """Return the groups of the newest failures, the largest first, and whether there may be more than ``limit``."""
    with connections[database].cursor() as cursor:
        cursor.execute(NEWEST, {"within": within.total_seconds(), "limit": limit})
        rows = cursor.fetchall()
    found = group(rows)
    return sorted(found.values(), key=lambda one: (one.count, one.last), reverse=True), len(rows) == limit


def group(rows: Iterable[tuple[str, datetime, str | None, str | None, str]]) -> dict[str, Failures]:
    """Return failures, given newest first, by the key of their group."""
    found: dict[str, Failures] = {}
    for task_id, finished_at, text, traceback, name in rows:
        error = json.loads(text or "{}")
        exception = str(error.get("exc_type", ""))
        frame = last_own_frame(traceback or "")
        key = hashlib.sha256("\0".join((name, exception, frame)).encode()).hexdigest()[:16]
        if key not in found:
            message = display.error_line(error)
            found[key] = Failures(key, name, exception, frame, task_id, message, finished_at, finished_at, [])
        found[key].ids.append(task_id)
        found[key].first = finished_at
    return found
