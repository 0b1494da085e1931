"""``manage.py djqueue top``: what it shows, once and until it is stopped."""

from __future__ import annotations

import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from .test_admin import new_task, new_worker
from .worker_process import WorkerProcess, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_shows_queues_workers_and_sums() -> None:
    for _ in range(3):
        new_task(queue="mail")
    new_worker("one[red]")
    output = StringIO()
    call_command("djqueue", "top", "--once", stdout=output)
    text = output.getvalue()
    (mail,) = [line.split() for line in text.splitlines() if line.startswith("mail")]
    assert mail[:2] == ["mail", "3"]
    assert "one[red]" in text  # names are no markup
    assert "alive" in text
    assert "last 1h" in text


@pytest.mark.parametrize(
    ("terminal", "number"), [({}, signal.SIGINT), ({"FORCE_COLOR": "1", "TERM": "xterm"}, signal.SIGTERM)]
)
def test_it_refreshes_until_it_is_interrupted(terminal: dict[str, str], number: int) -> None:
    top = WorkerProcess("top", "-n", "0.1", command="djqueue", environment=terminal)
    try:
        eventually(lambda: top.log.count("Queues") > 2, what="some refreshes")
        top.send(number)
        assert top.wait() == 0
    finally:
        top.end()


def test_an_interval_must_make_sense() -> None:
    with pytest.raises(CommandError, match=r"expected --interval to be 0\.1 to 3600 seconds, got: 0"):
        call_command("djqueue", "top", "-n", "0")
