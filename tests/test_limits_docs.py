"""The examples of docs/limits.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from djqueue.models import RateLimit

PAGE = Path(__file__).parent.parent / "docs" / "limits.md"
EXPECTED = re.compile(r"^(?P<call>.+?)\s+# → (?P<value>.+)$", re.MULTILINE)


@pytest.mark.django_db
def test_the_examples_run(settings):
    settings.DJQUEUE = {"ALWAYS_EAGER": True}
    text = PAGE.read_text()
    names: dict[str, Any] = {"__name__": "shop.tasks"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(EXPECTED.sub(r"assert (\g<call>) == \g<value>, \g<call>", block), names)
    assert len(EXPECTED.findall(text)) >= 5
    limits = dict(RateLimit.objects.values_list("name", "per_second"))
    assert limits == {"shop.tasks.call_partner": None, "mail": 50}
