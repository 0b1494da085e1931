"""Tasks with annotations of many kinds, for forms; and tasks that log."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from djqueue import get_task_logger, shared_task

logger = logging.getLogger("tests.site.form_tasks")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@shared_task(bind=True)
def many_kinds(
    self: Any,
    number: int,
    text: str,
    when: datetime,
    *,
    ratio: float = 0.5,
    loud: bool = False,
    colour: Colour = Colour.RED,
    size: Literal["s", "m"] = "s",
    price: Decimal | None = None,
    items: list[int] | None = None,
) -> list[Any]:
    """Take one of each."""
    return [number, text, when.isoformat(), ratio, loud, colour.value, size, str(price), items]


@shared_task
def says(words: str, fail: bool = False) -> None:
    logger.info("plain %s", words)
    logger.debug("not this")
    get_task_logger("tests.own").warning("own %s", words)
    if fail:
        raise ValueError(words)


@shared_task
async def says_async(words: str) -> None:
    logger.info("async %s", words)


@shared_task
def says_much() -> None:
    for _ in range(100):
        logger.info("x" * 10_000)
