"""The command line: which benchmarks there are, and how one is run and reported."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks import (
    admin,
    backlog,
    beat,
    chain,
    chord,
    control,
    drain,
    enqueue,
    held_snapshot,
    idle,
    io,
    latency,
    limits,
    roundtrip,
    routing,
    unique,
)
from benchmarks.lab import machine
from benchmarks.lab.figures import print_report, say
from benchmarks.lab.site import durability, leave_by_exit, open_site

BENCHMARKS = {
    "drain": drain,
    "enqueue": enqueue,
    "latency": latency,
    "roundtrip": roundtrip,
    "idle": idle,
    "io": io,
    "held_snapshot": held_snapshot,
    "backlog": backlog,
    "chain": chain,
    "chord": chord,
    "beat": beat,
    "admin": admin,
    "limits": limits,
    "routing": routing,
    "unique": unique,
    "control": control,
}

DESCRIPTION = """
Measure djqueue. Each benchmark starts its own PostgreSQL (durable: fsync, synchronous_commit and
full_page_writes are checked and recorded) and its own workers. It removes all of it when it ends, also on
Ctrl-C.
"""
EPILOG = """
examples:
  python -m benchmarks drain                       a table to read
  python -m benchmarks drain --json | tail -n 1    one JSON object, the last line of the output
  python -m benchmarks drain --help                what it measures and how, and its options
  python -m benchmarks all --json                  every benchmark, one after the other (about 5 minutes)

reading the figures:
  Compare figures of one machine only. machine.cores_used_by_others says how busy it was with something else
  meanwhile; above 0.2 the figures are too low. What it is doing now goes to stderr.
"""


def main() -> int:
    options = _parser().parse_args()
    report = _all() if options.name == "all" else _one(options)
    print_report(report, as_json=options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=DESCRIPTION, epilog=EPILOG, formatter_class=layout
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        chosen = names.add_parser(
            name, help=_summary(module.__doc__), description=module.__doc__, formatter_class=layout
        )
        module.add_options(chosen)
    names.add_parser("all", help="All of these, one after the other.", description="Run every benchmark.")
    for chosen in names.choices.values():
        chosen.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _summary(doc: str | None) -> str:
    return (doc or "").partition("\n")[0]


def _one(options: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    site = open_site(getattr(options, "keep", None))
    bystanders = machine.Bystanders(site)
    recorded = durability(site)
    figures = BENCHMARKS[options.name].measure(site, options)
    return {
        "name": options.name,
        **figures,
        "took_s": round(time.monotonic() - began, 1),
        "machine": machine.describe(bystanders),
        "versions": machine.versions(site),
        "durability": recorded,
    }


def _all() -> dict[str, Any]:
    """Run each benchmark in a process of its own, whose end is also the end of its server."""
    leave_by_exit()
    reports = {}
    for name in BENCHMARKS:
        say(f"--- {name}")
        command = [sys.executable, "-m", "benchmarks", name, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                output, _ = process.communicate()
            except BaseException:
                process.terminate()  # and wait, on leaving the block, while it stops what it started
                raise
        if process.returncode:
            raise SystemExit(f"the benchmark {name} failed with exit code {process.returncode}")
        reports[name] = json.loads(output.splitlines()[-1])
    return {"name": "all", "benchmarks": reports}
