"""What the index knows about each source file."""

from django.db import models


class SourceFile(models.Model):
    """One file. ``documentable`` counts its module, classes and functions, ``documented`` those described."""

    path = models.TextField(unique=True)
    parsed = models.BooleanField()
    problem_kind = models.TextField(blank=True, help_text="The exception that reading or parsing raised.")
    problem = models.TextField(blank=True)
    lines = models.IntegerField(default=0)
    functions = models.IntegerField(default=0)
    classes = models.IntegerField(default=0)
    documentable = models.IntegerField(default=0)
    documented = models.IntegerField(default=0)
    longest_function = models.TextField(blank=True)
    longest_function_lines = models.IntegerField(default=0)
    indexed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("path",)

    def __str__(self) -> str:
        return self.path
