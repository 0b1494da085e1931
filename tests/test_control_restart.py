"""A command while the database restarts."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import psutil
import pytest
from django.test import override_settings

from djqueue import control
from djqueue.control import asking
from djqueue.store.commands import Reply

from .private_server import ALIAS, private_database
from .worker_process import running_workers


def test_a_command_while_the_database_restarts_is_answered_when_it_is_back(
    django_db_setup: None, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
):
    with (
        django_db_blocker.unblock(),
        private_database() as server,
        running_workers(server.database, using=ALIAS) as workers,
    ):
        worker = psutil.Process(workers.run("-c", "1", "-n", "one@here", LEASE=30, HEARTBEAT=1).pid)
        read, restarts = asking.store.read_replies, 0

        def restart_first(cursor: object, command_id: int) -> Sequence[Reply]:
            """When the command has been sent, and before the worker can take it."""
            nonlocal restarts
            restarts += 1
            if restarts == 1:
                server.stop(signal.SIGINT)
                server.start()
                worker.resume()
            return read(cursor, command_id)  # type: ignore[arg-type]

        with override_settings(DJQUEUE={"DATABASE": ALIAS}):
            assert control.inspect(timeout=20).ping() == {"one@here": {"ok": "pong"}}
            monkeypatch.setattr(asking.store, "read_replies", restart_first)
            worker.suspend()
            replies = control.inspect(timeout=20).ping()

        assert replies == {"one@here": {"ok": "pong"}}
        assert restarts > 1
