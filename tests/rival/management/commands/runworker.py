"""A command of the same name."""

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write("rival")
