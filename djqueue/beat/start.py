"""Starting a beat from a process that has Django set up."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from djqueue import registry
from djqueue.conf import settings
from djqueue.worker.health import Address, readiness, serving_beside
from djqueue.worker.link import parameters

from .beat import Beat, install_signals
from .sync import declared_schedules

OF_THE_CONNECTION = (
    "application_name", "connect_timeout", "tcp_user_timeout",
    "keepalives_idle", "keepalives_interval", "keepalives_count",
)  # fmt: skip


def prepare() -> None:
    """Load the tasks, check what is declared, and make the connection notice a server that vanished.

    Raises what a module with tasks raises, and ``ImproperlyConfigured`` for a schedule that makes no sense.
    """
    if settings.ALWAYS_EAGER:
        raise ImproperlyConfigured("expected DJQUEUE['ALWAYS_EAGER'] to be off: a beat enqueues tasks, it runs none")
    registry.load_all()
    declared_schedules()
    alias = settings.DATABASE
    given = parameters(alias, "beat")
    options = connections[alias].settings_dict["OPTIONS"]
    for name in OF_THE_CONNECTION:
        if name in given:
            options.setdefault(name, given[name])
    connections[alias].close()


def run_beat(address: Address | None = None) -> None:
    """Be a beat until told to stop. Call it in the main thread, after ``prepare``.

    With an address its health is told there. Raises ``HealthFailed`` if that cannot be.
    """
    beat = Beat()
    install_signals(beat)
    with serving_beside(address, {"/live": beat.live, "/ready": lambda: readiness(beat.unready())}):
        beat.run()
