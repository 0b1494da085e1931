"""The tally: a worker sums up how attempts ended, so that statistics cost no row per task."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from djqueue.histogram import RUNS, step_of
from djqueue.records import Claim, Outcome, Tallied
from djqueue.states import Ending

# Lost attempts are counted where they are judged (``store/lose.py``), since most are found by another worker.
COLUMNS = (
    (Ending.SUCCEEDED, Ending.FORGOTTEN, Ending.SETTLED),
    (Ending.FAILED,),
    (Ending.RETRIED,),
    (Ending.CANCELLED,),
)
# The hash of an enum's member is computed in Python, an index is not.
COLUMN_OF: list[int | None] = [None] * (max(Ending) + 1)
for column, endings in enumerate(COLUMNS):
    for ending in endings:
        COLUMN_OF[ending] = column

Key = tuple[int, str, str]


class Tally:
    """Counts by minute, task and queue until they are taken to the database; what is here dies with the worker."""

    def __init__(self) -> None:
        self._rows: dict[Key, tuple[list[int], dict[int, int]]] = {}

    def add(self, ended: Iterable[tuple[Claim, Outcome]]) -> None:
        """Count attempts whose outcomes were stored; times are the database's."""
        # Every task passes here. Most are like the one before, so their row is not looked up again.
        minute, name, queue = -1, "", ""
        endings: list[int] = []
        times: dict[int, int] = {}
        for claim, outcome in ended:
            column = COLUMN_OF[outcome.ending]
            if column is None:
                continue
            finished, started = outcome.finished, outcome.started
            if finished // 60 != minute or claim.name != name or claim.queue != queue:
                minute, name, queue = int(finished // 60), claim.name, claim.queue
                endings, times = self._row((minute, name, queue))
            endings[column] += 1
            if started is not None:
                step = RUNS + step_of(finished - started)
                times[step] = times.get(step, 0) + 1
                if claim.attempt == 1:
                    step = step_of(started - (claim.created if claim.options is None else _due(claim)))
                    times[step] = times.get(step, 0) + 1

    def _row(self, key: Key) -> tuple[list[int], dict[int, int]]:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0, 0, 0, 0], {}
        return row

    def take(self) -> list[Tallied]:
        """Return what was counted, and begin anew."""
        rows, self._rows = self._rows, {}
        return [
            Tallied(*key, succeeded, failed, retried, cancelled, list(times), list(times.values()))
            for key, ((succeeded, failed, retried, cancelled), times) in rows.items()
        ]

    def put_back(self, rows: Iterable[Tallied]) -> None:
        """Count what was taken and could not be written."""
        for row in rows:
            endings, times = self._row((row.minute, row.name, row.queue))
            for column, number in enumerate((row.succeeded, row.failed, row.retried, row.cancelled)):
                endings[column] += number
            for step, number in zip(row.steps, row.counts, strict=True):
                times[step] = times.get(step, 0) + number


def _due(claim: Claim) -> float:
    """Return when a task could start at the earliest: it does not wait before its time has come."""
    if claim.options is not None and '"eta"' in claim.options:
        with suppress(KeyError, TypeError, ValueError):
            return max(claim.created, datetime.fromisoformat(json.loads(claim.options)["eta"]).timestamp())
    return claim.created
