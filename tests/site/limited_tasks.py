"""Definitions with time limits: the pool ``solo`` does not start with them."""

from __future__ import annotations

import time
from typing import Any

from djqueue import shared_task


@shared_task(time_limit=0.4, soft_time_limit=0.2)
def limited() -> None:
    time.sleep(60)


@shared_task(bind=True, soft_time_limit=50, time_limit=60)
def knows_its_limits(self: Any) -> list[Any]:
    return [self.request.timelimit, self.request.time_limit, self.request.soft_time_limit]
