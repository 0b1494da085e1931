"""Maps: one task that calls another for each element of a list, and chunks of such tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from .groups import group
from .signatures import Signature, as_signature


class Mapped(Signature):
    """A task that calls another for each element of ``it`` and returns the list of the results."""

    _name: str
    _kind: str

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(
            self._name,
            (),
            {"task": as_signature(task), "it": list(it)},
            options,
            subtask_type=self._kind,
            immutable=True,
        )

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        return cls(given["kwargs"]["task"], given["kwargs"]["it"])._rebuilt_from(given)

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(x) for x in {_shortened(self.kwargs['it'])}]"


@Signature.register_type()
class xmap(Mapped):
    """``add.map([1, 2])``: one task that returns ``[add(1), add(2)]``."""

    _name, _kind = "djqueue.map", "xmap"


@Signature.register_type()
class xstarmap(Mapped):
    """``add.starmap([(1, 2), (3, 4)])``: one task that returns ``[add(1, 2), add(3, 4)]``."""

    _name, _kind = "djqueue.starmap", "xstarmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(*x) for x in {_shortened(self.kwargs['it'])}]"


@Signature.register_type()
class chunks(Signature):
    """``add.chunks(pairs, 10)``: a group of tasks that call ``add`` for ten of the pairs each."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"expected the size of chunks to be 1 or more, got: {n!r}")
        inner = {"task": as_signature(task), "it": list(it), "n": n}
        super().__init__("djqueue.chunks", (), inner, options, subtask_type="chunks", immutable=True)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        inner = given["kwargs"]
        return cls(inner["task"], inner["it"], inner["n"])._rebuilt_from(given)

    def group(self) -> group:
        """Return the group that it stands for."""
        remaining = iter(self.kwargs["it"])
        parts = iter(lambda: list(islice(remaining, self.kwargs["n"])), [])
        return group([xstarmap(self.kwargs["task"].clone(), part, **self.options) for part in parts])

    def steps(self) -> Any:
        return self.group().steps()

    def make_distinct(self, seen: set[int]) -> Any:
        return self.group().make_distinct(seen)

    def __length_hint__(self) -> int:
        return self.group().__length_hint__()

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Enqueue the tasks and return their ``GroupResult``."""
        return self.group().apply_async(args or (), kwargs or {}, **options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return self.group().apply(args or (), kwargs or {}, **options)


def _shortened(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= 100 else f"{text[:97]}..."
