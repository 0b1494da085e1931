"""`manage.py demo`: index Python's standard library by a workflow with one task per file, and say how that went."""

import argparse
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import CommandParser

from demo_project.stdlib_index import report
from demo_project.stdlib_index.processes import check_alive, running, stop_on_signals
from demo_project.stdlib_index.progress import Progress
from demo_project.stdlib_index.tasks import index_file, summarise
from djqueue import AsyncResult, chord, group

POLL_SECONDS = 0.2
STALLED_SECONDS = 120
NOT_THE_LIBRARY = {"site-packages", "dist-packages"}


class Command(BaseCommand):
    help = "Index Python's standard library with one task per file, by a real worker, and print a summary."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=positive, metavar="N", help="index N files instead of all")
        parser.add_argument("--concurrency", type=positive, metavar="N", default=2, help="tasks at a time (2)")
        parser.add_argument("--keep-site", action="store_true", help="then serve the admin until Ctrl-C")

    def handle(self, *, limit: int | None, concurrency: int, keep_site: bool, **options: Any) -> None:
        stop_on_signals()
        try:
            self.run(limit, concurrency)
        except KeyboardInterrupt:
            raise CommandError("Interrupted. What has not run stays in the queue.", returncode=130) from None
        if keep_site:
            call_command("demo_site", concurrency=concurrency)

    def run(self, limit: int | None, concurrency: int) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        root = Path(sysconfig.get_path("stdlib")).resolve()
        paths = source_files(root)[:limit]
        if not paths:
            raise CommandError(f"Expected the source files of the standard library in {root}, found none.")
        result, enqueue_seconds = self.work_through(paths, concurrency)
        task_ids = [UUID(member.id) for member in result.parent]

        timings, failures = report.read_timings(task_ids), report.unsuccessful([*task_ids, UUID(result.id)])
        self.write(f"\nThe standard library of Python {sys.version.split()[0]}, {root}")
        self.write(*report.describe_files(paths, root))
        self.write("\nchord(group(index_file for each file), summarise)")
        self.write(*report.describe_queue(timings, enqueue_seconds, concurrency))
        self.write(*report.describe_failures(failures))
        if failures.exists():
            raise CommandError("Expected every task to succeed; those that did not stand above.")
        self.write(*report.describe_result(result.get(timeout=STALLED_SECONDS)))
        self.write(f"\nIts picture: manage.py djqueue graph {result.id} --svg > workflow.svg")

    def write(self, *lines: str) -> None:
        for line in lines:
            self.stdout.write(line)

    def work_through(self, paths: list[str], concurrency: int) -> tuple[AsyncResult, float]:
        """Enqueue a task per file and one that gets all results, let a worker finish them; return the last one's
        result and the enqueue time."""
        with running("runworker", "--concurrency", str(concurrency), "--loglevel", "WARNING") as worker:
            started = time.monotonic()
            result = chord(group(index_file.s(path) for path in paths), summarise.s()).apply_async()
            enqueue_seconds = time.monotonic() - started
            self.wait_for([UUID(one.id) for one in (*result.parent, result)], worker)
        return result, enqueue_seconds

    def wait_for(self, task_ids: list[UUID], worker: subprocess.Popen[bytes]) -> None:
        progress = Progress(len(task_ids), self.stderr)
        done, last_change = -1, time.monotonic()
        while done < len(task_ids):
            before, done = done, report.count_finished(task_ids)
            progress.show(done)
            if done != before:
                last_change = time.monotonic()
            elif time.monotonic() - last_change > STALLED_SECONDS:
                raise CommandError(
                    f"Expected the worker to go on, but nothing has finished for {STALLED_SECONDS} s after "
                    f"{done:,} of {len(task_ids):,} tasks. See where the others stand: make demo-site"
                )
            if done < len(task_ids):
                check_alive(worker)
                time.sleep(POLL_SECONDS)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {number}")
    return number


def source_files(root: Path) -> list[str]:
    """The library's own files, without what is installed beside it."""
    found = sorted(root.rglob("*.py"))
    return [str(path) for path in found if NOT_THE_LIBRARY.isdisjoint(path.relative_to(root).parts)]
