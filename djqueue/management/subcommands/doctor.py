"""``manage.py djqueue doctor``: say what is wrong, and what to do about it."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from djqueue.doctor import Finding, examine

HELP = "check the database, the settings and the place of every task"

DESCRIPTION = """\
Checks the settings, PostgreSQL, the schema, the workers, and that every task
stands in exactly one place. Only reads; safe while workers run.

Each check says ok, warning or error, and what to do. Exit code: 0 if there is
no error, 1 if there is one.
"""
EXAMPLES = """\
examples:
  manage.py djqueue doctor                    read it
  manage.py djqueue doctor --json             let a monitor read it
  manage.py djqueue doctor --fail-on-warning  as a gate before a release
"""
SYMBOLS = {"ok": "✓", "warning": "!", "error": "✗"}
PLAIN_SYMBOLS = {"ok": "+", "warning": "!", "error": "x"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--fail-on-warning", action="store_true", help="exit with 1 on warnings as well")
    parser.add_argument(
        "--database",
        choices=tuple(connections),
        metavar="ALIAS",
        help="the alias in DATABASES to look at (default: the one that DJQUEUE['DATABASE'] names)",
    )


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    findings = examine(options["database"])
    count: Counter[str] = Counter(finding.level for finding in findings)
    failed = bool(count["error"] or (options["fail_on_warning"] and count["warning"]))
    if options["json"]:
        report = {
            "ok": not failed,
            "errors": count["error"],
            "warnings": count["warning"],
            "checks": [asdict(finding) for finding in findings],
        }
        command.stdout.write(json.dumps(report, indent=2))
    else:
        _print(command, findings)
        command.stdout.write(_summary(count))
    if failed:
        sys.exit(1)


def _print(command: BaseCommand, findings: list[Finding]) -> None:
    styles = {"ok": command.style.SUCCESS, "warning": command.style.WARNING, "error": command.style.ERROR}
    symbols = _symbols(getattr(command.stdout, "encoding", None))
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = styles[finding.level](f"{symbols[finding.level]} {finding.level:7}")
        command.stdout.write(f"{level}  {finding.check:{width}}  {finding.found}")
        if finding.advice:
            command.stdout.write(f"{'':{width + 13}}{finding.advice}")


def _summary(count: Counter[str]) -> str:
    levels = [(level, count[level]) for level in ("error", "warning") if count[level]]
    problems = [f"{number} {level}{'s' if number != 1 else ''}" for level, number in levels]
    return f"\n{', '.join(problems)}." if problems else "\nAll is well."


def _symbols(encoding: str | None) -> dict[str, str]:
    try:
        "".join(SYMBOLS.values()).encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return PLAIN_SYMBOLS
    return SYMBOLS
