"""Links in eager mode: what is applied in place once a task has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from djqueue import states
from djqueue.attempt import Ended
from djqueue.context import Request
from djqueue.serializers import decode_result

from .data import listed
from .errbacks import run_errbacks
from .signatures import as_signature


def eager_links(options: dict[str, Any]) -> Callable[[Request, Ended], None]:
    """Take links and errbacks out of the options of a call; return what runs those that its end calls for."""
    links = [as_signature(link) for link in listed(options.pop("link", None))]
    errbacks = [as_signature(errback) for errback in listed(options.pop("link_error", None))]

    def run(request: Request, ended: Ended) -> None:
        if ended.state == states.SUCCESS:
            for link in links:
                options = {} if link.subtask_type or link.immutable else {"before": 1}
                link.apply((decode_result(ended.text),), parent_id=request.id, root_id=request.root_id, **options)
        elif ended.error is not None:
            run_errbacks(errbacks, request, ended.error)

    return run
