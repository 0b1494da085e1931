"""The tree of results: what caused a result, and what it caused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from .exceptions import IncompleteStream


class ResultNode:
    """A result with the result before it (``parent``) and those that its task caused (``children``)."""

    __slots__ = ()

    of_task: ClassVar[type[Any]]
    """The class of results of one task."""

    id: str
    parent: Any

    def __init_subclass__(cls, *, of_one_task: bool = False) -> None:
        if of_one_task:
            ResultNode.of_task = cls

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this one has caused."""
        return []

    def ready(self) -> bool:
        raise NotImplementedError

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ``((id, parent), None)``, the parent likewise: enough for ``result_from_tuple``."""
        return (self.id, None if self.parent is None else self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Return the ids of this and all results before it, the latest first."""
        return [self.id, *([] if self.parent is None else self.parent.as_list())]

    def parents(self) -> Iterator[Any]:
        """Yield the result before this one, the one before that, and so on."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of a result and one that it caused, by distance, beginning with ``(None, self)``.

        Raises ``IncompleteStream`` at one that has not finished, whose children are not all known, unless
        ``intermediate``.
        """
        line: deque[tuple[Any, Any]] = deque([(None, self)])
        seen: set[str] = set()
        while line:
            parent, node = line.popleft()
            yield parent, node
            if not (node.ready() or intermediate):
                raise IncompleteStream(f"task {node.id} has not finished, so it may still cause others")
            if node.id not in seen:
                seen.add(node.id)
                line.extend((node, child) for child in node.children)

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield this result and all that it caused with their values; ``options`` are those of ``get``."""
        for _, node in self.iterdeps(intermediate):
            found: Any = node
            yield found, found.get(**options)

    def get_leaf(self) -> Any:
        """Return the value of the last result that this one caused."""
        return [value for _, value in self.collect()][-1]

    @property
    def graph(self) -> dict[Any, list[Any]]:
        """Each result of the tree with the list of those that it caused."""
        found: dict[Any, list[Any]] = {}
        for parent, node in self.iterdeps(intermediate=True):
            found.setdefault(node, [])
            if parent is not None:
                found[parent].append(node)
        return found
