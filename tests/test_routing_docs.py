"""The examples of docs/routing.md and docs/unique.md, run one after the other as a reader would."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
from django.test import override_settings

from djqueue import registry
from djqueue.models import ScheduledTask, Task
from djqueue.worker.queues import QueueSelection

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in which examples are run, and nothing left of them afterwards."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    module = types.ModuleType("shop.tasks")
    monkeypatch.setitem(sys.modules, "shop.tasks", module)
    return module


def run_examples(page: str, module: types.ModuleType) -> None:
    """Run every example under the settings of those before it."""
    settings: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        with override_settings(DJQUEUE=settings):
            exec(example, module.__dict__)
        settings = {**settings, **module.__dict__.pop("DJQUEUE", {})}


def test_routing(db, reader):
    run_examples("routing.md", reader)
    assert sorted(Task.objects.values_list("queue", flat=True)) == ["audit", "billing", "images", "now"]
    assert [str(Task.objects.get(pk=task_id).queue) for task_id in reader.ids] == ["audit", "billing"]


def test_unique(db, reader):
    run_examples("unique.md", reader)
    assert Task.objects.get(name="shop.tasks.reindex").args == [7, "price"]
    assert ScheduledTask.objects.count() == 1
    assert Task.objects.filter(name="shop.tasks.index").count() == 2


def test_the_queues_that_the_page_shows_are_understood():
    shown = re.findall(r"runworker -Q '([^']+)'(.*)", (DOCS / "routing.md").read_text())
    assert len(shown) == 3
    for queues, rest in shown:
        order = "weighted" if "weighted" in rest else "strict"
        assert QueueSelection(queues.split(","), order=order).patterns
