"""A progress bar on a terminal, and a line now and then elsewhere."""

import time

from django.core.management.base import OutputWrapper

WIDTH = 40
PLAIN_STEPS = 10


class Progress:
    """Shows how many of ``total`` are done."""

    def __init__(self, total: int, stream: OutputWrapper) -> None:
        self._total = total
        self._stream = stream
        self._started = time.monotonic()
        self._step_shown = -1

    def show(self, done: int) -> None:
        share = done / self._total
        rate = done / max(time.monotonic() - self._started, 0.001)
        counts = f"{done:,} of {self._total:,} tasks, {rate:,.0f} per second"
        if self._stream.isatty():
            bar = "#" * int(share * WIDTH)
            end = "\n" if done == self._total else ""
            self._write(f"\r[{bar:.<{WIDTH}}] {counts}\x1b[K{end}")
        elif int(share * PLAIN_STEPS) > self._step_shown:
            self._step_shown = int(share * PLAIN_STEPS)
            self._write(f"{counts}\n")

    def _write(self, text: str) -> None:
        # The stream of a command's errors is red unless told otherwise.
        self._stream.write(text, style_func=str, ending="")
        self._stream.flush()
