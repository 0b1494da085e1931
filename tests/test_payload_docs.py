"""The examples of docs/payloads.md, run one after the other as a reader would."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from djqueue import registry
from djqueue.models import Task
from djqueue.redaction import redact
from djqueue.serializers import formats

PAGE = Path(__file__).resolve().parent.parent / "docs" / "payloads.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in which examples are run, and nothing left of them afterwards."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(formats, "_serializers", dict(formats._serializers))
    module = types.ModuleType("shop.tasks")
    monkeypatch.setitem(sys.modules, "shop.tasks", module)
    return module


def run_examples(module: types.ModuleType) -> list[dict[str, Any]]:
    """Run every example under the settings of those before it, and return these settings."""
    given: list[dict[str, Any]] = [{}]
    for example in EXAMPLES:
        with override_settings(DJQUEUE=given[-1]):
            exec(example, module.__dict__)
        if (settings := module.__dict__.pop("DJQUEUE", None)) is not None:
            given.append({**given[-1], **settings})
    return given


def test_the_examples_run_and_do_what_the_page_says(db: None, reader: types.ModuleType) -> None:
    settings = run_examples(reader)

    assert [sorted(given) for given in settings[1:]] == [
        ["ACCEPT_CONTENT", "RESULT_SERIALIZER", "SERIALIZER"],
        ["ACCEPT_CONTENT", "PAYLOAD_CODEC", "PAYLOAD_KEYS", "RESULT_SERIALIZER", "SERIALIZER"],
        ["ACCEPT_CONTENT", "PAYLOAD_CODEC", "PAYLOAD_KEYS", "REDACT", "RESULT_SERIALIZER", "SERIALIZER"],
    ]
    tasks = {task.name: task for task in Task.objects.order_by("pk")}
    assert {name: len(Task.objects.filter(name=name)) for name in tasks} == {
        "shop.tasks.order": 2,
        "shop.tasks.move": 1,
        "shop.tasks.draw": 2,
    }
    assert tasks["shop.tasks.order"].args == [
        [{"name": "lemon", "price": {"__type__": "decimal", "__value__": "0.50"}, "unit": "piece"}]
    ]
    assert len({str(task.args) for task in Task.objects.filter(name="shop.tasks.order")}) == 1
    kinds = [type(args).__name__ for args in Task.objects.filter(name="shop.tasks.draw").values_list("args", flat=True)]
    assert sorted(kinds) == ["dict", "list"], "one is pickled, one is JSON"
    assert formats._serializers["zipped"].loads(formats._serializers["zipped"].dumps([1])) == [1]
    with override_settings(DJQUEUE=settings[-1]):
        assert redact({"iban": 1, "patientName": 1, "password": 1, "kept": 1}) == {
            **dict.fromkeys(("iban", "patientName", "password"), "[redacted]"),
            "kept": 1,
        }


def test_the_functions_get_what_the_page_says(db: None, reader: types.ModuleType) -> None:
    run_examples(reader)
    page = reader.__dict__

    assert page["order"].apply(([page["Item"]("lemon", "0.50")],)).get() == page["Decimal"]("0.50")
    assert page["move"].apply(({"city": "Lyon", "zip": "69001"},)).get() == {"city": "Lyon", "zip": 69001}
    with pytest.raises(TypeError) as caught:
        page["order"].delay([{"name": "lemon", "price": "cheap"}])
    assert str(caught.value) in PAGE.read_text().replace("\n", " ")


def test_the_default_of_redact_covers_what_the_page_says() -> None:
    names = re.search(r"covers names such as (.*?) and their\s", PAGE.read_text(), re.DOTALL)
    assert names is not None
    shown = re.findall(r"`(\w+)`", names[1])
    assert len(shown) == 7
    assert redact(dict.fromkeys(shown, 1)) == dict.fromkeys(shown, "[redacted]")
