"""Stamping: headers of the user's own on every task of a canvas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .signatures import Signature


class StampingVisitor(ABC):
    """Says which stamps each part of a canvas gets; every method returns a dict of them.

    A dict may hold ``stamped_headers``, a list of the keys that are stamps; by default all of them are.
    """

    @abstractmethod
    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        """Called for every task, chain, group and chord."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Called before the members of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027
        """Called after the members of a group."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Called before the steps of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027
        """Called after the steps of a chain."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Called before the header of a chord, which is a group."""
        return self.on_group_start(sig.header, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called after the header of a chord."""
        self.on_group_end(sig.header, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Called before the body of a chord."""
        return {}

    def on_callback(self, callback: Signature, **header: Any) -> dict[str, Any]:
        """Called before what is linked to a task."""
        return {}

    def on_errback(self, errback: Signature, **header: Any) -> dict[str, Any]:
        """Called before what is linked to the failure of a task."""
        return {}


def named(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return stamps with the list of their names, which is all of them unless ``stamped_headers`` says less."""
    stamps = dict(found or {})
    stamps.setdefault("stamped_headers", list(stamps))
    return stamps


def merged(first: Mapping[str, Any], second: Mapping[str, Any], *, append: bool) -> dict[str, Any]:
    """Return both: where both have a stamp, the value of ``first``, or with ``append`` a list of all values."""
    result = dict(first)
    for name, value in second.items():
        if name not in result:
            result[name] = value
        elif name == "stamped_headers":
            result[name] = list(dict.fromkeys([*result[name], *value]))
        elif append:
            result[name] = [*_values(result[name]), *(v for v in _values(value) if v not in _values(result[name]))]
    return result


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def stamps_for(
    sig: Signature, found: Mapping[str, Any], headers: Mapping[str, Any], *, append_stamps: bool
) -> dict[str, Any]:
    """Return the options that stamp a signature: those given, then what a visitor found, then those it has."""
    given = merged(named(headers), named(found), append=append_stamps)
    has = sig.options.get("stamped_headers") or ()
    own = {name: sig.options[name] for name in has if name in sig.options}
    stamps = merged(given, {**own, "stamped_headers": list(has)}, append=append_stamps)
    return {name: sorted(value) if isinstance(value, set) else value for name, value in stamps.items()}


def stamp_links(
    sig: Signature, visitor: StampingVisitor | None, append_stamps: bool, headers: Mapping[str, Any]
) -> None:
    """Stamp what is linked to a signature as the signature itself."""
    for option in ("link", "link_error"):
        links = sig.options.get(option)
        if not links:
            continue
        links = [sig.TYPES["task"].from_dict(link) for link in (links if isinstance(links, list | tuple) else [links])]
        for link in links:
            found: Mapping[str, Any] = {}
            if visitor is not None:
                found = (visitor.on_callback if option == "link" else visitor.on_errback)(link, **headers) or {}
            stamps = merged(named(headers), named(found), append=append_stamps)
            link.stamp(visitor, append_stamps, **stamps)
        sig.options[option] = links
