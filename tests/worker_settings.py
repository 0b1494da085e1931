"""Settings of the workers that tests start: the test's own database, and what the test wants different."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import DJQUEUE as SHORT_LEASES

IMPORTS = [
    "tests.site.worker_tasks",
    "tests.site.celery_tasks",
    "tests.site.guarantee_tasks",
    "tests.site.pool_tasks",
    "tests.site.cluster_limits",
    "tests.site.routing_tasks",
]


def made_of(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``DATABASES`` and ``DJQUEUE``."""
    return {"default": given["database"], **given["databases"]}, {
        **SHORT_LEASES,
        "IMPORTS": IMPORTS,
        **given["djqueue"],
    }


DATABASES, DJQUEUE = made_of(json.loads(os.environ["WORKER_SETTINGS"]))
