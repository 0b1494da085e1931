"""Scale: how many executors the pool has, by order or by itself."""

from __future__ import annotations

from collections.abc import Callable

from .options import Bounds, WorkerOptions
from .pool import Pool


class Scale:
    """Grows and shrinks a pool by whole executors. What is refused is a ``ValueError``."""

    def __init__(self, options: WorkerOptions, pool: Pool) -> None:
        self.bounds: Bounds | None = options.autoscale
        self.on_bounds: Callable[[], object] = lambda: None
        self._options = options
        self._pool = pool

    @property
    def size(self) -> int:
        """Executors that take tasks, or will when they are started."""
        return len(self._pool.crew.places)

    @property
    def shown(self) -> str | None:
        return None if self.bounds is None else str(self.bounds)

    def grow(self, number: int) -> None:
        self.set(self.size + _positive(number))

    def shrink(self, number: int) -> None:
        self.set(self.size - _positive(number))

    def between(self, least: int, most: int) -> None:
        """Keep to bounds from now on; 0 for ``most`` ends that."""
        if most == 0:
            self.bounds = None
            return
        if not 1 <= least <= most:
            raise ValueError(f"expected max to be min or more, and min 1 or more, got: max={most}, min={least}")
        self._check(most)
        self.set(min(max(self.size, least), most))
        self.bounds = Bounds(least, most)
        self.on_bounds()

    def set(self, size: int) -> None:
        """Have so many executors."""
        self._check(size)
        crew = self._pool.crew
        if size - self.size > crew.room_for:
            raise ValueError(
                f"{len(crew.leaving)} executors that were taken away still finish what they run; "
                f"the pool can grow by {crew.room_for} until they have"
            )
        if size > self.size:
            crew.grow(size - self.size)
        elif size < self.size:
            crew.shrink(self.size - size)
        self._pool.concurrency = size * self._options.slots

    def _check(self, size: int) -> None:
        if self._options.pool == "solo":
            raise ValueError("--pool solo has one executor, which is the worker itself")
        if not 1 <= size <= self._options.most_processes:
            raise ValueError(f"expected the pool to have 1 to {self._options.most_processes} executors, got: {size}")


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError(f"expected n to be 1 or more, got: {number}")
    return number
