"""The Django app."""

from django.apps import AppConfig


class StdlibIndexConfig(AppConfig):
    name = "demo_project.stdlib_index"
    verbose_name = "Index of the standard library"
    default_auto_field = "django.db.models.BigAutoField"
