"""Health endpoints of workers and beats, asked over HTTP while they live, drain, and lose their database."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from http.client import HTTPConnection
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.test import override_settings

from djqueue.worker.configuration import BEAT_OPTIONS, address, gather
from djqueue.worker.health import Address, HealthFailed, Page, serving, serving_beside

from .beats import running_beats
from .private_server import ALIAS, private_database
from .site.tasks import add
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, eventually, running_workers, stored

PATIENCE = 10.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def status_of(port: int, path: str) -> int:
    """Return the status of a page, 0 while nobody listens."""
    try:
        return ask(port, path)[0]
    except OSError:
        return 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_a_worker_tells_its_health_and_what_it_has_done(workers: Workers, pool: str) -> None:
    port = free_port()
    worker = workers.run("-c", "1", "-P", pool, "--health-port", f"127.0.0.1:{port}")
    assert ask(port, "/live") == (200, '{"status": "live"}')
    eventually(lambda: status_of(port, "/ready") == 200, what="a worker that is ready")
    stored(add.delay(2, 3))
    counted = f'djqueue_attempts_total{{outcome="succeeded",queue="default",task="{add.name}"}} 1.0'
    eventually(lambda: counted in ask(port, "/metrics")[1], what="the attempt in the metrics")
    text = ask(port, "/metrics")[1]
    assert f'djqueue_run_seconds_count{{queue="default",task="{add.name}"}} 1.0' in text
    assert f'djqueue_run_seconds_bucket{{le="+Inf",queue="default",task="{add.name}"}} 1.0' in text
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_drains_lives_and_is_not_ready(workers: Workers, file: Notes) -> None:
    port = free_port()
    worker = workers.run("-c", "1", environment={"DJQUEUE_HEALTH_PORT": str(port)})
    notes.delay(file.path, "begun", 60.0)
    file.await_lines(1)
    worker.send(signal.SIGTERM)
    eventually(lambda: status_of(port, "/ready") == 503, what="a worker that is not ready")
    assert json.loads(ask(port, "/ready")[1])["draining"]
    assert ask(port, "/live")[0] == 200
    worker.send(signal.SIGTERM)
    assert worker.wait() == 3


def test_what_is_not_there_is_refused_by_name() -> None:
    port = free_port()
    with serving_beside(Address("127.0.0.1", port), {"/live": lambda: 1 / 0}):  # type: ignore[dict-item, return-value]
        assert ask(port, "/other?x=1") == (404, '{"error": "expected one of /live, got: /other"}')
        assert ask(port, "/live", "POST")[0] == 405
        assert ask(port, "/live") == (500, '{"error": "ZeroDivisionError"}')
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as rude:
            rude.sendall(b"GET /" + b"x" * 100_000)
            assert rude.recv(1) == b""


def test_head_has_no_body() -> None:
    port = free_port()
    with serving_beside(Address("127.0.0.1", port), {"/live": lambda: Page(200, "text")}):  # type: ignore[arg-type]
        pass
    assert status_of(port, "/live") == 0


def test_a_port_that_is_taken_is_an_error() -> None:
    async def serve(port: int) -> None:
        async with serving(Address("127.0.0.1", port), {}):
            pass

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HealthFailed, match="expected the health port to be free, got: "):
            asyncio.run(serve(taken.getsockname()[1]))


@pytest.mark.django_db(transaction=True)
def test_a_worker_does_not_start_on_a_port_that_is_taken(workers: Workers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        worker = workers.start("-c", "1", "--health-port", f"127.0.0.1:{taken.getsockname()[1]}")
        assert worker.wait() == 1
        assert "expected the health port to be free" in worker.log


@pytest.mark.parametrize(
    ("given", "read"),
    [("8080", ("", 8080)), ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), (9000, ("", 9000))],
)
def test_addresses(given: Any, read: tuple[str, int]) -> None:
    assert address(given) == read


@pytest.mark.parametrize("given", ["x", "0", "65536", "host:", "-1", "1.5"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ValueError, match="PORT or HOST:PORT"):
        address(given)


@pytest.mark.django_db(transaction=True)
def test_a_beat_tells_its_health() -> None:
    port = free_port()
    with running_beats() as beats:
        beat = beats.start("--health-port", f"127.0.0.1:{port}", command="runbeat")
        eventually(lambda: status_of(port, "/ready") == 200, what="a beat that is ready")
        assert ask(port, "/live")[0] == 200
        beat.send(signal.SIGTERM)
        assert beat.wait() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("source", ["environment", "settings"])
def test_the_port_of_a_beat_comes_from_where_a_workers_may(source: str) -> None:
    wanted, other = (f"127.0.0.1:{free_port()}" for _ in range(2))
    given: dict[str, Any] = {"BEAT_HEALTH_PORT": other, "HEALTH_PORT": other, "environment": {}}
    if source == "environment":
        given["environment"] = {"DJQUEUE_BEAT_HEALTH_PORT": wanted}
    else:
        given["BEAT_HEALTH_PORT"] = wanted
    with running_beats() as beats:
        beats.start(command="runbeat", **given)
        port = int(wanted.partition(":")[2])
        eventually(lambda: status_of(port, "/ready") == 200, what="a beat that is ready")
        assert status_of(int(other.partition(":")[2]), "/live") == 0


def test_the_command_line_wins_and_may_take_a_port_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def port(*command_line: str) -> Any:
        given = {"--health-port": address(*command_line) if command_line else None}
        return gather(given, BEAT_OPTIONS)["BEAT_HEALTH_PORT"]

    with override_settings(DJQUEUE={"BEAT_HEALTH_PORT": 8001}):
        assert port() == (("", 8001), "DJQUEUE['BEAT_HEALTH_PORT']")
        monkeypatch.setenv("DJQUEUE_BEAT_HEALTH_PORT", "8002")
        assert port() == (("", 8002), "DJQUEUE_BEAT_HEALTH_PORT")
        assert port("8003") == (("", 8003), "--health-port")
        assert not port("none").value
        monkeypatch.setenv("DJQUEUE_BEAT_HEALTH_PORT", "door")
        with pytest.raises(
            SystemCheckError, match="expected DJQUEUE_BEAT_HEALTH_PORT to be PORT or HOST:PORT, got: 'd"
        ):
            call_command("check")


@pytest.mark.django_db(transaction=True)
def test_a_port_that_makes_no_sense_stops_a_beat() -> None:
    with running_beats() as beats:
        beat = beats.start(command="runbeat", environment={"DJQUEUE_BEAT_HEALTH_PORT": "door"})
        assert beat.wait() == 1
        assert "expected DJQUEUE_BEAT_HEALTH_PORT to be PORT or HOST:PORT, got: 'door'" in beat.log
        assert "Traceback" not in beat.log


def test_without_a_database_worker_and_beat_live_and_are_not_ready(
    django_db_setup: None, django_db_blocker: Any
) -> None:
    ports = free_port(), free_port()
    with (
        django_db_blocker.unblock(),
        private_database() as server,
        running_workers(server.database, using=ALIAS) as workers,
    ):
        workers.run("-c", "1", "--health-port", f"127.0.0.1:{ports[0]}")
        # Without a schedule a beat would look at its database every half minute.
        each_second = {"often": {"task": add.name, "args": (1, 2), "schedule": 1, "options": {"queue": "nobody"}}}
        workers.start("--health-port", f"127.0.0.1:{ports[1]}", command="runbeat", SCHEDULES=each_second)
        for port in ports:
            eventually(lambda port=port: status_of(port, "/ready") == 200, what="somebody who is ready")
        server.stop(signal.SIGQUIT)
        connections[ALIAS].close()
        for port in ports:
            eventually(lambda port=port: status_of(port, "/ready") == 503, what="somebody who is not ready")
            assert status_of(port, "/live") == 200
        server.start()
        for port in ports:
            eventually(lambda port=port: status_of(port, "/ready") == 200, what="somebody who is ready again")
