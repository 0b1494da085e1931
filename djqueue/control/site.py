"""Questions about the site, which a process that has it loaded answers: its tasks, settings and versions."""

from __future__ import annotations

import platform
from typing import Any

import django
import psycopg
from django.db import connections

import djqueue
from djqueue import registry
from djqueue.conf import Settings, settings
from djqueue.redaction import redact

from .catalogue import WorkerState, inspect_command


@inspect_command
def registered(state: WorkerState, attributes: list[str] | None = None) -> list[str]:
    """names of the tasks that are known, with attributes of their definitions"""
    named = []
    for name in registry.names():
        definition = registry.get(name)
        values = {a: getattr(definition, a, None) for a in attributes or ()}
        shown = " ".join(f"{a}={value}" for a, value in values.items() if value is not None)
        named.append(f"{name} [{shown}]" if shown else name)
    return named


@inspect_command
def conf(state: WorkerState, with_defaults: bool = False) -> dict[str, Any]:
    """the settings in DJQUEUE; secrets are hidden"""
    usual = Settings()
    shown = {
        name: value
        for name, value in settings.as_dict().items()
        if with_defaults or getattr(settings, name) != getattr(usual, name)
    }
    return {name: _plain(redact(value)) for name, value in shown.items()}


@inspect_command
def report(state: WorkerState) -> dict[str, str]:
    """versions, platform and settings, for a report of a fault"""
    given = connections[settings.DATABASE]
    given.ensure_connection()
    lines = [
        f"software -> djqueue:{djqueue.__version__} django:{django.get_version()} psycopg:{psycopg.__version__}",
        f"            python:{platform.python_version()} postgresql:{given.connection.info.server_version}",
        f"platform -> system:{platform.system()} {platform.release()} machine:{platform.machine()}",
        f"worker   -> {state.hostname} pool:{state.pool} executors:{state.processes} queues:{state.queues}",
        *(f"{name}: {value!r}" for name, value in conf(state).items()),
    ]
    return {"ok": "\n".join(lines)}


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value == value):
        return value if value not in (float("inf"), -float("inf")) else str(value)
    return str(value)
