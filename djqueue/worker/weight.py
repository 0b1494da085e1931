"""Weight: how much memory this process takes."""

from __future__ import annotations

import os
import resource
import sys

STATM = "/proc/self/statm"
PAGE_KIB = resource.getpagesize() // 1024


def weight() -> int:
    """Return the resident memory of this process in KiB; where the system does not tell, the most it ever was."""
    try:
        descriptor = os.open(STATM, os.O_RDONLY)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
    try:
        return int(os.read(descriptor, 128).split()[1]) * PAGE_KIB
    finally:
        os.close(descriptor)
