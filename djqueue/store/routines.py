"""Every routine of the store that lives in the database, for the migrations that make them and for the doctor."""

from __future__ import annotations

import hashlib

from .advance import ADVANCE
from .claim import CLAIM
from .conclude import CONCLUDE
from .divert import DIVERT
from .floor import LOWEST
from .follow import FOLLOW
from .functions import Routine
from .gates import ADMIT, VACATE
from .insert import INSERT_READY
from .lanes import GAPS
from .lose import LOSE
from .pace import PACE
from .plant import PLANT
from .promote import PROMOTE
from .release import RELEASE
from .retry import RETRY
from .settle import SETTLE
from .unique import ADD, UNIQUE
from .values import REPR, VALUES

ROUTINES: tuple[Routine, ...] = (
    INSERT_READY,
    CLAIM,
    SETTLE,
    REPR,
    VALUES,
    FOLLOW,
    ADVANCE,
    ADMIT,
    VACATE,
    CONCLUDE,
    RELEASE,
    LOSE,
    RETRY,
    PLANT,
    PROMOTE,
    PACE,
    DIVERT,
    GAPS,
    LOWEST,
    ADD,
    UNIQUE,
)


def digest() -> str:
    """Return what the newest migration with routines must state, so that none is changed without a migration."""
    return hashlib.sha256(" ".join(sorted(routine.name for routine in ROUTINES)).encode()).hexdigest()[:12]
