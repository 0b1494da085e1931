"""Exchanges and bindings: routing that is edited while the system runs."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from djqueue.routing import check_queue
from djqueue.routing.topics import LONGEST_KEY, ExchangeKind, check_binding_key


def validate_queue(queue: str) -> None:
    """Raise ``ValidationError`` unless ``queue`` can name a queue."""
    try:
        check_queue(queue)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class Exchange(models.Model):
    """What ``apply_async(exchange=...)`` names; its bindings say which queues a call reaches."""

    name = models.CharField(_("name"), primary_key=True, max_length=LONGEST_KEY, db_collation="C")
    kind = models.CharField(
        _("kind"),
        max_length=10,
        default=ExchangeKind.DIRECT.value,
        choices=[
            (ExchangeKind.DIRECT.value, _("direct: the routing key is that of the binding")),
            (ExchangeKind.TOPIC.value, _("topic: * stands for one word, # for any number of words")),
            (ExchangeKind.FANOUT.value, _("fanout: every binding, whatever the routing key")),
        ],
    )
    description = models.TextField(_("description"), blank=True)

    class Meta:
        verbose_name = _("exchange")
        verbose_name_plural = _("exchanges")
        db_table_comment = "What calls may name in place of a queue; producers read them anew every few seconds."
        required_db_features = ("supports_comments",)
        constraints = [
            models.CheckConstraint(
                name="djqueue_exchange_kind", condition=models.Q(kind__in=[kind.value for kind in ExchangeKind])
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Binding(models.Model):
    """A queue that an exchange leads to, for routing keys that fit."""

    exchange = models.ForeignKey(Exchange, on_delete=models.CASCADE, related_name="bindings")
    routing_key = models.CharField(
        _("routing key"),
        max_length=LONGEST_KEY,
        blank=True,
        db_collation="C",
        help_text=_("For a topic a pattern, such as orders.*.paid or logs.#; for a fanout empty."),
    )
    queue = models.CharField(_("queue"), max_length=128, db_collation="C", validators=[validate_queue])

    class Meta:
        verbose_name = _("binding")
        verbose_name_plural = _("bindings")
        db_table_comment = "The queues that exchanges lead to."
        required_db_features = ("supports_comments",)
        constraints = [
            models.UniqueConstraint(fields=["exchange", "routing_key", "queue"], name="djqueue_binding_once"),
            models.CheckConstraint(name="djqueue_binding_queue", condition=~models.Q(queue="")),
        ]

    def __str__(self) -> str:
        return f"{self.exchange_id} {self.routing_key or '-'} > {self.queue}"

    def clean(self) -> None:
        """Raise ``ValidationError`` for a routing key that makes no sense for the kind of the exchange."""
        try:
            check_binding_key(self.exchange.kind, self.routing_key)
        except Exchange.DoesNotExist:
            return
        except ValueError as error:
            raise ValidationError({"routing_key": str(error)}) from None
