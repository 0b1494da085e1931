"""What a signature is, before it can be linked, stamped and applied: a dict that describes a call."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from djqueue import registry

from .frozen import IDS
from .steps import Leaf, Step

if TYPE_CHECKING:
    from djqueue.definition import TaskDefinition

Kind = TypeVar("Kind", bound="type[SignatureData]")
KEPT_OPTIONS = frozenset(["group_id", "stamped_headers"])
"""Options of a signature that a call cannot override."""
LINKS = ("link", "link_error")


def item(name: str) -> Any:
    """Return a property that is an entry of the signature's dict."""

    def write(self: dict[str, Any], value: Any) -> None:
        self[name] = value

    return property(operator.itemgetter(name), write)


def listed(value: Any) -> list[Any]:
    """Return a list of what may be one thing, several or none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without those that are None, which are as good as left out."""
    return {name: value for name, value in options.items() if value is not None}


class SignatureData(dict[str, Any]):
    """The dict ``{task, args, kwargs, options, subtask_type, immutable}`` with its parts as attributes.

    ``frozen`` says whether its ids were chosen before it is applied, ``spent`` whether tasks with these ids exist.
    """

    TYPES: ClassVar[dict[str, type[Any]]] = {}

    task = item("task")
    args = item("args")
    kwargs = item("kwargs")
    options = item("options")
    subtask_type = item("subtask_type")
    immutable = item("immutable")

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: TaskDefinition | None = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        **more: Any,
    ) -> None:
        self._type = type
        self.frozen = self.spent = False
        if isinstance(task, dict):
            super().__init__(task)
            return
        if not isinstance(task, str | None):
            self._type, task = task, task.name
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[Kind], Kind]:
        """Make ``from_dict`` build this class for dicts whose ``subtask_type`` is ``name``."""

        def register(kind: Kind) -> Kind:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Any:
        """Return the signature, chain, group or chord that a dict describes."""
        kind = cls.TYPES.get(given.get("subtask_type") or "", cls.TYPES["task"])
        if kind.from_dict.__func__ is not SignatureData.from_dict.__func__:  # type: ignore[attr-defined]
            return kind.from_dict(given)
        return kind(dict(given))

    def _rebuilt_from(self, given: Mapping[str, Any]) -> Any:
        """Take over what every signature has from the dict that this one was made of."""
        self["args"] = tuple(given.get("args") or ())
        self["options"] = dict(given.get("options") or {})
        self["immutable"] = given.get("immutable", False)
        self["subtask_type"] = given["subtask_type"]
        return self

    @property
    def type(self) -> TaskDefinition:
        """The definition. Raises ``NotRegistered`` where this process does not know it."""
        if self._type is None:
            self._type = registry.get(self["task"])
        return self._type

    @property
    def name(self) -> str:
        name: str = self["task"]
        return name

    @property
    def id(self) -> str | None:
        return self._option("task_id")

    @property
    def parent_id(self) -> str | None:
        return self._option("parent_id")

    @property
    def root_id(self) -> str | None:
        return self._option("root_id")

    def _option(self, name: str) -> str | None:
        value: str | None = self.options.get(name)
        return value

    def steps(self) -> list[Step]:
        """Return what is to be done one after the other, without empty parts and nesting that has no meaning."""
        return [Leaf(self)]

    def __length_hint__(self) -> int:
        """How many results it contributes to the header of a chord."""
        return 1

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo[id(self)] = copy = self.copied(deep=True)
        return copy

    def _merge(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Return args, kwargs and options of a call that adds these; an immutable one takes options only."""
        merged = self.options
        if options:
            merged = {
                **merged,
                **{name: value for name, value in options.items() if name not in KEPT_OPTIONS or name not in merged},
            }
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    def copied(self, *, deep: bool, fresh: bool = False) -> Self:
        """Return a copy whose parts can be changed; ``deep`` if its arguments can be too, ``fresh`` without its ids.

        Of what was applied already it is fresh.
        """
        fresh = fresh or self.spent
        copy = self.__class__.__new__(self.__class__)
        dict.__init__(copy, self)
        copy._type, copy.frozen, copy.spent = self._type, self.frozen and not fresh, False
        if deep:
            self._copy_arguments(copy)
        options = {name: value for name, value in self.options.items() if not (fresh and name in IDS)}
        if deep:
            options = {name: deepcopy(value) for name, value in options.items()}
        else:
            options.update((name, listed(options[name])) for name in LINKS if name in options)
        copy["options"] = options
        return copy

    def _copy_arguments(self, copy: dict[str, Any]) -> None:
        copy["args"], copy["kwargs"] = deepcopy(self.args), deepcopy(self.kwargs)

    def spend(self) -> None:
        """Note that tasks with the ids of this and its parts exist: applied again, here or elsewhere, it is new."""
        self.spent = self.frozen

    def make_distinct(self, seen: set[int]) -> Any:
        """Return itself, or a copy if it was seen before: each part of a canvas is one task, with an id of its own."""
        if id(self) in seen:
            return self.copied(deep=False).make_distinct(seen)
        seen.add(id(self))
        return self

    def hand_down(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Take over what the canvas that this is a part of was applied to, and hand it to its own parts."""
        links = {name: listed(options.get(name)) for name in LINKS}
        rest = {name: value for name, value in options.items() if name not in links}
        self["args"], self["kwargs"], merged = self._merge(args, kwargs, rest)
        self["options"] = dict(merged)
        for name, callbacks in links.items():
            if callbacks:
                own = listed(merged.get(name))
                self.options[name] = own + [callback for callback in callbacks if callback not in own]

    def _taken(self, args: Sequence[Any], options: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return what a canvas hands on: the arguments of the call before its own, and its options without ids."""
        stamped = set(self.options.get("stamped_headers") or ())  # its parts have them already
        own = {n: v for n, v in self.options.items() if n not in stamped and n != "stamped_headers"}
        links = {name: listed(own.get(name)) + listed(options.get(name)) for name in LINKS}
        merged = {**own, **options, **{name: callbacks for name, callbacks in links.items() if callbacks}}
        taken = self.args if self.immutable else (*args, *self.args)
        return taken, {name: value for name, value in merged.items() if name not in IDS}
