"""Translations: every word of every page is there in each language, with the same figures in it."""

from __future__ import annotations

import ast
import gettext
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.utils.translation import override

import djqueue

PACKAGE = Path(djqueue.__file__).parent
LANGUAGES = ("de", "es", "fr", "ja", "pt", "vi", "zh_Hans")
CODES = {"zh_Hans": "zh-hans"}
CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext_lazy"}
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%s|%%")
TRANSLATE = re.compile(r"""{%\s*translate\s+(?:"([^"]*)"|'([^']*)')""")
# Which way a page is read is the browser's to know.
SIDES = re.compile(r"(?:margin|padding|border|text-align)[^;:{]*[-:]\s*(?:left|right)\b|^\s*(?:left|right)\s*:", re.M)


def catalogue(language: str) -> dict[str, list[str]]:
    """Return the translations of a catalogue's source by message; those of a plural are several."""
    found: dict[str, list[str]] = {}
    text = (PACKAGE / "locale" / language / "LC_MESSAGES/django.po").read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        values: dict[str, str] = {}
        for line in lines:
            match = re.match(r'(msg\S+)\s+(".*")', line)
            if match:
                key = match[1]
                values[key] = json.loads(match[2])
            else:
                values[key] += json.loads(line)
        if values.get("msgid"):
            context = f"{values['msgctxt']}|" if "msgctxt" in values else ""
            found[context + values["msgid"]] = [text for key, text in values.items() if key.startswith("msgstr")]
            if "msgid_plural" in values:
                found[context + values["msgid"]].append(values["msgid_plural"])
    return found


def said_in_python() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                context = "pgettext" in node.func.id
                first = node.args[1 if context else 0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield f"{ast.literal_eval(node.args[0])}|{first.value}" if context else first.value


def said_in_templates() -> Iterator[str]:
    for path in PACKAGE.rglob("*.html"):
        for double, single in TRANSLATE.findall(path.read_text(encoding="utf-8")):
            yield double or single


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_that_is_said_is_translated(language: str) -> None:
    known = catalogue(language)
    said = {*said_in_python(), *said_in_templates()}
    assert len(said) > 400
    assert said - known.keys() == set()
    assert known.keys() == catalogue("de").keys()
    assert [message for message, texts in known.items() if not all(texts)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_figures_of_what_they_translate(language: str) -> None:
    for message, texts in catalogue(language).items():
        allowed = set(PLACEHOLDER.findall(message)) | (set(PLACEHOLDER.findall(texts[-1])) if len(texts) > 1 else set())
        for text in texts:
            assert set(PLACEHOLDER.findall(text)) <= allowed, message
        if len(texts) == 1:
            assert set(PLACEHOLDER.findall(texts[0])) == allowed, message


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_shipped_is_what_was_written(language: str) -> None:
    with (PACKAGE / "locale" / language / "LC_MESSAGES/django.mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    for message, texts in catalogue(language).items():
        if len(texts) == 1:
            context, _, text = message.rpartition("|") if message.startswith("span|") else ("", "", message)
            found = shipped.pgettext(context, text) if context else shipped.gettext(text)
            assert found == texts[0], message


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "dashboard", "queues"),
    [
        ("de", "Übersicht", "Warteschlangen"), ("es", "Panel", "Colas"), ("fr", "Tableau de bord", "Files"),
        ("ja", "ダッシュボード", "キュー"), ("pt", "Painel", "Filas"), ("vi", "Bảng điều khiển", "Hàng đợi"),
        ("zh-hans", "仪表盘", "队列"),
    ],
)  # fmt: skip
def test_pages_speak_the_language(admin_client: Client, language: str, dashboard: str, queues: str) -> None:
    with override(language):
        text = admin_client.get("/admin/djqueue/statistic/", headers={"Accept-Language": language}).content.decode()
    assert f"<h1>{dashboard}</h1>" in text
    assert f">{queues}</a></h2>" in text
    assert "Nothing has" not in text


def test_styles_know_no_left_and_right() -> None:
    for path in PACKAGE.rglob("*.css"):
        assert SIDES.findall(path.read_text(encoding="utf-8")) == [], path.name
