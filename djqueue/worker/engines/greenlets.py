"""Many tasks at once, a greenlet each: the pool ``gevent``. The whole process is patched before anything is loaded."""

from __future__ import annotations

from .threads import ThreadEngine, ThreadSlot


class GreenletSlot(ThreadSlot):
    """A slot whose thread is a greenlet. An error is raised in it where it waits."""


class GreenletEngine(ThreadEngine):
    """Runs tasks in the threads of a patched process, which are greenlets."""

    slot_class = GreenletSlot
