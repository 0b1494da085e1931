"""The demonstration project's settings as in production, on the benchmark's own database."""

import json
import os

from django.core.exceptions import ImproperlyConfigured

from benchmarks.lab.site import DATABASE_VARIABLE

if DATABASE_VARIABLE not in os.environ:
    raise ImproperlyConfigured(
        f"Expected {DATABASE_VARIABLE} in the environment. These settings are for `python -m benchmarks`, "
        "which sets it to a server of its own."
    )

# Only to import the demo's settings, which would otherwise start a server of their own.
os.environ["DATABASE_URL"] = "postgres:///unused"
os.environ.setdefault("SECRET_KEY", "for-benchmarks-only")

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS

# Django keeps every statement while DEBUG is on, which would be measured too.
DEBUG = False
ALLOWED_HOSTS = ["localhost"]
DATABASES = {"default": json.loads(os.environ[DATABASE_VARIABLE])}
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]
DJQUEUE = {"ENQUEUE_BY_HAND": ["benchmarks.tasks.*"]}
