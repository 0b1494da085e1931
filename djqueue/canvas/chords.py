"""Chords: a group, and what follows once all of its members have succeeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from djqueue.conf import settings

from .applying import apply_canvas
from .data import given
from .groups import group
from .inplace import run_in_place
from .signatures import Signature, as_signature
from .stamping import StampingVisitor, merged, named
from .steps import Fork, Step

HEADER_ONLY = frozenset(["countdown", "eta"])
"""Options of a call that the body does not get: it begins when the header has ended."""


@Signature.register_type()
class chord(Signature):
    """``chord(header, body)``: the body gets the list of the header's results, in the header's order.

    ``chord(header)(body)`` applies it at once.
    """

    def __init__(
        self,
        header: Any,
        body: Any = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        body = None if body is None else as_signature(body)
        inner = {"kwargs": dict(kwargs or {}), "header": _as_header(header), "body": body}
        super().__init__("djqueue.chord", args, inner, options, subtask_type="chord")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        inner = dict(given["kwargs"])
        built = cls(inner.pop("header"), inner.pop("body", None), given.get("args") or ())
        built["kwargs"].update(inner)
        return built._rebuilt_from(given)

    @property
    def header(self) -> group:
        """The group of which all members must succeed."""
        header: group = self.kwargs["header"]
        return header

    @property
    def tasks(self) -> Any:
        return self.header.tasks

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["header"] = _as_header(value)

    @property
    def body(self) -> Any:
        return self.kwargs.get("body")

    @body.setter
    def body(self, value: Any) -> None:
        self.kwargs["body"] = value

    def steps(self) -> list[Step]:
        header = self.header.steps()
        following: list[Step] = [] if self.body is None else self.body.steps()
        if following or not isinstance(header[0], Fork):
            return [*header, *following]
        return header

    def __length_hint__(self) -> int:
        return self.header.__length_hint__() if self.body is None else 1

    def spend(self) -> None:
        super().spend()
        self.header.spend()
        if self.body is not None:
            self.body.spend()

    def make_distinct(self, seen: set[int]) -> Any:
        own = super().make_distinct(seen)
        if own is self:
            self.tasks = self.header.make_distinct(seen)
            if self.body is not None:
                self.body = self.body.make_distinct(seen)
        return own

    def hand_down(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        args, options = self._taken(args, options)
        links: dict[str, Any] = {name: options.pop(name) for name in ("link", "link_error") if name in options}
        self.header.hand_down(args, {**self.kwargs.get("kwargs", {}), **kwargs}, options)
        if self.body is not None:
            links.update((name, value) for name, value in options.items() if name not in HEADER_ONLY)
            self.body.hand_down((), {}, links)

    def copied(self, *, deep: bool, fresh: bool = False) -> Any:
        copy = super().copied(deep=deep, fresh=fresh)
        copy["kwargs"] = {**self.kwargs, "header": self.header.copied(deep=deep, fresh=fresh)}
        if self.body is not None:
            copy["kwargs"]["body"] = self.body.copied(deep=deep, fresh=fresh)
        return copy

    def _copy_arguments(self, copy: dict[str, Any]) -> None:
        copy["args"] = deepcopy(self.args)

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members of the header take a value."""
        self.header.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Apply ``callback`` to the result of the body."""
        self._body().link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` if the body fails, or cannot run because the header failed.

        With ``DJQUEUE["ALLOW_ERROR_CB_ON_CHORD_HEADER"]`` it is called for each member of the header that fails, too.
        """
        if settings.ALLOW_ERROR_CB_ON_CHORD_HEADER:
            for task in self.tasks:
                task.link_error(as_signature(errback).clone(immutable=True))
        self._body().link_error(errback)
        return errback

    def _body(self) -> Signature:
        if self.body is None:
            raise ValueError("expected the chord to have a body: chord(header, body)")
        body: Signature = self.body
        return body

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        super().stamp(visitor, append_stamps, **headers)
        for part, found in (
            (self.header, {} if visitor is None else visitor.on_chord_header_start(self, **headers)),
            (self.body, {} if visitor is None or self.body is None else visitor.on_chord_body(self, **headers)),
        ):
            stamps = merged(named(headers), named(found), append=append_stamps)
            for task in part.tasks if part is self.header else ([] if part is None else [part]):
                task.stamp(visitor, append_stamps, **stamps)
            if part is self.header and visitor is not None:
                visitor.on_chord_header_end(self, **stamps)
        return self

    def __call__(self, body: Any = None, **options: Any) -> Any:
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def _with_body(self, kwargs: Mapping[str, Any] | None) -> tuple[chord, dict[str, Any]]:
        kwargs = dict(kwargs or {})
        body = kwargs.pop("body", None)
        if body is not None:
            whole: Any = self.clone()
            whole.body = as_signature(body).clone()
            return whole, kwargs
        self._body()
        return self, kwargs

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Enqueue header and body, and return the result of the body."""
        whole, kwargs = self._with_body(kwargs)
        return apply_canvas(whole, args or (), kwargs, given(options))

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        whole, kwargs = self._with_body(kwargs)
        return run_in_place(whole, args or (), kwargs, given(options))

    def __repr__(self) -> str:
        if self.body is None:
            return f"<chord without body: {self.header!r}>"
        return f"%{self.body!r}({self.header!r})"


def _as_header(header: Any) -> group:
    """Return the group that a header is. The members of a chain that is given as one are its steps."""
    if isinstance(header, dict):
        header = as_signature(header)
    if isinstance(header, group):
        return header
    if isinstance(header, Signature) and header.subtask_type == "chain":
        return group(header.kwargs["tasks"])
    return group(header)
