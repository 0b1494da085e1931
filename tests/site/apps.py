"""The site's app."""

import json

from django.apps import AppConfig

from djqueue.serializers import register_serializer


class SiteConfig(AppConfig):
    name = "tests.site"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register_serializer(
            "reversed",
            lambda value: json.dumps(value)[::-1],
            lambda body: json.loads(body.decode()[::-1]),
        )
