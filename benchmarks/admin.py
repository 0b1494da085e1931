"""How long the pages of the admin take with a million tasks, in all states and in several queues.

Each page is asked for through Django's whole stack, templates included, without a network, and without what the
process keeps of figures for some seconds. With --tasks 12000000 there are ten million finished, a million ready and a
million scheduled ones. Of each page this tells the milliseconds (the median, and of the fastest request, which is what
counts where others use the machine), and of the fastest the number of statements and the milliseconds of the slowest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lab import monitored
from benchmarks.lab.figures import median, ms, say
from benchmarks.lab.site import Site

PAGE_GOAL, STATEMENT_GOAL = 0.3, 0.2
"""Seconds."""
SPANS = ("1h", "24h", "7d")
STATES = ("ready", "scheduled", "running", "succeeded", "failed", "cancelled", "waiting")
ACTIONS = {
    "retry": "failed", "run": "scheduled", "reschedule": "scheduled", "move": "ready", "prioritise": "ready",
    "cancel": "ready", "terminate": "running", "delete": "succeeded",
}  # fmt: skip
"""Actions, each with the state whose list it is chosen in."""


class Page(NamedTuple):
    """Something to ask for; ``data`` makes it a form that is sent."""

    path: str
    data: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.path if self.data is None else f"{self.path} > {self.data['action']} all"


class Cost(NamedTuple):
    """Seconds of a request, its statements, and the slowest of them with its seconds; the median of all requests."""

    seconds: float
    statements: int
    slowest: float
    sql: str
    median: float = 0.0


def pages_of(ids: dict[str, str]) -> list[Page]:
    """Return every page of the monitor, with the filters of its lists."""
    one, old, key = ids["one"], ids["old"], "/admin/djqueue/"
    lists = [
        "",
        *(f"?state={state}" for state in STATES),
        *(f"?queue={queue}{rest}" for queue in ("mail", "rare") for rest in ("", *(f"&state={one}" for one in STATES))),
        *(f"?enqueued={span}" for span in ("10min", "24h")),
        *(f"?enqueued=10min&state={state}" for state in ("ready", "succeeded", "failed")),
        "?enqueued=24h&queue=rare",
        "?p=5", "?p=100", "?worker=1", "?worker=1&queue=mail", f"?q={one}",
        "?q=shop.tasks.number7", "?q=shop.tasks.none", "?q=shop.tasks.number7&state=failed",
        "?q=[999999]", '?q={"nothing": 1}', '?q={"nothing": 1}&state=failed',
        "?tag=tenant=7", "?tag=tenant", "?tag=customer=7", "?tag=nothing=1", "?tag=tenant=7&state=failed",
        "?tag=customer=7&state=ready&queue=mail",
        '?q=headers:{"tenant": 7}', '?q=headers:{"tenant": "none"}', '?q=headers:{"tenant": 7}&state=failed',
    ]  # fmt: skip
    return [
        Page(key),
        *(Page(f"{key}statistic/?span={span}") for span in SPANS),
        Page(f"{key}statistic/live/"),
        *(Page(f"{key}taskresult/failures/?span={span}") for span in SPANS),
        *(Page(f"{key}task/{parameters}") for parameters in lists),
        *(Page(f"{key}task/{ids[which]}/change/") for which in ("one", "failed", "ready", "old", "step", "huge")),
        *(Page(f"{key}task/{rest}") for rest in ("workflows/", f"workflows/?before={old}", "enqueue/")),
        Page(f"{key}task/enqueue/?task={ids['enqueue']}"),
        *(Page(f"{key}taskresult/{rest}") for rest in ("", "?state__exact=6", "?p=50", f"?q={one}", f"{one}/change/")),
        *(Page(f"{key}{rest}") for rest in ("queue/", "queue/mail/change/", "worker/", "worker/1/change/")),
        *(Page(f"{key}schedule/{rest}") for rest in ("", "add/", f"{ids['schedule']}/change/")),
        *(Page(f"{key}ratelimit/{rest}") for rest in ("", "add/", f"{ids['limit']}/change/")),
        *(Page(f"{key}{model}/{rest}") for model in ("pause", "exchange") for rest in ("", "add/")),
        Page(f"{key}exchange/exchange1/change/"),
        *(
            Page(f"{key}task/?state={state}", {"action": action, "select_across": "1", "_selected_action": one})
            for action, state in ACTIONS.items()
        ),
        *(Page(f"/djqueue/{rest}") for rest in ("metrics", "api/", "api/tasks/", f"api/tasks/{one}/")),
        *(Page(f"/djqueue/api/tasks/?state={state}") for state in STATES),
        *(Page(f"/djqueue/api/{what}/") for what in ("queues", "workers", "schedules", "failures", "statistics")),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=1_000_000, metavar="N", help="tasks, at least 24,000 (1,000,000)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="requests of each page (5)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the pages that have this in their address")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the loaded database there, and use it if it is there already"
    )


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        monitored.fill(connection, options.tasks)
        ids = _ids(connection, options.tasks)
    pages = [page for page in pages_of(ids) if options.only in str(page)]
    costs = _time_pages(pages, options.repeat)
    slowest = max(costs, key=lambda page: costs[page].seconds)
    return {
        "tasks": options.tasks,
        "slowest_ms": ms(costs[slowest].seconds),
        "slowest": slowest,
        "pages": {
            page: [ms(cost.median), ms(cost.seconds), cost.statements, ms(cost.slowest)] for page, cost in costs.items()
        },
        "pages_are": "median ms, fastest ms, and of the fastest: statements, ms of the slowest statement",
        "slow_pages": [page for page, cost in costs.items() if cost.seconds > PAGE_GOAL],
        "slow_statements": {
            page: " ".join(cost.sql.split()) for page, cost in costs.items() if cost.slowest > STATEMENT_GOAL
        },
    }


def _ids(connection: Any, tasks: int) -> dict[str, str]:
    """Return ids to ask for: of tasks, a schedule, a limit, and the name of a task that may be enqueued by hand."""
    numbers = {"one": 41, "failed": 3, "ready": 47, "old": 12001, "step": 12001, "huge": tasks}
    rows = {
        what: str(connection.execute(f"SELECT min(id) FROM djqueue_{table}").fetchone()[0])
        for what, table in (("schedule", "schedule"), ("limit", "ratelimit"))
    }
    return {
        **{name: monitored.id_of(connection, number) for name, number in numbers.items()}, **rows,
        "enqueue": "benchmarks.tasks.noop",
    }  # fmt: skip


def _time_pages(pages: list[Page], repeat: int) -> dict[str, Cost]:
    """Return what each page costs at its fastest, after it was asked for once."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.filter(username="benchmark").first() or User.objects.create_superuser("benchmark"))
    costs = {}
    for page in pages:
        _cost(client, connection, page)
        found = [_cost(client, connection, page) for _ in range(repeat)]
        costs[str(page)] = min(found)._replace(median=median([one.seconds for one in found]))
        say(f"{costs[str(page)].seconds * 1000:7.1f} ms  {page}")
    return costs


def _cost(client: Any, connection: Any, page: Page) -> Cost:
    from djqueue.admin import figures

    figures._kept.clear()
    statements: list[tuple[float, str]] = []

    def timed(execute: Any, sql: str, *rest: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, *rest)
        finally:
            statements.append((time.perf_counter() - began, sql))

    began = time.perf_counter()
    with connection.execute_wrapper(timed):
        response = client.get(page.path) if page.data is None else client.post(page.path, page.data)
    elapsed = time.perf_counter() - began
    if response.status_code != 200:
        raise RuntimeError(f"expected {page} to answer with 200, got: {response.status_code} {response.content[:200]}")
    slowest = max(statements, default=(0.0, ""))
    return Cost(elapsed, len(statements), *slowest)
