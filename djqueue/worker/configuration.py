"""Configuration: what a worker is asked to be, by command line, environment or settings, and by which of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from djqueue.conf import settings

from . import options
from .health import Address
from .options import Bounds, WorkerOptions
from .order import QueueOrder
from .queues import QueueSelection

LOGLEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TRUE, FALSE = ("true", "on", "yes", "y", "ok", "1"), ("false", "off", "no", "n", "0")


class Option(NamedTuple):
    """One option: ``flag`` on the command line, ``DJQUEUE[name]`` in the settings, ``DJQUEUE_<name>`` in between.

    ``read`` makes a value of what the environment or the settings say, or raises ``ValueError`` that says what it
    expected.
    """

    name: str
    flag: str
    read: Callable[[Any], Any]
    default: Any = None


class Given(NamedTuple):
    """A value, and where it comes from; an empty ``source`` is the default."""

    value: Any
    source: str


def number(given: Any) -> int | None:
    """Return a whole number; 0 and None are for the default."""
    if given is None or isinstance(given, int):
        return given or None
    try:
        return int(given) or None
    except ValueError:
        raise ValueError("a whole number") from None


def duration(given: Any) -> float | None:
    """Return seconds; ``none`` is for no limit."""
    if given is None:
        return None
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, str) and given.strip().lower() == "none":
        return math.inf
    try:
        return float(given)
    except ValueError:
        raise ValueError("a number of seconds, or none") from None


def bounds(given: Any) -> Bounds | None:
    """Return the least and the most of ``MAX,MIN``, or of two numbers; ``MAX`` alone has 1 as the least."""
    if given is None or (isinstance(given, str) and given.strip().lower() in ("", "none")):
        return None
    try:
        numbers = [int(one) for one in (given.split(",") if isinstance(given, str) else given)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise ValueError("MAX,MIN, two whole numbers")
    return Bounds(numbers[1] if len(numbers) == 2 else 1, numbers[0])


def truth(given: Any) -> bool:
    word = str(given).strip().lower()
    if word not in TRUE + FALSE:
        raise ValueError(f"one of {', '.join(TRUE + FALSE)}")
    return word in TRUE


def names(given: Any) -> str:
    """Return names separated by commas; a list will do."""
    return given if isinstance(given, str) else ",".join(given)


def one_of(known: tuple[str, ...], convert: Callable[[str], str]) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        value = convert(str(given).strip())
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return value

    return read


def address(given: Any) -> Address:
    """Return where to listen: ``PORT`` or ``HOST:PORT``; ``none`` is for nowhere."""
    text = str(given).strip()
    if text.lower() in ("", "none"):
        return Address("", 0)
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("PORT or HOST:PORT")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


OPTIONS = (
    Option("QUEUES", "--queues", names, "*"),
    Option("EXCLUDE_QUEUES", "--exclude-queues", names, ""),
    Option("QUEUE_ORDER", "--queue-order", one_of(tuple(QueueOrder), str.lower), QueueOrder.STRICT.value),
    Option("PRIORITY_AGING", "--priority-aging", duration),
    Option("POOL", "--pool", one_of(tuple(options.POOLS), str.lower), "processes"),
    Option("CONCURRENCY", "--concurrency", number),
    Option("PROCESSES", "--processes", number),
    Option("WORKER_NAME", "--name", str, "worker-%i@%h"),
    Option("LOGLEVEL", "--loglevel", one_of(LOGLEVELS, str.upper), "INFO"),
    Option("TIME_LIMIT", "--time-limit", duration),
    Option("SOFT_TIME_LIMIT", "--soft-time-limit", duration),
    Option("MAX_TASKS_PER_CHILD", "--max-tasks-per-child", number),
    Option("MAX_MEMORY_PER_CHILD", "--max-memory-per-child", number),
    Option("AUTOSCALE", "--autoscale", bounds),
    Option("BURST", "--burst", truth, False),
    Option("BEAT", "--beat", truth, False),
    Option("DRAIN_TIMEOUT", "--drain-timeout", duration),
    Option("HEALTH_PORT", "--health-port", address),
)
BEAT_OPTIONS = (Option("BEAT_HEALTH_PORT", "--health-port", address),)
"""Those of ``runbeat``: a beat beside a worker on one host needs a port of its own."""


def gather(command_line: Mapping[str, Any], options: Sequence[Option] = OPTIONS) -> dict[str, Given]:
    """Return what was asked for, by name of the setting: by the command line, else by the environment, else by the
    settings.

    ``command_line`` is keyed by flag, ``None`` for those not given. Raises ``ValueError`` naming the source of a value
    that makes no sense.
    """
    return {option.name: _given(option, command_line.get(option.flag)) for option in options}


def _given(option: Option, argument: Any) -> Given:
    if argument is not None:
        return Given(argument, option.flag)
    variable = f"DJQUEUE_{option.name}"
    if text := _environment(variable):
        return Given(_read(option, text, variable), variable)
    settings = getattr(django_settings, "DJQUEUE", {})
    if settings.get(option.name) is not None:
        source = f"DJQUEUE[{option.name!r}]"
        return Given(_read(option, settings[option.name], source), source)
    return Given(option.default, "")


def _read(option: Option, value: Any, source: str) -> Any:
    try:
        return option.read(value)
    except ValueError as error:
        raise ValueError(f"expected {source} to be {error}, got: {value!r}") from None


def _environment(variable: str) -> str:
    """Return an environment variable, with references resolved where django-environ is there to do so."""
    if variable not in os.environ:
        return ""
    try:
        import environ
    except ImportError:
        return os.environ[variable].strip()
    try:
        return str(environ.Env().str(variable)).strip()
    except ImproperlyConfigured as error:
        raise ValueError(f"expected {variable} to be a value, got: {os.environ[variable]!r} ({error})") from None


def build(given: Mapping[str, Given]) -> WorkerOptions:
    """Return the options of a worker. Raises ``ValueError`` naming the source of a value that makes no sense."""
    pool = given["POOL"].value
    least_and_most = options.autoscale(*given["AUTOSCALE"], pool)
    slots, executors = _size(given, pool, least_and_most)
    hard, soft = options.limits(given["TIME_LIMIT"], given["SOFT_TIME_LIMIT"])
    asked = WorkerOptions(
        queues=QueueSelection(
            given["QUEUES"].value.split(","),
            given["EXCLUDE_QUEUES"].value.split(","),
            sources=(given["QUEUES"].source, given["EXCLUDE_QUEUES"].source),
            order=given["QUEUE_ORDER"].value,
            aging=options.aging(*given["PRIORITY_AGING"]),
            broadcasts=settings.BROADCAST_QUEUES,
        ),
        name=options.worker_name(*given["WORKER_NAME"]),
        pool=pool,
        concurrency=slots,
        processes=executors,
        autoscale=least_and_most,
        burst=given["BURST"].value,
        beat=given["BEAT"].value,
        health=given["HEALTH_PORT"].value,
        drain_timeout=options.drain_timeout(*given["DRAIN_TIMEOUT"]),
        time_limit=hard,
        soft_time_limit=soft,
        max_tasks_per_child=options.most(*given["MAX_TASKS_PER_CHILD"]),
        max_memory_per_child=options.most(*given["MAX_MEMORY_PER_CHILD"]),
        given=tuple(f"{name}={value} ({source})" for name, (value, source) in given.items() if source),
    )
    options.refuse_what_cannot_be(asked, {name: one.source for name, one in given.items()})
    return asked


def _size(given: Mapping[str, Given], pool: str, least_and_most: Bounds | None) -> tuple[int, int]:
    """Return the slots of an executor, and how many executors there are at first: the fewest, unless told."""
    concurrency, processes = given["CONCURRENCY"], given["PROCESSES"]
    if least_and_most is not None and pool == "processes" and concurrency.value is None:
        concurrency = concurrency._replace(value=least_and_most.least)
    elif least_and_most is not None and pool != "processes" and processes.value is None:
        processes = processes._replace(value=least_and_most.least)
    slots = options.concurrency(*concurrency, pool)
    executors = options.processes(*processes, pool, slots)
    options.check_start(executors, least_and_most, (concurrency if pool == "processes" else processes).source)
    return slots, executors


def problems() -> list[str]:
    """Return what is wrong with the options of workers and beats in the settings and the environment."""
    try:
        build(gather({}))
        gather({}, BEAT_OPTIONS)
    except ValueError as error:
        return [str(error)]
    return []
