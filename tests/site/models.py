"""What the site's tasks leave behind, so that a test can see from another process that they ran."""

from django.db import models
from django.db.models.functions import Now


class Mark(models.Model):
    """One line of evidence."""

    name = models.TextField()
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Tally(models.Model):
    """A number that tasks raise."""

    name = models.TextField(unique=True)
    count = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.count}"
