"""The pictures in the documentation: ``python -m tests.pictures`` draws them, and a test that they are up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from djqueue.observability.picture import draw
from djqueue.observability.tree import Node, folded

DIRECTORY = Path(__file__).resolve().parent.parent / "docs/pictures"


def node(id: str, name: str, state: str, **more: Any) -> Node:
    values = {"parent_id": None, "group_id": None, "waits_for": None, "joins": None, **more}
    return Node(id=id, name=name, state=state, **values)


def demo() -> list[Node]:
    """``make demo``, while it runs."""
    states = ["succeeded"] * 1204 + ["running"] * 2 + ["ready"] * 584
    files = [node(f"file {n}", "index_file", state, group_id="files") for n, state in enumerate(states)]
    return [*files, node("sum", "summarise", "waiting", parent_id="file 0", joins="files")]


def workflow() -> list[Node]:
    """A chain of a task, a group and two tasks, of whose group a member is a chain."""
    return [
        node("fetch", "fetch_orders", "succeeded"),
        node("charge", "charge", "running", parent_id="fetch"),
        node("receipt", "send_receipt", "waiting", parent_id="charge", group_id="group"),
        node("stock", "reserve_stock", "succeeded", parent_id="fetch", group_id="group"),
        *(
            node(f"label {n}", "print_label", "succeeded" if n < 25 else "ready", parent_id="fetch", group_id="group")
            for n in range(40)
        ),
        node("report", "report", "waiting", parent_id="receipt", joins="group"),
    ]


def drawn() -> dict[Path, str]:
    pictures = {"demo": demo(), "workflow": workflow()}
    return {DIRECTORY / f"{name}.svg": draw(folded(nodes)) + "\n" for name, nodes in pictures.items()}


if __name__ == "__main__":
    for path, text in drawn().items():
        path.write_text(text)
