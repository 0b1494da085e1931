"""Access: who calls, what they may, and how answers and errors look."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .tokens import TokenRefused, read_token

View = Callable[..., Any]
BODY_MOST = 10_000_000


class Refused(Exception):
    """What was asked makes no sense; the text says what was expected."""


class Said:
    """Takes the place of Django's messages: what an action says is part of the answer, and nobody's next page."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.failed = False

    def add(self, level: int, message: Any, extra_tags: str = "") -> None:
        self.texts.append(str(message))
        self.failed = self.failed or level >= 40

    def update(self, response: HttpResponse) -> list[Any]:
        return []


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def endpoint(*permissions: str, **methods: View) -> View:
    """Return a view that calls the function of a method (``get``, ``post``) for those who have the permissions.

    The functions return what JSON can hold, or a response. They are called with the request, which has ``body_json``.
    """

    @csrf_exempt
    @never_cache
    @wraps(next(iter(methods.values())))
    def view(request: Any, **named: Any) -> HttpResponse:
        function = methods.get("get" if request.method == "HEAD" else request.method.lower())
        if function is None:
            allowed = ", ".join(name.upper() for name in methods)
            return error(405, f"expected {allowed}, got: {request.method}", Allow=allowed)
        refusal = identify(request) or _lacking(request, permissions)
        return refusal or _answer(request, function, named)

    return view


def identify(request: Any) -> HttpResponse | None:
    """Make ``request.user`` who a token stands for, or else who is logged in; return a response to whom is refused."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    changes = request.method not in ("GET", "HEAD")
    if scheme.lower() == "bearer":
        try:
            request.user, read_only = read_token(token.strip())
        except TokenRefused as refusal:
            return error(401, str(refusal), **{"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if read_only and changes:
            return error(403, "this token may only read")
    elif changes and (reason := _csrf_problem(request)):
        return error(403, f"CSRF: {reason}")
    if not request.user.is_authenticated:
        return error(401, "expected a token or a session", **{"WWW-Authenticate": "Bearer"})
    if not admin.site.has_permission(request):
        return error(403, "expected a user that may enter the admin")
    return None


def _csrf_problem(request: HttpRequest) -> str | None:
    check = _CsrfCheck(lambda _: HttpResponse())
    check.process_request(request)
    reason: Any = check.process_view(request, HttpResponse, (), {})
    return None if reason is None else str(reason)


def _lacking(request: Any, permissions: tuple[str, ...]) -> HttpResponse | None:
    for permission in permissions:
        if not request.user.has_perm(permission):
            return error(403, f"needs the permission {permission}")
    return None


def _answer(request: Any, function: View, named: dict[str, Any]) -> HttpResponse:
    said = request._messages = Said()
    request.djqueue_noted = False
    try:
        request.body_json = _json_of(request)
        found = function(request, **named)
    except (Refused, IncorrectLookupParameters, DisallowedModelAdminLookup) as problem:
        return error(400, str(problem))
    except PermissionDenied as problem:
        return error(403, str(problem) or "not permitted")
    except Http404 as problem:
        return error(404, str(problem) or "not found")
    if isinstance(found, HttpResponse):
        return found
    if said.failed:
        return error(400, " ".join(said.texts))
    return JsonResponse({**found, "notes": said.texts} if said.texts else found)


def _json_of(request: HttpRequest) -> dict[str, Any]:
    if request.method in ("GET", "HEAD") or not request.body:
        return {}
    try:
        given = json.loads(request.body)
    except ValueError as problem:
        raise Refused(f"expected JSON, got: {problem}") from None
    if not isinstance(given, dict):
        raise Refused(f"expected a JSON object, got: {type(given).__name__}")
    return given


def error(status: int, text: str, **headers: str) -> JsonResponse:
    """Return an error as all of them look: ``{"error": text}``."""
    return JsonResponse({"error": text}, status=status, headers=headers)
