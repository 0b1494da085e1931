"""Settings: Django's ``DJQUEUE`` dict, validated once and read as attributes of ``conf.settings``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from types import NoneType
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .conf_rules import KEPT, kept_for_less_than_nothing, misnamed, not_accepted
from .routing.routes import Routes

REDACTED_NAMES: tuple[str, ...] = (
    *("*password*", "*passwd*", "*passphrase*", "*secret*", "*token*", "*credential*", "*authorization*", "cookie*"),
    *("*api_key*", "*apikey*", "*private_key*", "*credit_card*", "*card_number*", "cvv", "cvc", "iban"),
)
# Celery's users may list content types.
CONTENT_TYPES = {
    "application/json": "json",
    "application/x-msgpack": "msgpack",
    "application/x-yaml": "yaml",
    "application/x-python-serialize": "pickle",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``DJQUEUE`` may say, with its defaults. Durations are seconds or ``timedelta``."""

    DATABASE: str = "default"
    """The alias in ``DATABASES`` that holds the queue."""
    LISTEN: bool | str = True
    """Whether workers listen for wake-ups; another alias where ``DATABASE`` is a pooler in transaction mode."""
    DEFAULT_QUEUE: str = "default"
    ROUTES: Routes = field(default_factory=Routes)
    """Which calls go where, in any of Celery's forms of ``task_routes``."""
    BROADCAST_QUEUES: tuple[str, ...] = ()
    """Queues of which every live worker that serves them runs each task."""
    POOL: str | None = None
    """This and those below are options of ``runworker``; see ``djqueue.worker.configuration``."""
    CONCURRENCY: int = 0
    """Tasks that an executor runs at once; 0 means as many as is usual for the pool."""
    PROCESSES: int | None = None
    QUEUES: str | Sequence[str] | None = None
    EXCLUDE_QUEUES: str | Sequence[str] | None = None
    QUEUE_ORDER: str | None = None
    PRIORITY_AGING: float | timedelta | None = None
    WORKER_NAME: str | None = None
    LOGLEVEL: str | None = None
    TIME_LIMIT: float | timedelta | None = None
    SOFT_TIME_LIMIT: float | timedelta | None = None
    MAX_TASKS_PER_CHILD: int | None = None
    MAX_MEMORY_PER_CHILD: int | None = None
    AUTOSCALE: str | Sequence[int] | None = None
    AUTOSCALE_KEEP: float = 30.0
    """Seconds that an executor has nothing to do before the pool shrinks by itself."""
    WORKER_COMPONENTS: tuple[str, ...] = ()
    """Dotted paths of classes that live with the worker, see ``djqueue.worker.components``."""
    BURST: bool | None = None
    BEAT: bool | None = None
    DRAIN_TIMEOUT: float | timedelta | None = None
    HEALTH_PORT: int | str | None = None
    BEAT_HEALTH_PORT: int | str | None = None
    LEASE: float = 20.0
    """Seconds after its last heartbeat until a worker's tasks are reclaimed."""
    HEARTBEAT: float = 5.0
    CRASH_LIMIT: int = 3
    """How often a task may lose its executor or worker before it fails."""
    POLL_MAX: float = 1.0
    """Longest pause between two looks at an empty queue."""
    RETENTION: Mapping[str, Any] = field(
        default_factory=lambda: {"succeeded": 86400, "failed": 7 * 86400, "cancelled": 86400}
    )
    """How long finished tasks are kept, by state; ``None`` keeps them for ever."""
    RESULT_MAX_BYTES: int = 16 * 1024 * 1024
    """Largest stored result; a larger one is a FAILURE."""
    SCHEDULES: Mapping[str, Any] = field(default_factory=dict)
    """Schedules declared in code, shaped as Celery's ``beat_schedule``."""
    MISFIRE_GRACE: float = 10.0
    """How late a slot of a schedule may be fired before it counts as missed."""
    SCHEDULE_RUNS_KEPT: float | timedelta | None = 7 * 86400
    """How long it is kept what became of slots; ``None`` keeps it for ever."""
    STATISTICS_KEPT: float | timedelta | None = 30 * 86400
    """How long it is kept how many attempts ended how; ``None`` keeps it for ever."""
    CAPTURE_LOGS: str | None = None
    """The least level of what tasks log to be kept beside them; ``None`` keeps nothing."""
    LOGS_KEPT: float | timedelta | None = 7 * 86400
    """How long that is kept; ``None`` keeps it for ever."""
    ENQUEUE_BY_HAND: tuple[str, ...] = ()
    REVOKED_TOKENS: tuple[str, ...] = ()
    """Ids of tokens, or whole tokens, that are refused although they have not expired."""
    """Names of tasks, with wildcards, that may be enqueued by a form in the admin."""
    ALWAYS_EAGER: bool = False
    """Run tasks in place instead of enqueueing them; for tests, on any database."""
    EAGER_PROPAGATES: bool = False
    """Whether an eager task raises what it raised in whoever called it."""
    ALLOW_ERROR_CB_ON_CHORD_HEADER: bool = False
    """Whether an errback of a chord is called for each member of its header that fails, too."""
    IMPORTS: tuple[str, ...] = ()
    """Modules that define tasks, besides the ``tasks`` module of each installed app."""
    SERIALIZER: str = "json"
    """How arguments are stored, unless a definition or a call says otherwise."""
    RESULT_SERIALIZER: str = "json"
    ACCEPT_CONTENT: tuple[str, ...] = ("json",)
    """The serializers whose payloads are read; whatever comes as another is refused."""
    OPENTELEMETRY: bool = False
    """Whether calls and attempts are traced and measured; needs ``opentelemetry-api``."""
    PAYLOAD_CODEC: str = ""
    """Dotted path of a class that encrypts payloads, such as ``djqueue.encryption.FernetCodec``."""
    PAYLOAD_KEYS: tuple[str, ...] = field(default=(), repr=False)
    """The keys of ``FernetCodec``: the first encrypts, all decrypt. Empty: those in ``DJQUEUE_PAYLOAD_KEYS``."""
    REDACT: tuple[str, ...] | str = REDACTED_NAMES
    """Names of arguments, with wildcards, whose values are not shown; or the dotted path of a function."""


DURATIONS = ("LEASE", "HEARTBEAT", "POLL_MAX", "MISFIRE_GRACE", "AUTOSCALE_KEEP")
LISTS = (
    "BROADCAST_QUEUES",
    "ENQUEUE_BY_HAND",
    "REVOKED_TOKENS",
    "IMPORTS",
    "ACCEPT_CONTENT",
    "PAYLOAD_KEYS",
    "REDACT",
    "WORKER_COMPONENTS",
)
POSITIVE = (*DURATIONS, "CRASH_LIMIT", "RESULT_MAX_BYTES")
HIDDEN_SETTINGS = ("PAYLOAD_KEYS",)
RETENTION_STATES = ("succeeded", "failed", "cancelled")


def _of_kind(kinds: tuple[type, ...], *names: str) -> dict[str, tuple[type, ...]]:
    return dict.fromkeys(names, kinds)


_KINDS: dict[str, tuple[type, ...]] = {
    **_of_kind((int, float, timedelta), *DURATIONS),
    **_of_kind(
        (int, float, timedelta, NoneType),
        *(*KEPT, "PRIORITY_AGING", "TIME_LIMIT", "SOFT_TIME_LIMIT", "DRAIN_TIMEOUT"),
    ),
    **_of_kind((str,), "DATABASE", "DEFAULT_QUEUE", "SERIALIZER", "RESULT_SERIALIZER", "PAYLOAD_CODEC"),
    **_of_kind((str, NoneType), "POOL", "QUEUE_ORDER", "WORKER_NAME", "LOGLEVEL", "CAPTURE_LOGS"),
    **_of_kind((int,), "CONCURRENCY", "CRASH_LIMIT", "RESULT_MAX_BYTES"),
    **_of_kind((int, NoneType), "PROCESSES", "MAX_TASKS_PER_CHILD", "MAX_MEMORY_PER_CHILD"),
    **_of_kind((bool,), "OPENTELEMETRY", "ALWAYS_EAGER", "EAGER_PROPAGATES", "ALLOW_ERROR_CB_ON_CHORD_HEADER"),
    **_of_kind((bool, NoneType), "BURST", "BEAT"),
    **_of_kind((dict,), "RETENTION", "SCHEDULES"),
    **_of_kind((list, tuple), *LISTS),
    **_of_kind((str, list, tuple, NoneType), "QUEUES", "EXCLUDE_QUEUES", "AUTOSCALE"),
    "LISTEN": (bool, str),
    **_of_kind((int, str, NoneType), "HEALTH_PORT", "BEAT_HEALTH_PORT"),
    "ROUTES": (object,),
    "ACCEPT_CONTENT": (list, tuple, set, frozenset),
    "REDACT": (list, tuple, str),
}


def _holds_others(value: Any) -> bool:
    return not isinstance(value, str) and not all(isinstance(item, str) for item in value)


def problems(given: object) -> list[tuple[str, str]]:
    """Return what is wrong with a ``DJQUEUE`` value, as pairs of message and hint."""
    if not isinstance(given, Mapping):
        return [(f"expected DJQUEUE to be a dict, got: {given!r}", 'For example DJQUEUE = {"CONCURRENCY": 4}.')]
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        if name not in _KINDS:
            found.append((f"unknown setting DJQUEUE[{name!r}]", did_you_mean(name, _KINDS)))
        elif not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and bool not in _KINDS[name]):
            kinds = " or ".join("None" if kind is NoneType else kind.__name__ for kind in _KINDS[name])
            shown = type(value).__name__ if name in HIDDEN_SETTINGS else repr(value)
            found.append((f"expected DJQUEUE[{name!r}] to be {kinds}, got: {shown}", ""))
        elif name in LISTS and _holds_others(value):
            found.append((f"expected DJQUEUE[{name!r}] to hold strings only", ""))
        elif name == "ROUTES":
            try:
                Routes(value)
            except (TypeError, ValueError) as error:
                found.append((f"DJQUEUE['ROUTES']: {error}", ""))
    return found or _contradictions(_built(given))


def _contradictions(settings: Settings) -> list[tuple[str, str]]:
    found = [
        (f"expected DJQUEUE[{name!r}] to be above 0, got: {getattr(settings, name)!r}", "")
        for name in POSITIVE
        if getattr(settings, name) <= 0
    ]
    if settings.HEARTBEAT * 2 > settings.LEASE:
        found.append(
            (
                f"expected DJQUEUE['LEASE'] ({settings.LEASE:g} s) to be at least twice "
                f"DJQUEUE['HEARTBEAT'] ({settings.HEARTBEAT:g} s)",
                "One missed heartbeat would cost the worker its tasks.",
            )
        )
    found += [
        (f"unknown state DJQUEUE['RETENTION'][{state!r}]", did_you_mean(state, RETENTION_STATES))
        for state in settings.RETENTION
        if state not in RETENTION_STATES
    ]
    found += [
        (f"expected DJQUEUE['RETENTION'][{state!r}] to be seconds, a timedelta or None, got: {keep!r}", "")
        for state, keep in settings.RETENTION.items()
        if keep is not None and (type(keep) not in (int, float, timedelta) or seconds(keep) < 0)
    ]
    if settings.CONCURRENCY < 0:
        found.append((f"expected DJQUEUE['CONCURRENCY'] to be 0 or more, got: {settings.CONCURRENCY}", ""))
    return [*found, *misnamed(settings), *kept_for_less_than_nothing(settings), *not_accepted(settings)]


def did_you_mean(word: object, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Return a hint naming the nearest of ``known``, or all of them."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(str(word).upper(), list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else "Known are: " + ", ".join(sorted(known)) + "."


def seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _built(given: Mapping[str, Any]) -> Settings:
    values = dict(given)
    for name in DURATIONS:
        if name in values:
            values[name] = seconds(values[name])
    if "RETENTION" in values:
        values["RETENTION"] = {**Settings().RETENTION, **values["RETENTION"]}
    if "ROUTES" in values:
        values["ROUTES"] = Routes(values["ROUTES"])
    for name in LISTS:
        if not isinstance(values.get(name, ""), str):
            values[name] = tuple(values[name])
    if "ACCEPT_CONTENT" in values:
        values["ACCEPT_CONTENT"] = tuple(CONTENT_TYPES.get(name, name) for name in values["ACCEPT_CONTENT"])
    return Settings(**values)


class _LazySettings:
    """Reads ``DJQUEUE`` on first use; ``override_settings`` makes it read again."""

    _loaded: Settings | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._loaded or self.loaded(), name)

    def loaded(self) -> Settings:
        """Return the settings as they are now; another object once they were overridden."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Settings:
        given = getattr(django_settings, "DJQUEUE", {})
        if found := problems(given):
            raise ImproperlyConfigured("; ".join(f"{message}. {hint}".strip() for message, hint in found))
        return _built(given)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings, to be shown; without keys."""
        shown = {f.name: getattr(self, f.name) for f in fields(Settings)}
        return {**shown, **{name: "[hidden]" for name in HIDDEN_SETTINGS if shown[name]}}

    def forget(self) -> None:
        self._loaded = None


settings = _LazySettings()


@receiver(setting_changed)
def _reload(*, setting: str, **kwargs: object) -> None:
    if setting == "DJQUEUE":
        settings.forget()
