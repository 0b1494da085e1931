"""The tally: a worker sums up how attempts ended, so that statistics cost no row per task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from djqueue.histogram import RUNS, step_of
from djqueue.records import Claim, Outcome
from djqueue.states import Ending
from djqueue.store.tally import Tallied

# Lost attempts are counted where they are judged (``store/lose.py``), since most are found by another worker.
COLUMNS = {
    Ending.SUCCEEDED: 0,
    Ending.FORGOTTEN: 0,
    Ending.SETTLED: 0,
    Ending.FAILED: 1,
    Ending.RETRIED: 2,
    Ending.CANCELLED: 3,
}


class Tally:
    """Counts by minute, task and queue until they are taken to the database; what is here dies with the worker."""

    def __init__(self) -> None:
        self._endings: dict[tuple[int, str, str], list[int]] = {}
        self._times: dict[tuple[int, str, str], Counter[int]] = {}

    def add(self, ended: Iterable[tuple[Claim, Outcome]]) -> None:
        """Count attempts whose outcomes were stored; times are the database's."""
        for claim, outcome in ended:
            column = COLUMNS.get(outcome.ending)
            if column is None:
                continue
            key = int(outcome.finished) // 60, claim.name, claim.queue
            endings = self._endings.get(key)
            if endings is None:
                endings = self._endings[key] = [0, 0, 0, 0]
                self._times[key] = Counter()
            endings[column] += 1
            if outcome.started is not None:
                times = self._times[key]
                times[RUNS + step_of(outcome.finished - outcome.started)] += 1
                if claim.attempt == 1:
                    times[step_of(outcome.started - _due(claim))] += 1

    def take(self) -> list[Tallied]:
        """Return what was counted, and begin anew."""
        endings, times = self._endings, self._times
        self._endings, self._times = {}, {}
        return [
            Tallied(*key, succeeded, failed, retried, cancelled, list(times[key]), list(times[key].values()))
            for key, (succeeded, failed, retried, cancelled) in endings.items()
        ]

    def put_back(self, rows: Iterable[Tallied]) -> None:
        """Count what was taken and could not be written."""
        for row in rows:
            key = row.minute, row.name, row.queue
            here = self._endings.setdefault(key, [0, 0, 0, 0])
            self._endings[key] = [one + other for one, other in zip(here, row[3:7], strict=True)]
            self._times.setdefault(key, Counter()).update(dict(zip(row.steps, row.counts, strict=True)))


def _due(claim: Claim) -> float:
    """Return when a task could start at the earliest: it does not wait before its time has come."""
    if claim.options is not None and '"eta"' in claim.options:
        with suppress(KeyError, TypeError, ValueError):
            return max(claim.created, datetime.fromisoformat(json.loads(claim.options)["eta"]).timestamp())
    return claim.created
