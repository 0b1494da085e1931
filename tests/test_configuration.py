"""Where a worker's options come from: command line, environment, settings, defaults, in that order."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from djqueue.conf import settings
from djqueue.models import Worker
from djqueue.worker import configuration
from djqueue.worker.configuration import OPTIONS, Given, build, gather

from .worker_process import Workers, eventually


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS:
        monkeypatch.delenv(f"DJQUEUE_{option.name}", raising=False)


def asked(command_line: dict[str, Any] | None = None, **djqueue: Any) -> configuration.WorkerOptions:
    with override_settings(DJQUEUE=djqueue):
        assert settings.DATABASE == "default"  # the settings are valid as such
        return build(gather(command_line or {}))


def test_without_any_of_them_the_defaults_hold() -> None:
    options = asked()

    assert (options.pool, options.slots, str(options.queues), options.time_limit) == ("processes", 1, "*", None)
    assert options.processes == options.concurrency >= 1
    assert options.given == ()
    assert not options.burst


@pytest.mark.parametrize(("pool", "slots"), [("threads", 10), ("asyncio", 100), ("gevent", 100), ("solo", 1)])
def test_each_pool_has_its_usual_concurrency(pool: str, slots: int) -> None:
    options = asked(POOL=pool)

    assert (options.slots, options.processes) == (slots, 1)


def test_the_command_line_wins_over_the_environment_and_that_over_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"CONCURRENCY": 3, "MAX_TASKS_PER_CHILD": 30, "QUEUES": ["a", "b*"]}
    assert asked(**values).concurrency == 3
    assert str(asked(**values).queues) == "a,b*"

    monkeypatch.setenv("DJQUEUE_CONCURRENCY", "4")
    monkeypatch.setenv("DJQUEUE_QUEUES", "c")
    options = asked({"--queues": "d,e"}, **values)

    assert (options.concurrency, options.max_tasks_per_child, str(options.queues)) == (4, 30, "d,e")
    assert options.given == (
        "QUEUES=d,e (--queues)",
        "CONCURRENCY=4 (DJQUEUE_CONCURRENCY)",
        "MAX_TASKS_PER_CHILD=30 (DJQUEUE['MAX_TASKS_PER_CHILD'])",
    )


READ: list[tuple[str, str, Any, str, Any]] = [
    ("POOL", "Threads", "threads", "pool", "threads"),
    ("TIME_LIMIT", "2.5", timedelta(seconds=2.5), "time_limit", 2.5),
    ("TIME_LIMIT", "none", None, "time_limit", None),
    ("SOFT_TIME_LIMIT", "2", 2, "soft_time_limit", 2.0),
    ("MAX_MEMORY_PER_CHILD", "1000", 1000, "max_memory_per_child", 1000),
    ("AUTOSCALE", "5,2", (5, 2), "autoscale", (2, 5)),
    ("AUTOSCALE", "5", [5], "autoscale", (1, 5)),
    ("AUTOSCALE", "none", None, "autoscale", None),
    ("BURST", "yes", True, "burst", True),
    ("BURST", "off", False, "burst", False),
    ("BEAT", "yes", True, "beat", True),
    ("DRAIN_TIMEOUT", "30", timedelta(seconds=30), "drain_timeout", 30.0),
    ("WORKER_NAME", "one@there", "one@there", "name", "one@there"),
]


@pytest.mark.parametrize(("name", "text", "value", "attribute", "expected"), READ)
@pytest.mark.parametrize("with_environ", [True, False])
def test_environment_and_settings_say_the_same_in_their_own_ways(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
    value: Any,
    attribute: str,
    expected: Any,
    with_environ: bool,
) -> None:
    assert getattr(asked(**{name: value}), attribute) == expected
    if not with_environ:
        monkeypatch.setitem(sys.modules, "environ", None)
    monkeypatch.setenv(f"DJQUEUE_{name}", text)
    assert getattr(asked(), attribute) == expected


def test_the_environment_may_refer_to_another_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As django-environ has it."""
    monkeypatch.setenv("CORES", "7")
    monkeypatch.setenv("DJQUEUE_CONCURRENCY", "$CORES")

    assert asked().concurrency == 7

    monkeypatch.delenv("CORES")
    with pytest.raises(ValueError, match="expected DJQUEUE_CONCURRENCY to be a value"):
        asked()


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJQUEUE_CONCURRENCY", "")

    assert asked(CONCURRENCY=2).concurrency == 2


BAD: dict[str, tuple[str, str]] = {
    "QUEUE_ORDER": ("random", "one of strict, round-robin, weighted"),
    "PRIORITY_AGING": ("slow", "a number of seconds, or none"),
    "CONCURRENCY": ("many", "expected DJQUEUE_CONCURRENCY to be a whole number, got: 'many'"),
    "PROCESSES": ("-2", "with --pool processes, where --concurrency is the number of executors, got: -2"),
    "POOL": ("eventlet", "expected DJQUEUE_POOL to be one of processes, threads, asyncio, gevent, solo, got: "),
    "LOGLEVEL": ("loud", "expected DJQUEUE_LOGLEVEL to be one of DEBUG"),
    "TIME_LIMIT": ("soon", "expected DJQUEUE_TIME_LIMIT to be a number of seconds, or none, got: 'soon'"),
    "SOFT_TIME_LIMIT": ("-1", "expected DJQUEUE_SOFT_TIME_LIMIT to be a number of seconds above 0, got: -1.0"),
    "MAX_TASKS_PER_CHILD": ("-1", "expected DJQUEUE_MAX_TASKS_PER_CHILD to be 1 or more, got: -1"),
    "MAX_MEMORY_PER_CHILD": ("1.5", "expected DJQUEUE_MAX_MEMORY_PER_CHILD to be a whole number, got: '1.5'"),
    "AUTOSCALE": ("many", "expected DJQUEUE_AUTOSCALE to be MAX,MIN, two whole numbers, got: 'many'"),
    "HEALTH_PORT": ("door", "expected DJQUEUE_HEALTH_PORT to be"),
    "BURST": ("maybe", "expected DJQUEUE_BURST to be one of true, on"),
    "BEAT": ("maybe", "expected DJQUEUE_BEAT to be one of true, on"),
    "DRAIN_TIMEOUT": ("-1", "expected DJQUEUE_DRAIN_TIMEOUT to be a number of seconds, 0 or more, got: -1"),
    "WORKER_NAME": ("%x", "expected DJQUEUE_WORKER_NAME to use only %h"),
    "QUEUES": ("a b", "expected DJQUEUE_QUEUES to hold names of queues"),
    "EXCLUDE_QUEUES": ("a b", "expected DJQUEUE_EXCLUDE_QUEUES to hold names of queues"),
}


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_a_bad_value_names_its_source(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, message = BAD[name]
    monkeypatch.setenv(f"DJQUEUE_{name}", text)

    with pytest.raises(ValueError, match=r"^expected ") as raised:
        asked()
    assert message in str(raised.value)


def test_a_bad_value_in_the_settings_is_a_failing_check() -> None:
    with (
        override_settings(DJQUEUE={"POOL": "fibers"}),
        pytest.raises(SystemCheckError, match=r"expected DJQUEUE\['POOL'\] to be one of processes"),
    ):
        call_command("check")


def test_limits_that_contradict_each_other_name_both_sources() -> None:
    message = r"^expected --soft-time-limit to be at most DJQUEUE\['TIME_LIMIT'\] \(5 s\), got: 6$"
    with pytest.raises(ValueError, match=message):
        asked({"--soft-time-limit": 6.0}, TIME_LIMIT=5)


@pytest.mark.parametrize("name", ["TIME_LIMIT", "MAX_TASKS_PER_CHILD", "MAX_MEMORY_PER_CHILD"])
def test_what_solo_cannot_honour_is_refused_by_the_name_of_its_source(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^--pool solo cannot honour DJQUEUE\['{name}'\] \(7\): "):
        asked({"--pool": "solo"}, **{name: 7})


def test_gevent_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    with pytest.raises(ValueError, match="DJANGO_SETTINGS_MODULE of the environment: not set"):
        asked(POOL="gevent")
    monkeypatch.setattr("djqueue.worker.options.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs gevent: pip install 'django-djqueue\[gevent\]'"):
        asked(POOL="gevent")


def test_a_limit_of_the_settings_can_be_taken_back() -> None:
    assert asked({"--pool": "solo", "--time-limit": configuration.duration("none")}, TIME_LIMIT=7).time_limit is None


def test_every_option_is_a_setting() -> None:
    assert {option.name for option in OPTIONS} <= settings.as_dict().keys()
    assert gather({}).keys() == {option.name for option in OPTIONS}
    assert gather({"--pool": "solo"})["POOL"] == Given("solo", "--pool")


def test_a_worker_says_what_it_was_given_and_by_whom(workers: Workers) -> None:
    worker = workers.run(
        "-c", "3", environment={"DJQUEUE_POOL": "threads", "DJQUEUE_PROCESSES": "2"}, QUEUES=["mail", "default"]
    )

    assert "queues=mail,default pool=threads processes=2 concurrency=3 " in worker.log
    line = worker.wait_for_log("was given: ")
    given = (
        "QUEUES=mail,default (DJQUEUE['QUEUES']), POOL=threads (DJQUEUE_POOL), CONCURRENCY=3 (--concurrency), "
        "PROCESSES=2 (DJQUEUE_PROCESSES)"
    )
    assert given in line
    row = Worker.objects.get()
    assert (row.pool, row.processes, row.concurrency) == ("threads", 2, 3)
    eventually(lambda: len(worker.executors()) == 2)


def test_a_bad_variable_stops_a_worker_before_it_starts(workers: Workers) -> None:
    worker = workers.start(environment={"DJQUEUE_CONCURRENCY": "many"})

    assert worker.wait() == 1
    assert "expected DJQUEUE_CONCURRENCY to be a whole number, got: 'many'" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("pool", ["solo"])
def test_a_pool_that_cannot_honour_what_a_task_asks_for_does_not_start(workers: Workers, pool: str) -> None:
    worker = workers.start("-P", pool, IMPORTS=["tests.site.limited_tasks"])

    assert worker.wait() == 1
    assert "--pool solo cannot honour time_limit=60 of task tests.site.limited_tasks.knows_its_limits: " in worker.log
    assert "Traceback" not in worker.log
    assert not Worker.objects.exists()
