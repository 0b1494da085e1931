"""A beat's life: look, fire, wait until the next slot or until it is told of a change."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from time import monotonic

import psycopg
from django.db import Error as DjangoDatabaseError
from django.db import connections
from psycopg import sql

from djqueue import events, signals
from djqueue.conf import seconds, settings
from djqueue.store.beat import CHANNEL, look
from djqueue.store.prune_runs import prune_runs
from djqueue.worker.health import Page, live
from djqueue.worker.link import parameters

from .firing import Fired, fire
from .sync import sync

LONGEST_WAIT = 30.0
"""Seconds after which a beat looks again in any case."""
TAKEN_WAIT = 0.02
"""Seconds until the second look at what another beat has in hand; each further one waits twice as long."""
LONGEST_TAKEN_WAIT = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries while the database is away."""
SYNC_AGAIN = 30
LONGEST_TURN = 120.0
"""Seconds after which a turn does not seem to end any more."""
PRUNE_EVERY = 60.0
PRUNE_BATCH = 2000

LISTEN = sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL))

logger = logging.getLogger("djqueue.beat")


class Waker:
    """Ends a wait, from a handler of an OS signal or from another thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        with suppress(OSError):  # full: it is awake already; or closed
            self._writer.send(b"\0")

    def wait(self, longest: float) -> None:
        """Wait at most so many seconds; a ``wake`` before the call counts."""
        select.select([self._reader], [], [], max(0.0, longest))
        with suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class Beat:
    """One beat. ``clock`` replaces the database's clock, for tests."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self._connection = connections[settings.DATABASE]
        self._clock = clock
        self._waker = Waker()
        self._stopping = False
        self._synced = False
        self._next_sync = 0.0
        self._next_prune = 0.0
        self._taken_wait = TAKEN_WAIT
        self._pause = FIRST_PAUSE
        self._lost_at: float | None = None
        self._turn_began: float | None = None
        self._turned = False
        self.fired = 0

    def run(self) -> None:
        """Fire schedules until ``stop`` is called. Outlives the database, and schedules that make no sense."""
        began = monotonic()
        signals.beat_init.send("beat")
        if settings.LISTEN:
            alias = settings.LISTEN if isinstance(settings.LISTEN, str) else settings.DATABASE
            threading.Thread(target=_listen, args=(alias, self._waker.wake), name="djqueue-ear", daemon=True).start()
        events.emit(events.BeatStarted(self._connection.alias, bool(settings.LISTEN)))
        while not self._stopping:
            self._waker.wait(self._guarded_turn())
        self._connection.close()
        self.close()
        events.emit(events.BeatStopped(self.fired, monotonic() - began))

    def stop(self) -> None:
        """End after what is under way. May be called from a handler or another thread."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Give back what a beat holds that was not ``run``, which does it in its end."""
        self._waker.close()

    def live(self) -> Page:
        """Return 503 if it has been stuck in one turn for long; waiting for the database is not that."""
        if self._turn_began is not None and monotonic() - self._turn_began > LONGEST_TURN:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, json.dumps({"status": "stuck"}))
        return live()

    def unready(self) -> dict[str, str]:
        """Return what keeps it from firing schedules, by its name."""
        if self._stopping:
            return {"stopping": "it ends"}
        if self._lost_at is not None:
            return {"database": f"it has not answered for {monotonic() - self._lost_at:.0f} s"}
        return {} if self._turned else {"database": "it has not been reached yet"}

    def once(self) -> Fired:
        """Bring declared schedules in, fire what is due now and return."""
        self._sync()
        schedules = tasks = 0
        while (found := look(self._connection, self._now())).due or found.unset:
            fired = fire(self._connection, found.now, unset=not found.due)
            if not fired.schedules:
                break
            schedules, tasks = schedules + fired.schedules, tasks + fired.tasks
        return Fired(schedules, tasks)

    def _now(self) -> datetime | None:
        return None if self._clock is None else self._clock()

    def _guarded_turn(self) -> float:
        """Take a turn; return the seconds to wait. No error ends a beat: it says so, waits and tries again."""
        self._turn_began = monotonic()
        try:
            wait = self.turn()
            self._turned = True
        except DjangoDatabaseError as error:
            if self._lost_at is None:
                self._lost_at = monotonic()
                events.emit(events.DatabaseLost("beat", " ".join(str(error).split()) or type(error).__name__))
        except Exception:
            logger.exception("beat met an error that it does not know; it goes on")
        else:
            if self._lost_at is not None:
                events.emit(events.DatabaseBack("beat", monotonic() - self._lost_at))
                self._lost_at = None
            self._pause = FIRST_PAUSE
            return wait
        finally:
            self._turn_began = None
        with suppress(Exception):
            self._connection.close()
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return self._pause

    def turn(self) -> float:
        """Fire everything that is due; return the seconds until it is worth to look again."""
        self._sync()
        while not self._stopping:
            found = look(self._connection, self._now())
            if not (found.due or found.unset):
                return LONGEST_WAIT if found.next_in is None else min(LONGEST_WAIT, found.next_in)
            fired = fire(self._connection, found.now, unset=not found.due)
            self.fired += fired.tasks
            if not fired.schedules:  # another beat has them in hand
                self._taken_wait = min(LONGEST_TAKEN_WAIT, self._taken_wait * 2)
                return self._taken_wait
            self._taken_wait = TAKEN_WAIT
            self._prune()
        return 0.0

    def _sync(self) -> None:
        """Bring declared schedules in. What stands in the way of that must not keep back what is due."""
        if self._synced or monotonic() < self._next_sync:
            return
        try:
            sync(self._connection.alias)
            self._synced = True
        except Exception as error:
            if self._connection.connection is None or not self._connection.is_usable():
                raise
            self._next_sync = monotonic() + SYNC_AGAIN
            logger.warning(
                "declared schedules could not be brought in, which is tried again in %d s: %s",
                SYNC_AGAIN, " ".join(str(error).split()),
            )  # fmt: skip

    def _prune(self) -> None:
        """Forget old slots, beside firing new ones: a beat with nothing to do sends nothing but its look."""
        kept = settings.SCHEDULE_RUNS_KEPT
        if kept is not None and monotonic() >= self._next_prune:
            full = prune_runs(self._connection, seconds(kept), PRUNE_BATCH) == PRUNE_BATCH
            self._next_prune = monotonic() + (1.0 if full else PRUNE_EVERY)


def _listen(alias: str, heard: Callable[[], None]) -> None:
    """Hear of changed schedules, in a thread: a connection that does not come must not delay what is due."""
    pause = threading.Event()
    while True:
        try:
            with psycopg.connect(**parameters(alias, "beat listen")) as connection:
                connection.execute(LISTEN)
                heard()  # something may have changed before we listened
                for _ in connection.notifies():
                    heard()
        except Exception as error:
            logger.debug("beat does not hear of changes for now: %s", error)
        pause.wait(LONGEST_PAUSE)


def install_signals(beat: Beat) -> None:
    """Stop on SIGTERM and SIGINT: the first lets what is under way end, the second ends the process."""
    asked = 0

    def stop(number: int, frame: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(128 + number)
        beat.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
