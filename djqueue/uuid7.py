"""Task ids: UUIDs of version 7 (RFC 9562), time-ordered and known before the insert."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

RANDOM_AT_ONCE = 512
"""Ids for which randomness is asked from the system at once; asking costs more than all the rest."""
VARIANT = "89ab"


def new_task_id() -> str:
    """Return a new id as text."""
    return next(new_task_ids(1))


def new_task_ids(random_at_once: int = RANDOM_AT_ONCE) -> Iterator[str]:
    """Yield new ids without end.

    48 bits of milliseconds, 12 bits of the fraction of the millisecond (RFC 9562 section 6.2, method 3, so ids
    of one process sort by creation to about 250 ns) and 62 random bits.
    """
    while True:
        digits = os.urandom(8 * random_at_once).hex()
        for place in range(0, 16 * random_at_once, 16):
            milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
            stamp = f"{milliseconds:012x}"
            yield (
                f"{stamp[:8]}-{stamp[8:]}-7{nanoseconds * 4096 // 1_000_000:03x}-"
                f"{VARIANT[int(digits[place], 16) & 3]}{digits[place + 1 : place + 4]}-{digits[place + 4 : place + 16]}"
            )


def new_uuid() -> uuid.UUID:
    """Return a new id as a ``UUID``, for model defaults."""
    return uuid.UUID(new_task_id())


def as_task_id(value: object) -> str:
    """Return ``value`` as a task id in its canonical form.

    Raises ``ValueError`` for anything that is not a UUID.
    """
    text = str(value)
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError(
            f"expected task_id to be a UUID, got: {text!r}. To run a task once per name or number of your own, "
            "use unique_key instead of task_id."
        ) from None
