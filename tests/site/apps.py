"""The site's app."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tests.site"
    default_auto_field = "django.db.models.BigAutoField"
