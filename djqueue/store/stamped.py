"""Stamped: the tasks that have not finished and carry a stamp."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.utils import CursorWrapper

# Why this shape. Tasks have no index by stamp; what has not finished stands in one of these places, which are small
# beside the tasks that have. A stamp is a value or a list of them, of which one has to be wanted.
STAMPED = """
SELECT task.id::text
FROM (
    SELECT task_id FROM djqueue_readytask
    UNION ALL SELECT task_id FROM djqueue_scheduledtask
    UNION ALL SELECT task_id FROM djqueue_waitingtask
    UNION ALL SELECT task_id FROM djqueue_parkedtask
    UNION ALL SELECT task_id FROM djqueue_runningtask
) AS unfinished
CROSS JOIN LATERAL (
    SELECT id, options -> 'stamps' AS stamps FROM djqueue_task WHERE id = unfinished.task_id LIMIT 1
) AS task
WHERE EXISTS (
    SELECT FROM jsonb_each(%s::jsonb) AS wanted (name, choice)
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(task.stamps -> wanted.name)
            WHEN 'array' THEN task.stamps -> wanted.name ELSE jsonb_build_array(task.stamps -> wanted.name)
        END
    ) AS stamp (value)
    WHERE task.stamps ? wanted.name AND wanted.choice @> jsonb_build_array(stamp.value)
)
"""


def stamped(cursor: CursorWrapper, wanted: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the ids of unfinished tasks that have one of these values under one of these names."""
    cursor.execute(STAMPED, (json.dumps({name: list(values) for name, values in wanted.items()}),))
    return [row[0] for row in cursor.fetchall()]
