"""System checks: what would stop djqueue from working, said before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.management import get_commands
from django.db import connections

from . import conf
from .exceptions import ImproperlyConfigured
from .redaction import redactor
from .schedules.declared import declare
from .serializers.formats import check_installed
from .serializers.rules import rules
from .worker import configuration


@register("djqueue")
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E002: ``DJQUEUE`` holds an unknown name or a value of the wrong kind."""
    given = getattr(django_settings, "DJQUEUE", {})
    found: list[CheckMessage] = [
        Error(message, hint=hint or None, id="djqueue.E002") for message, hint in conf.problems(given)
    ]
    if not found:
        found += [Error(message, id="djqueue.E002") for message in configuration.problems()]
        for name in ("DATABASE", "LISTEN"):
            alias = getattr(conf.settings, name)
            if isinstance(alias, str) and alias not in django_settings.DATABASES:
                found.append(
                    Error(
                        f"DJQUEUE[{name!r}] names the database {alias!r}, which DATABASES does not have",
                        hint="Known are: " + ", ".join(sorted(django_settings.DATABASES)) + ".",
                        id="djqueue.E003",
                    )
                )
    return found


@register("djqueue")
def check_payloads(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: a serializer, the codec or the redaction that ``DJQUEUE`` names cannot be used."""
    if conf.problems(getattr(django_settings, "DJQUEUE", {})):
        return []
    wrong: list[str] = []
    for name in conf.settings.ACCEPT_CONTENT:
        try:
            check_installed(name)
        except (ValueError, ImproperlyConfigured) as error:
            wrong.append(f"DJQUEUE['ACCEPT_CONTENT']: {error}")
    for use in (rules, redactor):
        try:
            use()
        except ImproperlyConfigured as error:
            wrong.append(str(error))
    return [Error(message, id="djqueue.E004") for message in wrong]


@register("djqueue")
def check_schedules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E005: an entry of ``SCHEDULES`` makes no sense."""
    if conf.problems(getattr(django_settings, "DJQUEUE", {})):
        return []
    found: list[CheckMessage] = []
    for name, entry in conf.settings.SCHEDULES.items():
        try:
            declare(name, entry)
        except ValueError as error:
            hint = 'For example {"task": "shop.tasks.clean", "schedule": crontab(minute=0, hour=4)}.'
            found.append(Error(str(error), hint=hint, id="djqueue.E005"))
    return found


@register("djqueue")
def check_time_zones(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E007: ``USE_TZ`` is off, so that moments have no zone and mean two things where clocks are changed."""
    if django_settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True; Django's documentation says how to convert what is stored."
    return [Error("djqueue needs USE_TZ to be True, got: False", hint=hint, id="djqueue.E007")]


@register("djqueue")
def check_routes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E006: a router that ``ROUTES`` names cannot be imported."""
    if conf.problems(getattr(django_settings, "DJQUEUE", {})):
        return []
    try:
        conf.settings.ROUTES.resolve()
    except (ImportError, TypeError) as error:
        return [Error(f"DJQUEUE['ROUTES']: {error}", id="djqueue.E006")]
    return []


@register("djqueue")
def check_vendor(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001: the queue's database is not PostgreSQL."""
    if conf.problems(getattr(django_settings, "DJQUEUE", {})):
        return []
    alias = conf.settings.DATABASE
    if alias not in django_settings.DATABASES:
        return []
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        return []
    return [
        Error(
            f"djqueue needs PostgreSQL 15 or newer, but the database {alias!r} is {vendor}",
            hint=(
                "Point DATABASES['default'] at PostgreSQL (for example through DATABASE_URL=postgres://...), or add "
                "a PostgreSQL entry to DATABASES and name it in DJQUEUE = {'DATABASE': '...'}."
            ),
            id="djqueue.E001",
        )
    ]


@register(Tags.compatibility)
def check_commands(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W001: another app's command of the same name hides ours."""
    found: list[CheckMessage] = []
    commands = get_commands()
    for name in ("runworker", "runbeat"):
        owner = commands.get(name)
        owner = owner if isinstance(owner, str) else getattr(owner, "__module__", None)
        alias = f"djqueue_{name.removeprefix('run')}"
        if owner not in (None, "djqueue") and alias in commands:
            found.append(
                Warning(
                    f"manage.py {name} runs the command of {owner!r}, not djqueue's",
                    hint=f"List 'djqueue' before {owner!r} in INSTALLED_APPS, or use manage.py {alias}.",
                    id="djqueue.W001",
                )
            )
    return found
