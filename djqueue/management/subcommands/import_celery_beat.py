"""``manage.py djqueue import_celery_beat``: take over the schedules of django-celery-beat."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from djqueue.beat.celery_import import Imported, has_tables, read, write
from djqueue.conf import settings
from djqueue.schedules.words import in_words

HELP = "take over the schedules of django-celery-beat"

DESCRIPTION = """\
Reads django-celery-beat's tables, which may be there without the app, and
says of each row what schedule it becomes, or why it cannot become one. Writes
nothing unless told to with --write; then all rows that can, in one
transaction. Rows whose name is taken are left alone, so it can be repeated.

Stop Celery's beat before you write: both would fire.
"""
EXAMPLES = """\
examples:
  manage.py djqueue import_celery_beat            see what would happen
  manage.py djqueue import_celery_beat --write    do it
exit codes: 0, or 1 if a row is refused
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="store the schedules (default: only say what would be)")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    using = settings.DATABASE
    if not has_tables(using):
        raise CommandError(f"the database {using!r} has no table django_celery_beat_periodictask")
    imported = read(using)
    for one in imported:
        command.stdout.write(_line(command, one))
        for note in one.notes:
            command.stdout.write(f"    {note}")
    refused = sum(one.schedule is None for one in imported)
    if options["write"]:
        command.stdout.write(f"\n{write(imported, using)} imported, {refused} refused.")
    else:
        command.stdout.write(f"\n{len(imported) - refused} can be imported, {refused} refused. --write stores them.")
    if refused:
        sys.exit(1)


def _line(command: BaseCommand, one: Imported) -> str:
    if one.schedule is None:
        return f"{command.style.ERROR('refused')}  {one.name}: {one.refused}"
    zone = f" {one.schedule.timezone}" if one.schedule.timezone else ""
    off = "" if one.schedule.enabled else ", switched off"
    when = in_words(one.schedule.timing())
    return f"{command.style.SUCCESS('imports')}  {one.name}: {one.schedule.task}, {when}{zone}{off}"
