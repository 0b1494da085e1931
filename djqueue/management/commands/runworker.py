"""``manage.py runworker``: claim tasks and run them."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError

from djqueue.beat.child import BeatFailed
from djqueue.management.argument_types import read_by
from djqueue.management.service import ServiceCommand
from djqueue.observability import beat_logs, logs, worker_metrics  # noqa: F401 - the lines of a beat subscribe
from djqueue.worker.components import ComponentFailed
from djqueue.worker.configuration import LOGLEVELS, OPTIONS, address, bounds, build, duration, gather
from djqueue.worker.forkserver import ForkServerFailed
from djqueue.worker.health import HealthFailed
from djqueue.worker.options import POOLS, PoolRefuses
from djqueue.worker.order import QueueOrder
from djqueue.worker.start import run_worker

EPILOG = """
examples:
  manage.py runworker                            every queue, one executor per core
  manage.py runworker -Q mail,default -c 4       mail before default, four executors
  manage.py runworker -Q '*' -X 'slow*'          every queue but those that begin with slow
  manage.py runworker -Q 'web=5,bulk=1' --queue-order weighted
                                                 both when both are full, web five times as often
  manage.py runworker -P asyncio -c 500          five hundred coroutines on one event loop
  manage.py runworker -P threads --processes 2   two executors of ten threads
  manage.py runworker --autoscale 10,2           two to ten executors, as many as there is work for
  manage.py runworker --burst                    work until the queues are empty, then stop

configuration:
  each option can also be set in the environment, as DJQUEUE_CONCURRENCY, and in the settings, as
  DJQUEUE["CONCURRENCY"]; -n is WORKER_NAME. The command line wins over the environment, that over the settings.

stopping:
  first SIGTERM or Ctrl-C     drain: claim nothing more, finish what runs, exit code 0
  second                      interrupt what runs and put it back in line, exit code 3
  third                       end now; the tasks come back when the lease ends (DJQUEUE["LEASE"])
exit codes: 0 drained, 1 could not start, 2 lost its fork server or its beat, 3 tasks were interrupted
"""


class Command(ServiceCommand):
    help = "Run a worker: claims tasks from PostgreSQL and runs them in executor processes."
    epilog = EPILOG

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_what_to_run(parser.add_argument_group("which tasks"))
        _add_how_to_run(parser.add_argument_group("how they run"))
        _add_limits(parser.add_argument_group("how long, and how often"))
        _add_how_to_stop(parser.add_argument_group("when it stops"))
        _add_beat(parser)
        add_health_port(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            given = gather({option.flag: options[option.flag[2:].replace("-", "_")] for option in OPTIONS})
            asked = build(given)
        except ValueError as error:
            raise CommandError(str(error)) from None
        logs.configure(given["LOGLEVEL"].value)
        self.check_database()
        try:
            code = run_worker(asked, {"/metrics": worker_metrics.page})
        except (PoolRefuses, ComponentFailed, HealthFailed) as error:
            raise CommandError(str(error)) from None
        except ForkServerFailed as error:
            raise CommandError(f"the tasks could not be loaded, so no worker was started:\n\n{error}") from None
        except BeatFailed as error:
            raise CommandError(str(error)) from None
        if code:
            raise SystemExit(int(code))


def _add_what_to_run(group: Any) -> None:
    group.add_argument(
        "-Q",
        "--queues",
        help="queues to serve, separated by commas, the first served first; * and ? are wildcards, !name leaves one "
        "out, name=3 is a weight (default: all)",
    )
    group.add_argument(
        "-X",
        "--exclude-queues",
        help="queues not to serve, separated by commas, with wildcards",
    )
    group.add_argument(
        "--queue-order",
        choices=[order.value for order in QueueOrder],
        help="strict: in the order of --queues; round-robin: in turn; weighted: in turn, by weight (default: strict)",
    )
    group.add_argument(
        "--priority-aging",
        type=duration,
        metavar="SECONDS",
        help="let priorities that are passed over rise by one point in so many seconds (default: none)",
    )


def _add_how_to_run(group: Any) -> None:
    group.add_argument(
        "-P",
        "--pool",
        choices=POOLS,
        help="tasks run in executors: processes of one task each, of some threads, of many coroutines (asyncio) or "
        "greenlets (gevent); solo runs them one at a time in the worker itself, for debugging (default: processes)",
    )
    group.add_argument(
        "-c",
        "--concurrency",
        type=int,
        help="tasks at once: executors of the pool processes (default: one per core), slots in each executor of the "
        "others (default: threads 10, asyncio 100, gevent 100)",
    )
    group.add_argument("--processes", type=int, help="executors of the pools threads, asyncio and gevent (default: 1)")
    group.add_argument(
        "--autoscale",
        type=read_by(bounds),
        metavar="MAX,MIN",
        help="executors between which the pool scales by itself, by the age of what waits in line and by memory; it "
        "begins with MIN unless told otherwise (default: no scaling)",
    )
    group.add_argument(
        "-n",
        "--name",
        help="name; %%h host, %%n its first label, %%d its domain, %%i process id (default: worker-%%i@%%h)",
    )
    group.add_argument(
        "-l",
        "--loglevel",
        type=str.upper,
        choices=LOGLEVELS,
        help="INFO writes a line per task, WARNING only what went wrong (default: INFO)",
    )


def _add_limits(group: Any) -> None:
    group.add_argument(
        "--time-limit",
        type=duration,
        metavar="SECONDS",
        help="kill tasks after so long that have no limit of their own (default: none)",
    )
    group.add_argument(
        "--soft-time-limit",
        type=duration,
        metavar="SECONDS",
        help="raise SoftTimeLimitExceeded in tasks after so long that have no limit of their own (default: none)",
    )
    group.add_argument(
        "--max-tasks-per-child",
        type=int,
        metavar="NUMBER",
        help="put a new executor in the place of one that has run so many tasks (default: never)",
    )
    group.add_argument(
        "--max-memory-per-child",
        type=int,
        metavar="KIB",
        help="put a new executor in the place of one that takes more memory, in KiB (default: never)",
    )


def _add_beat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-B",
        "--beat",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run a beat as well, in a process of its own",
    )


def add_health_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--health-port",
        type=read_by(address),
        metavar="[HOST:]PORT",
        help="answer /live, /ready and /metrics there over HTTP (default: none; without HOST on every address)",
    )


def _add_how_to_stop(group: Any) -> None:
    group.add_argument(
        "--burst", action=argparse.BooleanOptionalAction, default=None, help="stop when nothing is left to run"
    )
    group.add_argument(
        "--drain-timeout",
        type=duration,
        metavar="SECONDS",
        help="interrupt what still runs so long after the first OS signal (default: none)",
    )
