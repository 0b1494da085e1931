"""Groups: signatures that are applied at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from .applying import apply_canvas, apply_stream
from .compound import Compound
from .data import given, listed
from .inplace import run_in_place
from .signatures import Signature, as_signature
from .steps import Fork, Step, side_by_side, size


class Stream:
    """Members that a generator makes, kept as they come; whoever needs them all makes it run to its end."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._source = map(as_signature, source)
        self._kept: list[Signature] = []
        self._broken: Exception | None = None

    def __iter__(self) -> Iterator[Signature]:
        for place in itertools.count():
            if place == len(self._kept):
                if self._broken is not None:  # what raised has ended: its members so far are not all that were meant
                    raise ValueError(f"expected a group whose generator did not raise, got: {self._broken!r}")
                try:
                    self._kept.append(next(self._source))
                except StopIteration:
                    return
                except Exception as error:
                    self._broken = error
                    raise
            yield self._kept[place]

    def __len__(self) -> int:
        return len(list(self))

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    def __repr__(self) -> str:
        return repr(list(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return deepcopy(list(self), memo)

    def __json__(self) -> list[Signature]:
        return list(self)


@Signature.register_type()
class group(Compound):
    """Signatures to apply at the same time: ``group(a, b)``, or of a list or generator. Its result is their list."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks[0] if len(tasks) == 1 else tasks
        if isinstance(members, group):
            members = members.tasks
        elif isinstance(members, Signature) or (isinstance(members, dict) and "task" in members):
            members = [as_signature(members)]
        elif isinstance(members, Iterator):
            members = Stream(members)
        if not isinstance(members, Stream | list) or not all(isinstance(t, Signature) for t in _seen(members)):
            members = [as_signature(member) for member in members]
        super().__init__("djqueue.group", (), {"tasks": members}, options, subtask_type="group")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        built = cls([as_signature(task) for task in given["kwargs"]["tasks"]])
        return built._rebuilt_from(given)

    def steps(self) -> list[Step]:
        return [Fork(self, side_by_side(self.tasks))]

    def __length_hint__(self) -> int:
        return sum(size(member) for member in side_by_side(self.tasks))

    @property
    def streams(self) -> bool:
        """Whether members are made while it is applied."""
        return isinstance(self.tasks, Stream)

    def hand_down(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        args, options = self._taken(args, options)
        links = listed(options.pop("link", None))
        for task in self.tasks:
            task.hand_down(args, kwargs, options)
        for callback in links:
            self.link(as_signature(callback))

    def set_immutable(self, immutable: bool) -> None:
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Apply ``callback`` once the first member has succeeded, without a value: it would be that member's only."""
        if not self.tasks:
            return callback
        return self.tasks[0].link(as_signature(callback).clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` for each member that fails."""
        return tuple(task.link_error(as_signature(errback).clone()) for task in self.tasks)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Give the members countdowns that grow by ``step`` seconds, from ``start`` on and up to ``stop``."""
        countdown = start
        for task in self.tasks:
            task.set(countdown=countdown)
            countdown = countdown + step if stop is None or countdown + step <= stop else start
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Enqueue all members and return a ``GroupResult``.

        Of a generator each member is enqueued, and outside a transaction committed, as it is made.
        """
        for option in ("link", "link_error"):
            if options.get(option) is not None:
                raise TypeError(f"expected {option} to be added to the members of a group, got it in apply_async()")
        if self.streams:
            return apply_stream(self, self.tasks, args or (), kwargs or {}, given(options))
        return apply_canvas(self, args or (), kwargs or {}, given(options))

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return run_in_place(self, args or (), kwargs or {}, given(options))

    def __repr__(self) -> str:
        shown = [repr(task) for task in self.tasks]
        return f"group({', '.join(shown) if shown else '<empty>'})"


def _seen(members: Any) -> list[Any]:
    return members if isinstance(members, list) else []
