"""`manage.py demo_site`: a worker and the admin, until Ctrl-C."""

import socket
import subprocess
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import CommandParser

from demo_project.stdlib_index.processes import check_alive, running, stop_on_signals

HOST = "127.0.0.1"
PORTS = range(8000, 8020)
START_SECONDS = 30
LOGIN = "demo"


class Command(BaseCommand):
    help = "Run a worker and the admin until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, metavar="N", default=2, help="tasks at a time (2)")

    def handle(self, *, concurrency: int, **options: Any) -> None:
        stop_on_signals()
        call_command("migrate", verbosity=0, interactive=False)
        login = ensure_login()
        port = free_port()
        with (
            suppress(KeyboardInterrupt),
            running("runworker", "--concurrency", str(concurrency)) as worker,
            running("runserver", "--noreload", f"{HOST}:{port}") as server,
        ):
            wait_until_served(port, server)
            self.stdout.write(f"\nThe admin is at http://{HOST}:{port}/admin/ ({login}). Ctrl-C stops it.\n")
            while True:
                check_alive(worker)
                check_alive(server)
                time.sleep(0.5)
        self.stdout.write("Stopped.")


def ensure_login() -> str:
    """Create the user demo, but never where it would open a real site to everyone."""
    if not settings.DEBUG:
        return "log in as a user made with `manage.py createsuperuser`"
    users = get_user_model().objects
    if not users.filter(username=LOGIN).exists():
        users.create_superuser(username=LOGIN, password=LOGIN)
    return f"user {LOGIN}, password {LOGIN}"


def free_port() -> int:
    for port in PORTS:
        with suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise CommandError(f"Expected a free port of {HOST} from {PORTS.start} to {PORTS.stop - 1}; all are in use.")


def wait_until_served(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        check_alive(server)
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.1)
    raise CommandError(f"Expected the site to answer on {HOST}:{port} within {START_SECONDS} s; it does not.")
