"""Chains: signatures of which each gets the result of the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from djqueue.results import GroupResult

from .applying import apply_canvas
from .chords import chord
from .compound import Compound
from .data import given, listed
from .groups import group
from .inplace import run_in_place
from .signatures import Signature, as_signature
from .steps import Step, in_sequence, size

HANDED = ("root_id", "parent_id", "add_to_parent")
"""Options of a call that are about all of what it makes."""


@Signature.register_type("chain")
class Chain(Compound):
    """Steps one after the other. Made by ``chain`` and by ``|``."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        parts: Iterable[Any] = tasks
        if len(tasks) == 1 and not isinstance(tasks[0], dict):
            parts = tasks[0]
        parts = [as_signature(part) for part in parts]
        super().__init__("djqueue.chain", (), {"tasks": parts}, options, subtask_type="chain")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        kind = Chain if cls is chain else cls
        built = kind([as_signature(task) for task in given["kwargs"]["tasks"]])
        return built._rebuilt_from(given)

    def steps(self) -> list[Step]:
        return in_sequence(self.tasks)

    def __length_hint__(self) -> int:
        return size(self.steps())

    def hand_down(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        args, options = self._taken(args, options)
        links, errbacks = listed(options.pop("link", None)), listed(options.pop("link_error", None))
        parts = [task for task in self.tasks if task.steps()]
        for part in parts:
            first = part is parts[0]
            its = dict(options) if first else {}
            if errbacks:
                its["link_error"] = errbacks
            part.hand_down(args if first else (), kwargs if first else {}, its)
        if parts:
            for callback in links:
                parts[-1].link(as_signature(callback))

    def flattened(self) -> list[Signature]:
        """Return copies of the steps, with what is linked to the chain linked to them."""
        tasks = [task.clone() for task in self.tasks]
        if tasks:
            for callback in listed(self.options.get("link")):
                tasks[-1].link(callback)
            for errback in listed(self.options.get("link_error")):
                for task in tasks:
                    task.link_error(errback)
        return tasks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs) if self.tasks else None

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Enqueue all steps and return the result of the last; None if there are none."""
        return apply_canvas(self, args or (), kwargs or {}, given(options))

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return run_in_place(self, args or (), kwargs or {}, given(options))

    def __repr__(self) -> str:
        if not self.tasks:
            return "<chain: empty>"
        first, *others = [repr(task) for task in self.tasks]
        module = first.partition("(")[0].rpartition(".")[0]  # as in Celery, it is not repeated
        return " | ".join([first, *(shown.removeprefix(f"{module}.") for shown in others)])

    @classmethod
    def joined(cls, left: Signature, right: Signature) -> Signature:
        """Return ``left | right``."""
        if isinstance(left, Chain):
            return Joining(type(left), left.flattened()).followed_by([right]).result()
        return Joining(cls, [left], alone=isinstance(left, group | chord)).followed_by([right]).result()

    @classmethod
    def called(cls, sig: Signature, options: dict[str, Any]) -> Any:
        """Enqueue a call with its links and with what follows it, and return the result of the call itself.

        Of the options ``chain`` is what follows, the next step last, as in Celery, and ``chord`` the body that gets
        the value in a list.
        """
        following, body = listed(options.pop("chain", None)), options.pop("chord", None)
        if not following and body is None:
            return apply_canvas(sig, (), {}, options)
        if options.get("group_id") is not None:
            raise TypeError("expected chain and chord without group_id: a member of a group has what follows the group")
        handed: dict[str, Any] = {name: options.pop(name) for name in HANDED if name in options}
        sig.hand_down((), {}, options)
        whole: Signature = Chain([sig, *reversed([as_signature(step) for step in following])])
        whole = whole if body is None else chord([whole], body)
        result = _first_of(apply_canvas(whole, (), {}, handed))
        return _first_of(result[0]) if isinstance(result, GroupResult) else result


def _first_of(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


class Joining:
    """A chain in the making. Groups that are followed by something become chords.

    ``alone`` as long as it is one group or chord, which needs no chain around it.
    """

    def __init__(self, kind: type[Chain], parts: list[Signature], *, alone: bool = False) -> None:
        self._kind = kind
        self._parts = parts
        self._alone = alone
        self._made: set[int] = set()

    def followed_by(self, parts: Iterable[Signature]) -> Joining:
        for part in parts:
            self._add(part)
        return self

    def result(self) -> Signature:
        return self._parts[0] if self._alone else self._kind(self._parts)

    def _add(self, part: Signature) -> None:
        if isinstance(part, Chain):
            if self._alone and isinstance(self._parts[0], chord):
                self._alone = False
                self.followed_by(part.flattened())
            elif self._alone:
                self._follow_group(part)
            else:
                self.followed_by(part.flattened())
        elif isinstance(part, group) and not part.streams and len(part.tasks) in ((0, 1) if self._parts else (1,)):
            self.followed_by(part.tasks)  # nothing, or the member itself
        elif not self._parts:
            self._alone = isinstance(part, group)
            self._parts = [part]
        else:
            self._follow(part)

    def _follow(self, part: Signature) -> None:
        last = self._parts[-1]
        if isinstance(last, group) and (self._alone or not isinstance(part, group)):
            self._follow_group(part)
        elif isinstance(last, chord) and last.body is not None and not isinstance(part, chord):
            if self._alone and isinstance(part, group):
                self._alone = False
                self._parts.append(part)
            else:
                self._extend_body(part)
        else:
            self._alone = False
            self._parts.append(part)

    def _follow_group(self, part: Signature) -> None:
        made = chord(self._parts.pop(), part)
        self._made.add(id(made))
        before = self._parts[-1] if self._parts else None
        if isinstance(before, chord) and before.body is not None:
            self._extend_body(made)  # of two chords in a row, the second becomes part of the first one's body
        else:
            self._parts.append(made)

    def _extend_body(self, part: Signature) -> None:
        whole: Any = self._parts[-1]
        if id(whole) not in self._made:
            whole = self._parts[-1] = whole.clone()
            self._made.add(id(whole))
        whole.body = whole.body | part


class chain(Chain):
    """``chain(a, b, c)``, or of a list: each step gets the result of the one before it.

    Makes what ``a | b | c`` makes, which may be a chord or, of a list with one element, that element.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if cls is not chain:
            return super().__new__(cls)
        if options or not tasks or (len(tasks) == 1 and isinstance(tasks[0], dict)):
            return Chain(*tasks, **options)
        parts = [as_signature(task) for task in (tasks[0] if len(tasks) == 1 else tasks)]
        if len(parts) == 1:
            return parts[0]
        return Joining(Chain, []).followed_by(parts).result()
