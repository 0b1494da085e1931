"""Settings of the test suite: DATABASE_URL, or the embedded PostgreSQL of the demo project."""

from __future__ import annotations

from typing import Any

import environ

from demo_project.devdb import embedded_database

env = environ.Env()

SECRET_KEY = "tests"
DEBUG = True
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db("DATABASE_URL") if env("DATABASE_URL", default="") else embedded_database()
}
INSTALLED_APPS = [
    "djqueue",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "tests.site",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Short, so that a lost worker is noticed within seconds.
DJQUEUE: dict[str, Any] = {"LEASE": 4, "HEARTBEAT": 0.5}
