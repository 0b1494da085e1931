"""``DJQUEUE``: validated once, read as attributes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from djqueue.conf import REDACTED_NAMES, problems, settings
from djqueue.routing.routes import Routes


def test_everything_has_a_default():
    with override_settings(DJQUEUE={}):
        assert settings.as_dict() == {
            "DATABASE": "default",
            "LISTEN": True,
            "DEFAULT_QUEUE": "default",
            "ROUTES": Routes(),
            "BROADCAST_QUEUES": (),
            "CONCURRENCY": 0,
            **dict.fromkeys(
                ("POOL", "PROCESSES", "QUEUES", "EXCLUDE_QUEUES", "QUEUE_ORDER", "PRIORITY_AGING", "WORKER_NAME"), None
            ),
            **dict.fromkeys(("LOGLEVEL", "TIME_LIMIT"), None),
            **dict.fromkeys(
                ("SOFT_TIME_LIMIT", "MAX_TASKS_PER_CHILD", "MAX_MEMORY_PER_CHILD", "BURST", "BEAT", "DRAIN_TIMEOUT"),
                None,
            ),
            "AUTOSCALE": None,
            "AUTOSCALE_KEEP": 30.0,
            "WORKER_COMPONENTS": (),
            "LEASE": 20.0,
            "HEARTBEAT": 5.0,
            "CRASH_LIMIT": 3,
            "POLL_MAX": 1.0,
            "RETENTION": {"succeeded": 86400, "failed": 7 * 86400, "cancelled": 86400},
            "RESULT_MAX_BYTES": 16 * 1024 * 1024,
            "IMPORTS": (),
            "SCHEDULES": {},
            "MISFIRE_GRACE": 10.0,
            "SCHEDULE_RUNS_KEPT": 7 * 86400,
            "STATISTICS_KEPT": 30 * 86400,
            "CAPTURE_LOGS": None,
            "LOGS_KEPT": 7 * 86400,
            "ENQUEUE_BY_HAND": (),
            "REVOKED_TOKENS": (),
            "OPENTELEMETRY": False,
            "HEALTH_PORT": None,
            "BEAT_HEALTH_PORT": None,
            "ALWAYS_EAGER": False,
            "EAGER_PROPAGATES": False,
            "ALLOW_ERROR_CB_ON_CHORD_HEADER": False,
            "SERIALIZER": "json",
            "RESULT_SERIALIZER": "json",
            "ACCEPT_CONTENT": ("json",),
            "PAYLOAD_CODEC": "",
            "PAYLOAD_KEYS": (),
            "REDACT": REDACTED_NAMES,
        }


def test_no_setting_at_all_means_the_defaults():
    with override_settings(DJQUEUE={"LEASE": 77}):
        del django_settings.DJQUEUE
        settings.forget()
        assert settings.LEASE == 20.0


def test_overridden_settings_hold_as_long_as_the_override():
    before = settings.LEASE
    with override_settings(DJQUEUE={"LEASE": 77}):
        assert settings.LEASE == 77.0
        with override_settings(DJQUEUE={"LEASE": 88}):
            assert settings.LEASE == 88.0
        assert settings.LEASE == 77.0
    assert before == settings.LEASE


def test_durations_may_be_timedeltas():
    with override_settings(DJQUEUE={"LEASE": timedelta(minutes=1), "HEARTBEAT": timedelta(milliseconds=500)}):
        assert settings.LEASE == 60.0
        assert settings.HEARTBEAT == 0.5


def test_a_retention_names_only_what_differs():
    with override_settings(DJQUEUE={"RETENTION": {"succeeded": None, "failed": timedelta(days=30)}}):
        assert {"succeeded": None, "failed": timedelta(days=30), "cancelled": 86400} == settings.RETENTION


def test_imports_may_be_a_list():
    with override_settings(DJQUEUE={"IMPORTS": ["a.jobs"]}):
        assert settings.IMPORTS == ("a.jobs",)


def test_a_name_that_is_no_setting_is_an_attribute_error():
    with pytest.raises(AttributeError):
        settings.LEESE  # noqa: B018


WRONG: dict[str, tuple[Any, str, str]] = {
    "no dict": (["LEASE"], "expected DJQUEUE to be a dict, got: ['LEASE']", "For example"),
    "an unknown name": ({"LEESE": 5}, "unknown setting DJQUEUE['LEESE']", "Did you mean 'LEASE'?"),
    "a name in lower case": ({"lease": 5}, "unknown setting DJQUEUE['lease']", "Did you mean 'LEASE'?"),
    "a name like none": ({"BROKER_URL": "x"}, "unknown setting DJQUEUE['BROKER_URL']", "Known are: ACCEPT_CONTENT, "),
    "a name that is no text": ({5: 5}, "unknown setting DJQUEUE[5]", "Known are: "),
    "text for a number": ({"LEASE": "20"}, "expected DJQUEUE['LEASE'] to be int or float or timedelta, got: '20'", ""),
    "a truth for a number": ({"CONCURRENCY": True}, "expected DJQUEUE['CONCURRENCY'] to be int, got: True", ""),
    "a fraction of executors": ({"CONCURRENCY": 1.5}, "expected DJQUEUE['CONCURRENCY'] to be int, got: 1.5", ""),
    "one import as text": ({"IMPORTS": "jobs"}, "expected DJQUEUE['IMPORTS'] to be list or tuple, got: 'jobs'", ""),
    "nothing": ({"DATABASE": None}, "expected DJQUEUE['DATABASE'] to be str, got: None", ""),
    "a pause of 0": ({"POLL_MAX": 0}, "expected DJQUEUE['POLL_MAX'] to be above 0, got: 0", ""),
    "a negative heartbeat": ({"HEARTBEAT": -1}, "expected DJQUEUE['HEARTBEAT'] to be above 0, got: -1", ""),
    "a crash limit of 0": ({"CRASH_LIMIT": 0}, "expected DJQUEUE['CRASH_LIMIT'] to be above 0, got: 0", ""),
    "negative executors": ({"CONCURRENCY": -1}, "expected DJQUEUE['CONCURRENCY'] to be 0 or more, got: -1", ""),
    "a lease that one missed heartbeat ends": (
        {"LEASE": 9, "HEARTBEAT": 5},
        "expected DJQUEUE['LEASE'] (9 s) to be at least twice DJQUEUE['HEARTBEAT'] (5 s)",
        "One missed heartbeat",
    ),
    "an unknown state": (
        {"RETENTION": {"suceeded": 5}},
        "unknown state DJQUEUE['RETENTION']['suceeded']",
        "Did you mean 'succeeded'?",
    ),
    "a state that is no text": ({"RETENTION": {5: 5}}, "unknown state DJQUEUE['RETENTION'][5]", ""),
    "a retention that is no duration": ({"RETENTION": {"failed": "1 day"}}, "DJQUEUE['RETENTION']['failed']", ""),
    "a negative retention": ({"RETENTION": {"failed": -1}}, "DJQUEUE['RETENTION']['failed']", ""),
    "a serializer that is not accepted": (
        {"SERIALIZER": "msgpack"},
        "DJQUEUE['SERIALIZER'] is 'msgpack', which DJQUEUE['ACCEPT_CONTENT'] does not list",
        "Workers would refuse",
    ),
    "a result serializer that is not accepted": (
        {"ACCEPT_CONTENT": ["yaml"], "SERIALIZER": "yaml"},
        "DJQUEUE['RESULT_SERIALIZER'] is 'json'",
        "Workers would refuse",
    ),
    "an accept list of other things": ({"ACCEPT_CONTENT": [5]}, "DJQUEUE['ACCEPT_CONTENT'] to hold strings only", ""),
    "one accepted serializer as text": ({"ACCEPT_CONTENT": "json"}, "expected DJQUEUE['ACCEPT_CONTENT'] to be", ""),
    "a key as text": (
        {"PAYLOAD_KEYS": "lullaby"},
        "expected DJQUEUE['PAYLOAD_KEYS'] to be list or tuple, got: str",
        "",
    ),
    "keys as bytes": ({"PAYLOAD_KEYS": [b"lullaby"]}, "expected DJQUEUE['PAYLOAD_KEYS'] to hold strings only", ""),
    "a redaction that is a function": ({"REDACT": print}, "expected DJQUEUE['REDACT'] to be list or tuple or str", ""),
    "a default queue that no task could go to": ({"DEFAULT_QUEUE": "a b"}, "DJQUEUE['DEFAULT_QUEUE']", ""),
}


@pytest.mark.parametrize(("given", "message", "hint"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_what_was_expected(given, message, hint):
    ((said, hinted),) = problems(given)
    assert message in said
    assert hinted.startswith(hint)


def test_keys_are_not_shown():
    with override_settings(DJQUEUE={"PAYLOAD_KEYS": ["lullaby"]}):
        assert settings.PAYLOAD_KEYS == ("lullaby",)
        assert settings.as_dict()["PAYLOAD_KEYS"] == "[hidden]"
        assert "lullaby" not in repr(settings._loaded)


def test_content_types_of_celery_name_serializers():
    with override_settings(DJQUEUE={"ACCEPT_CONTENT": ["application/json", "application/x-python-serialize"]}):
        assert settings.ACCEPT_CONTENT == ("json", "pickle")


@pytest.mark.parametrize("given", [{"LEESE": 5}, {"POLL_MAX": 0}])
def test_wrong_settings_stop_whoever_reads_one(given):
    with override_settings(DJQUEUE=given), pytest.raises(ImproperlyConfigured, match=r"DJQUEUE\['(LEESE|POLL_MAX)'\]"):
        settings.CONCURRENCY  # noqa: B018


def test_all_that_is_wrong_is_said_at_once():
    assert len(problems({"LEESE": 5, "CONCURRENCY": "x", "IMPORTS": 1})) == 3


def test_the_settings_of_this_suite_are_right():
    assert problems(django_settings.DJQUEUE) == []
