"""The picture of a workflow, as SVG drawn here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from .tree import Node

COLOURS = {
    "succeeded": "#2e7d32",
    "failed": "#c62828",
    "cancelled": "#6d4c41",
    "running": "#1565c0",
    "waiting": "#9e9e9e",
    "scheduled": "#8e24aa",
    "ready": "#f9a825",
}
WIDTH, HEIGHT, ACROSS, DOWN = 170, 34, 210, 46
MARGIN = 16
LONGEST = 22


def draw(nodes: Sequence[Node], link: Callable[[Node], str] | None = None) -> str:
    """Return an SVG picture: a column for each step, an arrow from what a task got its value from.

    ``link`` says where a box leads to.
    """
    columns = _columns(nodes)
    rows: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for node in nodes:
        column = columns[node.id]
        row = rows[column] = rows.get(column, -1) + 1
        place[node.id] = MARGIN + column * ACROSS, MARGIN + row * DOWN
    width = 2 * MARGIN + max(rows, default=0) * ACROSS + WIDTH
    height = 2 * MARGIN + max(rows.values(), default=0) * DOWN + HEIGHT
    arrows = [_arrow(place[before], place[node.id]) for node in nodes for before in _before(node, nodes)]
    boxes = [_linked(_box(node, *place[node.id]), link and link(node)) for node in nodes]
    # What leads somewhere is no mere picture.
    role = "group" if link else "img"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="sans-serif" font-size="12" role="{role}" aria-label="workflow">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>',
            *arrows,
            *boxes,
            "</svg>",
        ]
    )


def _before(node: Node, nodes: Sequence[Node]) -> list[str]:
    """Return the tasks that a task comes after: one, or all members of the group that it joins."""
    if node.joins is not None:
        return [other.id for other in nodes if other.group_id == node.joins]
    return [other.id for other in nodes if other.id == node.parent_id]


def _columns(nodes: Sequence[Node]) -> dict[str, int]:
    """Return how many steps are before each task. Ids ascend, but a body may be known before its header."""
    before = {node.id: _before(node, nodes) for node in nodes}
    columns = dict.fromkeys(before, 0)
    for _ in nodes:
        moved = False
        for id, earlier in before.items():
            column = max((columns[e] + 1 for e in earlier), default=0)
            if column > columns[id]:
                columns[id], moved = column, True
        if not moved:
            break
    return columns


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="#888" marker-end="url(#tip)"/>'


def _linked(box: str, url: str | None) -> str:
    return f'<a href="{escape(url)}">{box}</a>' if url else box


def _box(node: Node, x: int, y: int) -> str:
    name = node.name.rpartition(".")[2]
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return (
        f"<g><title>{escape(f'{node.name} {node.id} {node.state}')}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff" '
        f'stroke="{COLOURS[node.state]}" stroke-width="2"/>'
        f'<circle cx="{x + 14}" cy="{y + HEIGHT // 2}" r="5" fill="{COLOURS[node.state]}"/>'
        f'<text x="{x + 26}" y="{y + HEIGHT // 2 + 4}">{escape(shown)}</text></g>'
    )
