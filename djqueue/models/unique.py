"""Unique keys: which task took a key last."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from djqueue.uniqueness import Until


class UniqueKey(models.Model):
    """The task that took a key last. Whether it still holds it is where the task stands (``store/unique.py``).

    It holds it until ``held_until`` in any case. ``first_at`` is when it took it, ``seq`` a number that its place in
    line is not below.
    """

    key = models.TextField(primary_key=True, db_collation="C")
    task_id = models.UUIDField()
    until = models.SmallIntegerField(choices=[(until.value, until.name.lower()) for until in Until])
    held_until = models.DateTimeField(null=True)
    first_at = models.DateTimeField()
    seq = models.BigIntegerField()

    class Meta:
        verbose_name = _("unique key")
        verbose_name_plural = _("unique keys")
        default_permissions = ()
        db_table_comment = "Which task took a unique key last; pruned when the task has finished."
        required_db_features = ("supports_comments",)
        constraints = [
            models.CheckConstraint(
                name="djqueue_unique_until", condition=models.Q(until__in=[until.value for until in Until])
            ),
        ]

    def __str__(self) -> str:
        return self.key
