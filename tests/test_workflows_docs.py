"""The examples of docs/workflows.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from djqueue import registry

from .pictures import drawn

PAGE = Path(__file__).parent.parent / "docs" / "workflows.md"
EXPECTED = re.compile(r"^(?P<call>.+?)\s+# → (?P<value>.+)$", re.MULTILINE)


def test_the_examples_run(settings):
    settings.DJQUEUE = {"ALWAYS_EAGER": True}
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "shop.tasks"}
    for block in blocks:
        exec(EXPECTED.sub(r"assert (\g<call>) == \g<value>, \g<call>", block), names)
    assert len(EXPECTED.findall(text)) >= 6
    assert registry.find("shop.tasks.split") is not None


def test_the_pictures_are_what_is_drawn_today():
    """``python -m tests.pictures`` draws them again."""
    for path, text in drawn().items():
        assert path.read_text() == text
        assert any(f"pictures/{path.name}" in page.read_text() for page in (PAGE, PAGE.parent.parent / "README.md"))
