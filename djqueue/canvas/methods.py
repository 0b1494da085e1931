"""What a definition can do with canvases: make signatures of itself, and hand its place to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .maps import chunks, xmap, xstarmap
from .replacing import add_to_chord, check_replacement, replace
from .signatures import Signature

if TYPE_CHECKING:
    from djqueue.context import Request


class CanvasMethods:
    """The part of ``TaskDefinition`` that is about signatures."""

    if TYPE_CHECKING:
        name: str
        trail: bool
        transactional: bool

        @property
        def request(self) -> Request: ...

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a signature of a call: ``add.s(1)`` applied to 2 calls ``add(2, 1)``."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return an immutable signature: it takes nothing from what comes before it."""
        return Signature(self, args, kwargs, immutable=True)

    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a signature with options; ``immutable`` may be one of them."""
        return Signature(self, args, kwargs, **options)

    subtask = signature

    def map(self, it: Iterable[Any]) -> Signature:
        """Return a signature of one task that calls this one for each element, and returns the list of results."""
        return xmap(self.s(), it)

    def starmap(self, it: Iterable[Any]) -> Signature:
        """``map`` for elements that are lists of arguments."""
        return xstarmap(self.s(), it)

    def chunks(self, it: Iterable[Any], n: int) -> Signature:
        """Return a group of tasks that ``starmap`` up to ``n`` elements each."""
        return chunks(self.s(), it, n)

    def add_trail(self, result: Any) -> Any:
        """Add a result to the ``children`` of the task that runs here, unless ``trail`` is off."""
        if self.trail:
            self.request.__dict__.setdefault("children", []).append(result)
        return result

    def replace(self, sig: Signature) -> Any:
        """Let ``sig`` take the place of the task that runs here, which ends with its result. Does not return.

        What follows in a chain, the place in a group, links and errbacks stay with the task's id. Raises
        ``ImproperlyConfigured`` for an empty chain, and ``Replace``, an ``Ignore`` whose ``sig`` is the replacement:
        that is what a test of the function alone sees.
        """
        return self.on_replace(check_replacement(sig))

    def on_replace(self, sig: Signature) -> Any:
        """Called by ``replace()``, so that a subclass can change ``sig``, say stamp it; must end with ``super()``'s."""
        return replace(self.request, sig)

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:
        """Add a member to the header of the chord that the task that runs here is part of, and return its result.

        The member starts when this task has succeeded, and its value is appended to the input of the body. Raises
        ``ValueError`` outside a chord, and ``TypeError`` in a transactional task, which settles itself.
        """
        if self.transactional:
            raise TypeError(f"expected add_to_chord in a task without transactional=True, got: {self.name}")
        return add_to_chord(self.request, sig, lazy=lazy)
