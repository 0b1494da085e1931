"""Task ids: UUIDs of version 7 (RFC 9562), time-ordered and known before the insert."""

from __future__ import annotations

import os
import time
import uuid

_from_bytes = int.from_bytes


def new_task_id() -> str:
    """Return a new id as text.

    48 bits of milliseconds, 12 bits of the fraction of the millisecond (RFC 9562 section 6.2, method 3, so ids
    of one process sort by creation to about 250 ns) and 62 random bits.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    tail = _from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    digits = f"{milliseconds:012x}7{fraction:03x}{tail:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


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
