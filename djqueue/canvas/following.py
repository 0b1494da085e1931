"""Following: what waits for a running task, as signatures: ``request.chain`` and ``request.callbacks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections

from djqueue.conf import settings
from djqueue.planned import Takes
from djqueue.serializers import decode, decode_arguments
from djqueue.store.following import Follower, followers

from .groups import group
from .signatures import Signature


def following(task_id: str) -> dict[str, Any]:
    """Return ``chain``, the steps after a task with the next one last, as in Celery, and ``callbacks``, its links.

    A step that is a group is the group of its members' first tasks.
    """
    with connections[settings.DATABASE].cursor() as cursor:
        found = followers(cursor, task_id)
    links = [one for one in found if one.waits_for == task_id and _is_link(one)]
    waiting: dict[str, list[Follower]] = {}
    for one in found:
        if not _is_link(one):
            waiting.setdefault(one.waits_for, []).append(one)
    chain, here = [], task_id
    while steps := waiting.get(here):
        own = _group_of(steps, waiting)
        chain.append(_signature(steps[0]) if own is None else group([_signature(step) for step in steps]))
        here = steps[0].id if own is None else own
    return {"chain": chain[::-1] or None, "callbacks": [_signature(link) for link in links] or None}


def _group_of(steps: Sequence[Follower], waiting: Mapping[str, Sequence[Follower]]) -> str | None:
    """Return the group whose members begin with these steps, if they do; the last task of a member belongs to it."""
    last = steps[0]
    while len(steps) > 1 and last.group_id is None and last.id in waiting:
        last = waiting[last.id][0]
    return last.group_id


def _is_link(follower: Follower) -> bool:
    return follower.options is not None and bool(decode(follower.options).get("djqueue_link"))


def _signature(follower: Follower) -> Signature:
    args, kwargs = decode_arguments(follower.args, follower.kwargs, follower.name)
    options = {"task_id": follower.id, "queue": follower.queue, "priority": follower.priority}
    return Signature(follower.name, args, kwargs, options, immutable=follower.takes == Takes.NOTHING)
