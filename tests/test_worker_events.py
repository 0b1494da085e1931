"""What a site hears of its worker: signals, in their order, and what its tasks log."""

from __future__ import annotations

import logging
import signal

import pytest

from djqueue import get_task_logger, send_task, signals
from djqueue.observability import logs

from .site import signal_tasks as site
from .site.tasks import noop
from .worker_process import Notes, Workers, eventually, stored

pytestmark = pytest.mark.django_db(transaction=True)
MODULES = ["tests.site.signal_tasks"]


def heard(file: Notes, *, but: tuple[str, ...] = ("heartbeat_sent",)) -> list[list[str]]:
    return [line for line in file.lines() if line[0] not in but]


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio", "solo"])
def test_signals_come_in_order(workers: Workers, file: Notes, pool: str):
    worker = workers.run("-P", pool, "-c", "1", environment={"SIGNALS_FILE": file.path}, IMPORTS=MODULES)
    assert noop.delay().get(timeout=30) is None
    assert stored(send_task("tests.unknown")).error["exc_type"] == "NotRegistered"
    eventually(lambda: {"worker_ready", "task_unknown"} <= set(file.texts()))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    names = [line[0] for line in heard(file)]
    assert sorted(names) == sorted(
        [
            "worker_init",
            "worker_process_init",
            "worker_ready",
            "task_received",
            "task_received",
            "task_unknown",
            "worker_shutting_down",
            "worker_process_shutdown",
            "worker_shutdown",
        ]
    )
    assert names[0] == "worker_init"
    assert names.index("worker_process_init") < names.index("task_received") < names.index("task_unknown")
    assert names.index("task_unknown") < names.index("worker_shutting_down")
    assert names.index("task_unknown") < names.index("worker_process_shutdown")
    by_name = {line[0]: line[1:] for line in heard(file)}
    assert by_name["worker_init"] == ["parent", "True"]
    assert by_name["worker_process_init"] == ["parent" if pool == "solo" else "child", "False"]
    assert by_name["worker_shutting_down"][1:] == ["True", "exitcode=0", "how=Warm", "sig=SIGTERM"]
    assert by_name["task_unknown"][1:] == ["False", "name=tests.unknown"]


def test_heartbeats_are_announced(workers: Workers, file: Notes):
    workers.run("-c", "1", environment={"SIGNALS_FILE": file.path}, IMPORTS=MODULES)
    eventually(lambda: file.texts().count("heartbeat_sent") > 1)


def test_what_tasks_log_goes_where_the_worker_logs(workers: Workers):
    worker = workers.run("-c", "1", IMPORTS=MODULES)
    result = site.logs.delay("a line of the task")
    stored(result)
    worker.wait_for_log("a line of the task")


def test_records_know_their_task(caplog: pytest.LogCaptureFixture):
    logger = get_task_logger("shop.tasks")
    assert logger.parent is logging.getLogger("djqueue.task")
    record = logger.makeRecord("shop.tasks", logging.INFO, "", 1, "x", (), None)
    assert logger.filter(record)
    assert (record.task_id, record.task_name) == ("???", "???")
    with pytest.raises(ValueError, match="expected the name of a logger of the site's own"):
        get_task_logger("djqueue.worker")


def test_a_site_may_set_up_logging_by_itself():
    told: list[dict[str, object]] = []

    def set_up(**named: object) -> None:
        told.append(named)

    signals.setup_logging.connect(set_up)
    before = logging.getLogger("djqueue").handlers[:]
    try:
        logs.configure("DEBUG")
    finally:
        signals.setup_logging.disconnect(set_up)
    assert told[0]["loglevel"] == "DEBUG"
    assert logging.getLogger("djqueue").handlers == before
