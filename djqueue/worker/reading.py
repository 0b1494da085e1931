"""Reading a claim: its arguments, options and the request of its attempt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from djqueue.canvas.following import following
from djqueue.context import Request, request_of
from djqueue.definition import TaskDefinition
from djqueue.records import Claim
from djqueue.serializers import decode, decode_arguments

from .seat import Seat


class Order(NamedTuple):
    """What was asked for; ``context`` is what the claim found out about it besides.

    ``failing`` is what is stored of the task that failed, if this one is its errback.
    """

    args: Sequence[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    context: dict[str, Any]
    request: Request
    in_workflow: bool
    failing: dict[str, Any] | None

    def void(self, now: float) -> str | None:
        """Return why the task is not to start at the monotonic time ``now``, or None."""
        if self.context.get("cancelled") or self.request.is_aborted():
            return "revoked"
        expires_at = self.context.get("expires_at")
        return None if expires_at is None or now < expires_at else "expired"

    def ignores_result(self, definition: TaskDefinition) -> bool:
        """Whether nobody is to get the result, not even a later step."""
        return not self.in_workflow and bool(self.options.get("ignore_result", definition.ignore_result))


def read(claim: Claim, seat: Seat) -> Order:
    """Return what a claim asks for. Raises what decoding raises, or ``TypeError`` for options that make no sense."""
    args, kwargs = decode_arguments(claim.args, claim.kwargs, claim.name)
    options = decode(claim.options) if claim.options else {}
    if type(options) is not dict:
        raise TypeError(f"expected the stored options of task {claim.name} to be a dict, got: {options!r}")
    context = decode(claim.context) if claim.context else {}
    request = request_of(claim.name, claim.id, args, kwargs, options, context)
    request.update(
        hostname=seat.hostname,
        attempt=claim.attempt,
        delivery_info={
            "exchange": options.get("exchange", ""),
            "routing_key": options.get("routing_key", claim.queue),
            "priority": claim.priority,
            "redelivered": claim.attempt > 1 + request.retries,
        },
        report=partial(seat.report, claim.id, claim.attempt),
        is_aborted=partial(seat.is_aborted, claim.id),
    )
    if claim.in_workflow:
        request.update(following=partial(following, claim.id))
    return Order(args, kwargs, options, context, request, claim.in_workflow, options.get("errback"))
