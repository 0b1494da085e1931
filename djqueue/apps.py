"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class DjqueueConfig(AppConfig):
    name = "djqueue"
    verbose_name = _("Task queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, tasks  # noqa: F401 - they register themselves

        given = getattr(settings, "DJQUEUE", None)  # what is wrong with it is for the checks to say
        if isinstance(given, dict) and given.get("OPENTELEMETRY") is True:
            from .observability import telemetry

            telemetry.install()
