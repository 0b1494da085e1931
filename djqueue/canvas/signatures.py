"""Signatures: a call of a task as data, to be linked to others and applied later, here or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from djqueue import registry
from djqueue.calls import LINKING
from djqueue.enqueue import send_task
from djqueue.results import AsyncResult

from .data import SignatureData, given, listed
from .frozen import freeze_steps
from .stamping import StampingVisitor, stamp_links, stamps_for


@SignatureData.register_type("task")
class Signature(SignatureData):
    """A task's name, arguments and options.

    What it is applied to is prepended to ``args``, unless it is immutable. Being a dict, it goes through JSON as it is;
    ``Signature.from_dict`` makes a signature of the result again.
    """

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as one would write it."""
        args, kwargs, _ = self._merge(args, kwargs)
        shown = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        return f"{self['task']}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def clone(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Return a copy that shares nothing with this one, with ``args`` prepended and the rest updated."""
        copy = self.copied(deep=True)
        copy.set(immutable=options.pop("immutable", None))
        args, copy["kwargs"], copy["options"] = copy._merge(args, kwargs, options, force=True)
        copy["args"] = tuple(args)
        return copy

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a copy with other arguments or options instead of its own."""
        copy = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[name] = value
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options of the call, and whether it takes what it is applied to; return itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    def _add_link(self, name: str, callback: Any) -> Any:
        links = self.options.get(name)
        if not isinstance(links, list):
            links = self.options[name] = listed(links)
        if callback not in links:
            links.append(callback)
        return callback

    def link(self, callback: Any) -> Any:
        """Apply ``callback`` to the result once this has succeeded; return ``callback``."""
        return self._add_link("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` if this fails; return ``errback``."""
        return self._add_link("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """``link_error`` that returns the signature itself."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Signature]:
        """Return this and all that is linked to it, and to that in turn."""
        links = (as_signature(link) for link in listed(self.options.get("link")))
        return [self, *(found for link in links for found in link.flatten_links())]

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Set stamps, given as ``headers`` or by a visitor, of this, what it consists of and what is linked to it."""
        stamp_links(self, visitor, append_stamps, headers)
        found = {} if visitor is None else visitor.on_signature(self, **headers) or {}
        return self.set(**stamps_for(self, found, headers, append_stamps=append_stamps))

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Choose the ids of all tasks that applying this will make, and return the result that it will have."""
        self.options.update(given({"group_id": group_id, "chord": chord, "group_index": group_index}))
        return freeze_steps(self, _id, root_id, parent_id)

    _freeze = freeze

    def AsyncResult(self) -> AsyncResult:
        """Return the result of the task with the id that was chosen."""
        if self.id is None:
            raise ValueError(f"expected {self!r} to be frozen, so that it has an id")
        return AsyncResult(self.id)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now."""
        args, kwargs, _ = self._merge(args, kwargs)
        return self.type(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Enqueue the task; options are those of ``TaskDefinition.apply_async``."""
        args, kwargs, merged = self._merge(args, kwargs, given(options))
        merged = dict(merged)
        if self.spent and "task_id" not in options:
            del merged["task_id"]  # applied again, it is a new task
        self.spent = self.frozen
        definition = self._type or registry.find(self["task"])
        if definition is not None:
            return definition.apply_async(args, kwargs, **merged)
        if LINKING.isdisjoint(merged):
            return send_task(self["task"], args, kwargs, **merged)
        return self.TYPES["chain"].called(Signature(self["task"], args, kwargs), merged)

    _apply_async = apply_async

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run the task here and now, as in eager mode."""
        args, kwargs, options = self._merge(args, kwargs, given(options))
        return self.type.apply(args, kwargs, **options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        return self.TYPES["chain"].joined(self, other)

    __ior__ = __or__

    def __invert__(self) -> Any:
        return self.apply_async().get()


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a signature of a task's name, a definition or a dict; of a signature, a copy."""
    if isinstance(varies, Signature):
        return varies.clone()
    return Signature.from_dict(varies) if isinstance(varies, dict) else Signature(varies, *args, **kwargs)


def as_signature(part: Any) -> Any:
    """Return a part of a canvas, which may be a dict or a definition. Raises ``TypeError`` for what is no signature."""
    if isinstance(part, Signature):
        return part
    if isinstance(part, dict) and "task" in part:
        return Signature.from_dict(part)
    name = getattr(part, "name", None)
    if isinstance(name, str) and registry.find(name) is part:
        return Signature(part)
    raise TypeError(f"expected a signature, such as add.s(1, 2), got: {part!r}")


def maybe_signature(part: Any) -> Any:
    """Return a signature of a dict, and anything else as it is."""
    return Signature.from_dict(part) if isinstance(part, dict) and not isinstance(part, Signature) else part


subtask = signature
