"""The pages on schedules: their tables are computed, and their examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings

from djqueue import conf, crontab, registry
from djqueue.beat.sync import declared_schedules, sync
from djqueue.models import Schedule
from djqueue.schedules.declared import KEYS

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROW = re.compile(r"^\| ([A-Z]\w+/\w+) \| `([^`]+)` \| (\d{4}-\d\d-\d\d) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((DOCS / "howto" / "daylight-saving.md").read_text())
EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "beat.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(("zone", "line", "day", "said"), ROWS)
def test_the_tables_on_daylight_saving_are_true(zone: str, line: str, day: str, said: str) -> None:
    tz = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=tz)
    end = start.replace(hour=23, minute=59)
    due = crontab.from_string(line).between(start - timedelta(microseconds=1), end, tz)
    local = [slot.astimezone(tz).isoformat() for slot in due]
    assert ", ".join(text[11:16] + text[19:] for text in local) == said


def test_the_tables_are_there():
    assert len(ROWS) >= 13


def test_every_key_of_a_declared_schedule_is_described():
    page = (DOCS / "beat.md").read_text()
    described = {"task", "schedule", "args", "kwargs", "options", "relative"}
    assert not [key for key in KEYS if key not in described and f"`{key}`" not in page]


@pytest.mark.django_db
def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    in_settings, in_tasks, in_the_orm = EXAMPLES
    monkeypatch.setattr(registry, "_definitions", {})
    settings: dict[str, Any] = {}
    exec(in_settings, settings)
    assert conf.problems(settings["DJQUEUE"]) == []
    exec(in_tasks, {"__name__": "shop.tasks"})
    with override_settings(DJQUEUE=settings["DJQUEUE"]):
        names = {"reports every weekday", "often", "shop.tasks.clean_up", "shop.tasks.check_stock"}
        assert set(declared_schedules()) == names
        assert set(sync("default").added) == names
    exec(in_the_orm, {})
    poll = Schedule.objects.get(name="poll")
    assert (poll.every, poll.enabled) == (timedelta(minutes=5), False)


def test_settings_may_import_what_they_declare(tmp_path: Path) -> None:
    """Settings are read before Django is set up."""
    site = "SECRET_KEY = 'x'\nUSE_TZ = True\nINSTALLED_APPS = ['djqueue']\nDATABASES = {'default': {'ENGINE': "
    (tmp_path / "shop_settings.py").write_text(f"{site}'django.db.backends.postgresql', 'NAME': 'x'}}}}\n{EXAMPLES[0]}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", "check"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": f"{tmp_path}:{DOCS.parent}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
