"""Task ids: UUIDs of version 7 (RFC 9562), time-ordered and known before the insert."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

AT_ONCE = 1000
"""Ids that ``new_task_ids`` makes from one look at the clock and one at the random source."""

# The first hexadecimal digit of the random part, with its two highest bits set to the variant of RFC 9562.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_task_id() -> str:
    """Return a new id as text, made as ``new_task_ids`` says."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8))
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{nanoseconds * 4096 // 1_000_000:03x}-"
        f"{random >> 48 & 0x3FFF | 0x8000:04x}-{random & 0xFFFF_FFFF_FFFF:012x}"
    )


def new_task_ids(at_once: int = AT_ONCE) -> Iterator[str]:
    """Yield new ids without end, in ascending order.

    48 bits of milliseconds, 12 bits of the fraction of the millisecond (RFC 9562 section 6.2, method 3) and 62 random
    bits. The ids of one look at the clock are a step of the fraction apart, as if they had been made 244 ns apart.
    """
    following = 0
    while True:
        milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
        # The clock may have been set back, or the last ids may have run ahead of it.
        first = max(following, milliseconds << 12 | nanoseconds * 4096 // 1_000_000)
        following = first + at_once
        random = os.urandom(8 * at_once).hex()
        for number in range(at_once):
            moment = f"{first + number:015x}"
            tail = random[number * 16 : number * 16 + 16]
            yield f"{moment[:8]}-{moment[8:12]}-7{moment[12:]}-{_VARIANT[tail[0]]}{tail[1:4]}-{tail[4:]}"


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
