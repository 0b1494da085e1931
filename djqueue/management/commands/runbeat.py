"""``manage.py runbeat``: fire schedules."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error

from djqueue import conf
from djqueue.beat.beat import Beat
from djqueue.beat.start import prepare, run_beat
from djqueue.management.argument_types import read_by
from djqueue.management.service import ServiceCommand
from djqueue.observability import beat_logs, logs  # noqa: F401 - the lines of a beat subscribe
from djqueue.worker.configuration import BEAT_OPTIONS, address, gather
from djqueue.worker.health import HealthFailed

EPILOG = """
examples:
  manage.py runbeat              fire schedules until it is stopped
  manage.py runbeat --once       fire what is due now and end, as from cron

Any number of beats may run, on any number of hosts: each slot fires once. SIGTERM or Ctrl-C lets the batch that is
under way end (exit code 0); a second one ends it now, and another beat fires what was under way.
"""


class Command(ServiceCommand):
    help = "Run a beat: enqueues the tasks of schedules when they are due."
    epilog = EPILOG

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="fire what is due now and end")
        parser.add_argument(
            "--health-port",
            type=read_by(address),
            metavar="[HOST:]PORT",
            help="answer /live and /ready there over HTTP; also DJQUEUE_BEAT_HEALTH_PORT in the environment and "
            'DJQUEUE["BEAT_HEALTH_PORT"] (default: none)',
        )
        parser.add_argument(
            "-l",
            "--loglevel",
            default="INFO",
            type=str.upper,
            choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
            help="INFO writes a line per slot, WARNING only what went wrong (default: INFO)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        logs.configure(options["loglevel"])
        try:
            given = gather({"--health-port": options["health_port"]}, BEAT_OPTIONS)
            prepare()
        except (ImproperlyConfigured, ValueError) as error:
            raise CommandError(str(error)) from None
        self.check_database()
        if not options["once"]:
            try:
                run_beat(given["BEAT_HEALTH_PORT"].value)
            except HealthFailed as error:
                raise CommandError(str(error)) from None
            return
        try:
            with closing(Beat()) as beat:
                fired = beat.once()
        except Error as error:
            raise CommandError(f"the database {conf.settings.DATABASE!r} does not answer: {error}") from error
        self.stdout.write(f"{fired.schedules} schedules were due, {fired.tasks} tasks enqueued")
