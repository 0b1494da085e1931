"""``manage.py djqueue token``: make a token for the JSON API and the metrics."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from djqueue.api.tokens import id_of, make_token

HELP = "make a token with which a machine uses the JSON API"

DESCRIPTION = """\
Prints a token that stands for a user of the staff. It is stored nowhere: it
ends by itself, when the user's password changes, or when the user is made
inactive. What it may do is what the user may do in the admin. Its id goes to
stderr: in DJQUEUE["REVOKED_TOKENS"] that ends this token and no other.
"""
EXAMPLES = """\
examples:
  manage.py djqueue token prometheus --read-only --days 365
  curl -H "Authorization: Bearer $TOKEN" https://example.org/djqueue/api/queues/
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("username")
    parser.add_argument("--days", type=float, default=90, metavar="NUMBER", help="how long it is valid (90)")
    parser.add_argument("--read-only", action="store_true", help="it can change nothing")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: options["username"]}).first()
    if user is None:
        raise CommandError(f"expected the name of a user, got: {options['username']!r}")
    if not (user.is_active and user.is_staff):
        raise CommandError(f"expected {options['username']} to be active and of the staff: others cannot use the API")
    try:
        valid = timedelta(days=options["days"])
        token = make_token(user, valid, read_only=options["read_only"])
    except (OverflowError, ValueError):
        raise CommandError(f"expected --days to be above 0, got: {options['days']:g}") from None
    command.stdout.write(token)
    command.stderr.write(f"its id is {id_of(token)}")
