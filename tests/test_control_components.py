"""Components of a worker: their order, what they may do, and what becomes of those that fail."""

from __future__ import annotations

import re
from typing import Any

import pytest

from djqueue.models import Worker
from djqueue.worker.components import ComponentFailed, load, ordered, path_of

from .site.tasks import noop
from .worker_process import Notes, WorkerProcess, Workers, all_finished, eventually

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.site.components."


def start(workers: Workers, file: Notes, *names: str, pool: str = "threads") -> WorkerProcess:
    size = () if pool == "solo" else ("-c", "1")
    return workers.start(
        "-P",
        pool,
        *size,
        "-n",
        "one@here",
        environment={"COMPONENT_NOTES": file.path},
        WORKER_COMPONENTS=[HERE + name for name in names],
    )


def lines(file: Notes, *kinds: str) -> list[str]:
    return [" ".join(line) for line in file.lines() if line[0] in kinds]


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_they_start_and_stop_in_the_order_of_what_they_require(workers: Workers, file: Notes, pool: str):
    worker = start(workers, file, "House", "Wall", "Ground", pool=pool).ready()
    assert lines(file, "start") == ["start Ground one@here", "start Wall one@here", "start House one@here"]
    eventually(all_finished([noop.delay()]))
    eventually(lambda: lines(file, "settled") == [f"settled {noop.name} SUCCEEDED"])
    before = len(lines(file, "tick"))
    eventually(lambda: len(lines(file, "tick")) > before + 3)

    worker.send(15)
    assert worker.wait() == 0
    assert lines(file, "stop", "cancelled") == ["cancelled Ground", "stop House", "stop Wall", "stop Ground"]


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_one_that_cannot_start_stops_the_start_and_those_before_it(workers: Workers, file: Notes, pool: str):
    worker = start(workers, file, "Refuses", "Ground", pool=pool)
    assert worker.wait() == 1
    assert f"CommandError: the component {HERE}Refuses could not start: OSError: port 80 is taken" in worker.log
    assert "Traceback" not in worker.log
    assert lines(file, "start", "stop") == ["start Ground one@here", "stop Ground"]
    assert not Worker.objects.exists()
    assert not worker.survivors()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Missing"], "could not be loaded: ImportError"),
        (["NotOne"], "to name subclasses of djqueue.worker.components.Component, got: tests.site.components.NotOne"),
        (["Lonely"], f"{HERE}Lonely requires shop.components.Friend, which DJQUEUE['WORKER_COMPONENTS'] does not"),
        (["Egg", "Chicken"], "components require each other in a circle: "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_an_error_that_names_it(names: list[str], message: str):
    with pytest.raises(ComponentFailed, match=re.escape(message)):
        ordered(load(HERE + name for name in names))


def test_a_worker_with_a_component_that_cannot_be_does_not_start(workers: Workers, file: Notes):
    worker = start(workers, file, "Missing")
    assert worker.wait() == 1
    assert "could not be loaded: ImportError" in worker.log
    assert "Traceback" not in worker.log


def test_one_that_fails_is_started_again_and_then_given_up(workers: Workers, file: Notes):
    worker = start(workers, file, "Failing", "FailsTwice").ready()
    worker.wait_for_log(f"the component {HERE}Failing failed; it is given up")
    assert len(lines(file, "run")) >= 4
    assert worker.log.count("Failing failed; it starts again in") == 3
    assert "it starts again in 0.05 s" in worker.log
    assert "it starts again in 0.2 s" in worker.log
    assert "RuntimeError: the lemons are sold out" in worker.log
    eventually(lambda: lines(file, "run").count("run 3") == 1)
    assert lines(file, "run").count("run Failing") == 4
    eventually(all_finished([noop.delay()]))
    worker.send(15)
    assert worker.wait() == 0
    assert "stop Failing" in lines(file, "stop")


def test_one_that_hangs_at_the_end_holds_up_nobody(workers: Workers, file: Notes):
    worker = start(workers, file, "Ground", "HangsAtTheEnd").ready()
    worker.send(15)
    assert worker.wait() == 0
    assert f"the component {HERE}HangsAtTheEnd failed" in worker.log
    assert lines(file, "stop") == ["stop Ground"]


def test_a_path_that_is_named_twice_is_one_component():
    (kind,) = load([f"{HERE}Ground", f"{HERE}Ground"])
    assert path_of(kind) == f"{HERE}Ground"
    assert ordered([kind]) == [kind]
    for path in (f"{HERE}function", "nonsense", "tests.no_such.Thing"):
        with pytest.raises(ComponentFailed, match=path):
            load([path])


def test_order_is_otherwise_as_given():
    names: list[Any] = load(HERE + name for name in ("Failing", "FailsTwice", "HangsAtTheEnd"))
    assert ordered(names) == names
