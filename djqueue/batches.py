"""Batches as their functions see them: requests in, results out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .context import Request
from .exceptions import Retry


class BatchRequest(Request):
    """One task of a batch: ``id name args kwargs`` and whatever a request has, like celery-batches' SimpleRequest."""

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task)

    def mark_as_done(self, result: Any = None) -> None:
        """Let this task succeed with a result, whatever becomes of the others."""
        self.__dict__["verdict"] = (True, result)

    def mark_as_failure(self, exc: BaseException) -> None:
        """Let this task fail with an exception, or be retried if ``autoretry_for`` says so."""
        if not isinstance(exc, BaseException):
            raise TypeError(f"expected an exception, got: {exc!r}")
        self.__dict__["verdict"] = (False, exc)


def shared(name: str, requests: Sequence[Request], value: Any) -> list[Any]:
    """Return what each of the requests ends with: a result, or an exception that it fails with.

    ``value`` is what the function returned: None, a result for each request in their order, or results by id. What
    was marked is left as it was. Raises ``TypeError`` for anything else.
    """
    ids = [request.id for request in requests]
    if value is None:
        values = dict.fromkeys(ids)
    elif isinstance(value, list | tuple) and len(value) == len(ids):
        values = dict(zip(ids, value, strict=True))
    elif isinstance(value, Mapping) and value.keys() <= set(ids):
        values = {**dict.fromkeys(ids), **value}
    else:
        got = f"a list of {len(value)}" if isinstance(value, list | tuple) else repr(value)
        raise TypeError(
            f"expected the batch task {name} to return None, a list of {len(ids)} results, or a dict of results by id, "
            f"got: {got}"
        )
    return [_marked(request, values[request.id]) for request in requests]


def failed(requests: Sequence[Request], error: BaseException) -> list[Any]:
    """Return what each of the requests ends with when the function has raised."""
    if isinstance(error, Retry):
        error = TypeError("a batch cannot retry itself: mark requests as failed with an error that autoretry_for lists")
    return [_marked(request, error) for request in requests]


def _marked(request: Request, otherwise: Any) -> Any:
    verdict = request.verdict
    return otherwise if verdict is None else verdict[1]
