"""The picture of a workflow, as SVG drawn here, for light and dark pages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import accumulate

from .tree import Node

# Colours on light and on dark ground, and a symbol, so that colour is not the only sign of a state.
STATES = {
    "succeeded": ("#1a7f37", "#3fb950", "✓"),
    "failed": ("#cf222e", "#f85149", "✗"),
    "cancelled": ("#7d4e00", "#d29922", "⊘"),
    "running": ("#0969da", "#58a6ff", "▶"),
    "waiting": ("#6e7781", "#8b949e", "…"),
    "scheduled": ("#8250df", "#bc8cff", "◷"),
    "ready": ("#9a6700", "#e3b341", "•"),
}
WIDTH, HEIGHT, ACROSS, DOWN = 232, 52, 300, 72
MARGIN = 20
LONGEST = 21
TIMES = "\N{MULTIPLICATION SIGN}"
GAP = "\N{NO-BREAK SPACE}" * 2
LONGEST_WORDS = 27
"""More of what is said of a pile is said by signs."""
STACKED = 2
"""Cards below the first one of a pile."""
FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
TIP = (
    '<defs><marker id="djqueue-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="dq-tip" d="M0 0 8 4 0 8z"/></marker></defs>'
)
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def draw(nodes: Sequence[Node], link: Callable[[Node], str] | None = None) -> str:
    """Return an SVG picture: a column for each step, an arrow from what a task got its value from.

    With ``link``, which says where a box leads, it is a part of a page, whose style sheet has its colours.
    """
    before = _all_before(nodes)
    columns = _columns(before)
    rows = _rows(before, columns)
    top = min(rows.values(), default=0)
    place = {id: (MARGIN + column * ACROSS, MARGIN + round((rows[id] - top) * DOWN)) for id, column in columns.items()}
    width = MARGIN + max((x for x, _ in place.values()), default=0) + WIDTH + MARGIN
    height = MARGIN + max((y for _, y in place.values()), default=0) + HEIGHT + MARGIN
    arrows = [_arrow(place[earlier], place[node.id]) for node in nodes for earlier in before[node.id]]
    boxes = [_box(node, *place[node.id]) for node in nodes]
    if link is not None:
        pairs = zip(nodes, boxes, strict=True)
        boxes = [f'<a href="{escape(link(node))}">{box}</a>' for node, box in pairs]
    # What leads somewhere is no mere picture.
    role = "img" if link is None else "group"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{FONT}" role="{role}" aria-label="{_text(_in_words(nodes))}">'
    )
    return "\n".join([head, "" if link else _style(), TIP, *arrows, *boxes, "</svg>"])


def _style() -> str:
    light = "".join(f".dq-{state}{{stroke:{colour};fill:{colour}}}" for state, (colour, _, _) in STATES.items())
    dark = "".join(f".dq-{state}{{stroke:{colour};fill:{colour}}}" for state, (_, colour, _) in STATES.items())
    return (
        "<style>"
        ".dq-card{fill:#fff}.dq-name{fill:#1f2328}.dq-said{fill:#59636e}.dq-sign{fill:#fff;stroke:none}"
        f".dq-way{{stroke:#8c959f;fill:none}}.dq-tip{{fill:#8c959f}}{light}"
        "@media (prefers-color-scheme:dark){.dq-card{fill:#161b22}.dq-name{fill:#f0f6fc}.dq-said{fill:#9198a1}"
        f".dq-sign{{fill:#0d1117}}.dq-way{{stroke:#6e7681}}.dq-tip{{fill:#6e7681}}{dark}}}"
        "</style>"
    )


def _all_before(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Return for each task those that it comes after: one, or all members of the group that it joins."""
    known = {node.id for node in nodes}
    members: dict[str | None, list[str]] = {}
    for node in nodes:
        members.setdefault(node.group_id, []).append(node.id)
    return {
        node.id: members.get(node.joins, []) if node.joins else [id for id in (node.parent_id,) if id in known]
        for node in nodes
    }


def _columns(before: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many steps are before each task. Ids ascend, but a body may be known before its header."""
    columns = dict.fromkeys(before, 0)
    for _ in before:
        moved = False
        for id, earlier in before.items():
            column = max((columns[e] + 1 for e in earlier), default=0)
            if column > columns[id]:
                columns[id], moved = column, True
        if not moved:
            break
    return columns


def _rows(before: Mapping[str, Sequence[str]], columns: Mapping[str, int]) -> dict[str, float]:
    """Return how far down each task stands: as near as there is room to the middle of those that it comes after."""
    rows: dict[str, float] = {}
    for column in sorted(set(columns.values())):
        ids = [id for id in columns if columns[id] == column]
        wanted = {id: sum(rows.get(e, 0.0) for e in before[id]) / max(1, len(before[id])) for id in ids}
        ids.sort(key=wanted.__getitem__)
        last = -math.inf
        for id in ids:
            last = rows[id] = max(wanted[id], last + 1)
        shift = sum(wanted[id] - rows[id] for id in ids) / len(ids)
        for id in ids:
            rows[id] += shift
    return rows


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0] - 3, end[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path class="dq-way" d="{path}" stroke-width="1.5" marker-end="url(#djqueue-tip)"/>'


def _box(node: Node, x: int, y: int) -> str:
    full = f"{node.name} {node.id}: {_said(node)}"
    piled = range(STACKED if node.number > 1 else 0, -1, -1)
    cards = "".join(_card(node.state, x + 5 * below, y + 5 * below) for below in piled)
    return (
        f"<g><title>{_text(full)}</title>{cards}"
        f'<circle class="dq-{node.state}" cx="{x + 22}" cy="{y + HEIGHT // 2}" r="10"/>'
        f'<text class="dq-sign" x="{x + 22}" y="{y + HEIGHT // 2 + 4}" text-anchor="middle" font-size="12">'
        f"{STATES[node.state][2]}</text>"
        f'<text class="dq-name" x="{x + 42}" y="{y + 21}" font-size="14" font-weight="600">'
        f"{_text(_title(node))}</text>"
        f'<text class="dq-said" x="{x + 42}" y="{y + 38}" font-size="12">{_text(_shortly(node))}</text>'
        f"{_shares(node.states, x, y) if node.number > 1 else ''}</g>"
    )


def _card(state: str, x: int, y: int) -> str:
    size = f'x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"'
    return (
        f'<rect class="dq-card" {size}/>'
        f'<rect class="dq-{state}" {size} fill-opacity="0.08" stroke-opacity="0.7" stroke-width="1.5"/>'
    )


def _shares(states: Mapping[str, int], x: int, y: int) -> str:
    """Return a bar whose parts say how many are in which state."""
    whole, length = sum(states.values()), WIDTH - 16
    ends = list(accumulate(states.values(), initial=0))
    return "".join(
        f'<rect class="dq-{state}" stroke="none" stroke-width="0" x="{x + 8 + length * start / whole:.1f}" '
        f'y="{y + HEIGHT - 6}" width="{length * number / whole:.1f}" height="3"/>'
        for (state, number), start in zip(states.items(), ends, strict=False)
    )


def _title(node: Node) -> str:
    name = node.name.rpartition(".")[2]
    number = f" {TIMES} {node.number:,}" if node.number > 1 else ""
    longest = LONGEST - len(number)
    return (name if len(name) <= longest else f"{name[: longest - 1]}…") + number


def _said(node: Node) -> str:
    return ", ".join(f"{n:,} {state}" for state, n in node.states.items()) if node.number > 1 else node.state


def _shortly(node: Node) -> str:
    said = _said(node)
    return said if len(said) <= LONGEST_WORDS else GAP.join(f"{STATES[s][2]} {n:,}" for s, n in node.states.items())


def _in_words(nodes: Sequence[Node]) -> str:
    return "workflow: " + "; ".join(f"{_title(node)} {_said(node)}" for node in nodes[:20])


def _text(value: str) -> str:
    """Return text for XML, in which a name's control characters cannot be written at all."""
    return escape(NOT_IN_XML.sub("\ufffd", value))
