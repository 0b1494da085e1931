"""Tracebacks as people read them: the site's own code apart from that of libraries, causes one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

import djqueue

from . import display

FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
BEGINS = "Traceback (most recent call last):"
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"
# Where libraries are installed, on whatever machine it was.
LIBRARIES = re.compile(r"[\\/](site-packages|dist-packages|python3\.\d+)[\\/]|^<")
OURS = str(Path(djqueue.__file__).parent)


class Frame(NamedTuple):
    """A call; ``source`` is the line, with marks below it."""

    path: str
    line: int
    function: str
    source: str

    @property
    def own(self) -> bool:
        """Whether it is the site's own code, as far as its path tells."""
        return not LIBRARIES.search(self.path) and not self.path.startswith(OURS)

    @property
    def short(self) -> str:
        """The end of the path, which says more than its beginning."""
        return "/".join(re.split(r"[\\/]", self.path)[-3:])


class Raised(NamedTuple):
    """An exception of a chain: ``said`` is its own text, ``link`` how the next one came from it."""

    frames: list[Frame]
    said: str
    link: str


def parse(text: str) -> list[Raised]:
    """Return the exceptions of a traceback in the order in which they were raised; none if it is no plain one."""
    if BEGINS not in text or "Exception Group Traceback" in text:
        return []
    chain = []
    rest = text
    while rest:
        found = min((place, link) for link in (CAUSE, CONTEXT, "") if (place := _place(rest, link)) >= 0)
        place, link = found
        frames, said = _raised(rest[:place].splitlines())
        chain.append(Raised(frames, said, link))
        rest = rest[place + len(link) :] if link else ""
    return chain


def _place(text: str, link: str) -> int:
    if not link:
        return len(text)
    found = re.search(rf"^{re.escape(link)}$", text, re.MULTILINE)
    return found.start() if found else -1


def _raised(lines: list[str]) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    said: list[str] = []
    for line in lines:
        if (match := FRAME.match(line)) and not said:
            frames.append(Frame(match["path"], int(match["line"]), match["function"] or "", ""))
        elif frames and not said and line.startswith("    "):
            last = frames[-1]
            frames[-1] = last._replace(source=f"{last.source}\n{line[4:]}" if last.source else line[4:])
        elif line.strip() and line != BEGINS and not line.startswith("  [Previous line repeated"):
            said.append(line)
    return frames, "\n".join(said)


def last_own_frame(text: str) -> str:
    """Return the last place in the site's own code that an exception passed, else the last of all; "" if unknown.

    Looks at as little of the text as that takes; its beginning may be missing.
    """
    last = None
    for line in reversed(text.splitlines()):
        if line == BEGINS:
            break
        if match := FRAME.match(line):
            frame = Frame(match["path"], int(match["line"]), match["function"] or "", "")
            last = last or frame
            if frame.own:
                last = frame
                break
    return f"{last.short}:{last.line} {last.function}" if last else ""


def error_details(error: dict[str, Any]) -> SafeString:
    """Return a stored error as one line, with its traceback and the error that it came from, if there are any."""
    parts = [format_html("<strong>{}</strong>", display.error_line(error))]
    if text := error.get("traceback"):
        parts.append(render(str(text)))
    if isinstance(cause := error.get("cause"), dict):
        parts.append(format_html('<p class="djqueue-link">{}</p>{}', gettext("Because of:"), error_details(cause)))
    return format_html_join("", "{}", ((part,) for part in parts))


def render(text: str) -> SafeString:
    """Return a traceback as HTML; one that cannot be read is shown as it is."""
    chain = parse(text)
    if not any(raised.frames for raised in chain):
        return display.preformatted(text)
    return format_html(
        '<div class="djqueue-traceback">{}<details><summary>{}</summary>{}</details></div>',
        format_html_join("", "{}", ((part,) for part in _parts(chain))),
        gettext("As text"),
        display.preformatted(text),
    )


def _parts(chain: Iterable[Raised]) -> Iterator[SafeString]:
    words = {CAUSE: gettext("This was the direct cause of:"), CONTEXT: gettext("While that was handled, this came:")}
    for raised in chain:
        yield format_html('<ol class="djqueue-frames">{}</ol>', format_html_join("", "{}", _frames(raised.frames)))
        yield format_html('<p class="djqueue-said">{}</p>', raised.said)
        if raised.link:
            yield format_html('<p class="djqueue-link">{}</p>', words[raised.link])


def _frames(frames: Iterable[Frame]) -> Iterator[tuple[SafeString]]:
    for own, neighbours in groupby(frames, key=lambda frame: frame.own):
        rows = [_frame(frame) for frame in neighbours]
        items = format_html_join("", "<li>{}</li>", ((row,) for row in rows))
        if own:
            yield (items,)
        else:
            count = ngettext("%(count)s library frame", "%(count)s library frames", len(rows)) % {"count": len(rows)}
            yield (
                format_html(
                    '<li class="djqueue-library"><details><summary>{}</summary><ol class="djqueue-frames">{}</ol>'
                    "</details></li>",
                    count,
                    items,
                ),
            )


def _frame(frame: Frame) -> SafeString:
    """The marks below the code are apart, because they say nothing where that is too wide for one line."""
    code, _newline, last = frame.source.rpartition("\n")
    if not code or set(last) - set(" ~^"):
        code, last = frame.source, ""
    return format_html(
        '<code title="{}">{}:{}</code> <strong>{}</strong><pre>{}{}</pre>',
        frame.path,
        frame.short,
        frame.line,
        frame.function,
        code,
        format_html('<span class="djqueue-marks">\n{}</span>', last) if last else "",
    )
