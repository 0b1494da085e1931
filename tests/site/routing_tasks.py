"""Tasks for the tests of routing, uniqueness and batches."""

from __future__ import annotations

from typing import Any

from djqueue import shared_task


def note(path: str, text: str) -> None:
    """Add a line to a file; lines of several processes do not mix."""
    with open(path, "a") as file:
        file.write(f"{text}\n")


@shared_task(bind=True)
def tells_its_route(self: Any) -> dict[str, Any]:
    return dict(self.request.delivery_info)
