"""Workers: one row each, renewed by its heartbeat."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Worker(models.Model):
    """A process that claims and settles. Its leases are believed until ``lease_until``."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(_("name"))
    host = models.TextField(_("host"))
    pid = models.IntegerField(_("process id"))
    queues = models.TextField(_("queues"))
    pool = models.TextField(_("pool"))
    processes = models.IntegerField(_("processes"), db_default=1)
    concurrency = models.IntegerField(_("concurrency"))
    version = models.TextField(_("version"))
    started_at = models.DateTimeField(_("started"), db_default=Now())
    heartbeat_at = models.DateTimeField(_("last heartbeat"), db_default=Now())
    lease_until = models.DateTimeField(_("lease until"))
    draining = models.BooleanField(_("draining"), default=False)
    running = models.IntegerField(_("running now"), default=0)
    succeeded = models.BigIntegerField(_("succeeded"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    lost = models.BigIntegerField(_("lost"), default=0)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        permissions = [("control_worker", "Can quiet, stop, grow and shrink workers")]
        db_table_comment = "Live workers; one heartbeat row each."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return self.name
