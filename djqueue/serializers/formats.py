"""The serializers by name: how each turns a value into bytes and back."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from djqueue.conf import did_you_mean
from djqueue.exceptions import ImproperlyConfigured

from .values import decode, encode, envelope_of, open_envelope

_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*", re.ASCII)
_PACKAGES = {"msgpack": "msgpack", "yaml": "yaml"}


class Serializer(NamedTuple):
    """A pair of functions: one that makes bytes of a value, one that reads them."""

    dumps: Callable[[Any], bytes | str]
    loads: Callable[[bytes], Any]


def register_serializer(name: str, dumps: Callable[[Any], bytes | str], loads: Callable[[bytes], Any]) -> None:
    """Make a serializer known, in every process of the site: call it in ``AppConfig.ready``.

    ``dumps`` returns bytes, or text that is stored as UTF-8; ``loads`` always gets bytes. It is used once
    ``DJQUEUE["ACCEPT_CONTENT"]`` lists its name. Raises ``ValueError`` for a name that cannot be one.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"expected the name of a serializer to be lower case letters, digits and _.+-, got: {name!r}")
    if name == "json":
        raise ValueError("expected a name of your own for a serializer, got: 'json', which is built in")
    if not callable(dumps) or not callable(loads):
        raise TypeError(f"expected dumps and loads of serializer {name} to be functions, got: {dumps!r}, {loads!r}")
    _serializers[name] = Serializer(dumps, loads)


def serializer_named(name: object) -> Serializer:
    """Return a serializer. Raises ``ValueError``, naming those that there are."""
    if not isinstance(name, str) or name not in _serializers:
        raise ValueError(f"expected the name of a serializer, got: {name!r}. {did_you_mean(name, _serializers)}")
    return _serializers[name]


def check_installed(name: str) -> None:
    """Raise ``ImproperlyConfigured`` if a serializer's package is missing, ``ValueError`` if there is no such."""
    serializer_named(name)
    if name in _PACKAGES and find_spec(_PACKAGES[name]) is None:
        raise _missing(name, _PACKAGES[name])


def _to_msgpack(value: Any) -> bytes:
    packed: bytes = _msgpack().packb(value, use_bin_type=True, default=_unknown_to_msgpack)
    return packed


def _unknown_to_msgpack(value: Any) -> Any:
    if isinstance(value, int):
        raise OverflowError("it holds an integer beyond 64 bits")
    return envelope_of(value)


def _from_msgpack(body: bytes) -> Any:
    # Keys of any kind, as they were packed; the other limits of msgpack's are those of the body's size.
    return _msgpack().unpackb(body, raw=False, strict_map_key=False, object_hook=open_envelope)


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise _missing("msgpack", _PACKAGES["msgpack"]) from error
    return msgpack


def _to_yaml(value: Any) -> str:
    text: str = _yaml().dump(value, Dumper=_yaml_dumper())
    return text


@cache
def _yaml_dumper() -> Any:
    """Return yaml's safe dumper, which takes signatures for the dicts that they are."""

    def represent(dumper: Any, value: Any) -> Any:
        own = getattr(value, "__json__", None)
        return dumper.represent_data(own()) if callable(own) else dumper.represent_undefined(value)

    Dumper: Any = type("Dumper", (_yaml().SafeDumper,), {})
    Dumper.add_multi_representer(dict, represent)
    return Dumper


def _from_yaml(body: bytes) -> Any:
    return _yaml().safe_load(body)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise _missing("yaml", _PACKAGES["yaml"]) from error
    return yaml


def _missing(extra: str, package: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"the serializer {extra} needs the package {package}, which is not installed: "
        f"pip install 'django-djqueue[{extra}]'"
    )


_serializers: dict[str, Serializer] = {
    "json": Serializer(encode, lambda body: decode(body.decode())),
    "msgpack": Serializer(_to_msgpack, _from_msgpack),
    "yaml": Serializer(_to_yaml, _from_yaml),
    "pickle": Serializer(pickle.dumps, pickle.loads),
}
