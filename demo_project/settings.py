"""Settings of the demonstration project, all of which come from the environment or from ``.env``."""

import sys
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from demo_project.devdb import WAYS_OUT, embedded_database

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DJANGO_DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="for-development-only" if DEBUG else environ.Env.NOTSET)
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=[])

# Starting a server for these would be a surprise, and in an image build a failure.
COMMANDS_WITHOUT_DATABASE = {
    "help",
    "--help",
    "version",
    "--version",
    "collectstatic",
    "makemessages",
    "compilemessages",
}


def _default_database() -> dict[str, Any]:
    if env.str("DATABASE_URL", default=""):
        return dict(env.db("DATABASE_URL"))
    if COMMANDS_WITHOUT_DATABASE.intersection(sys.argv[1:2]):
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"}
    if not DEBUG:
        raise ImproperlyConfigured(
            f"Expected DATABASE_URL, because DJANGO_DEBUG is off and the embedded PostgreSQL is only for "
            f"development. {WAYS_OUT}"
        )
    return embedded_database()


DATABASES = {"default": _default_database()}

INSTALLED_APPS = [
    # Before any app that also has a `runworker`: the first one wins.
    "djqueue",
    "demo_project.stdlib_index",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "demo_project.urls"
WSGI_APPLICATION = "demo_project.wsgi.application"
ASGI_APPLICATION = "demo_project.asgi.application"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
