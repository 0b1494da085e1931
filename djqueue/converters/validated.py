"""Pydantic models under ``pydantic=True``: as Celery handles them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from djqueue.exceptions import ImproperlyConfigured

from .converter import Mismatch
from .singles import ModelConverter


class ValidatedModel(ModelConverter):
    """Validated in the worker, with the definition's options; there ``pydantic.ValidationError`` is raised as it is.

    A caller may pass a model or what it is made of; the latter is not looked at, because validators may need what only
    workers have. Validators find ``celery_task_name`` in their context, as they do in Celery.
    """

    def __init__(
        self, kind: Any, task_name: str, strict: bool, context: Mapping[str, Any], dump_kwargs: Mapping[str, Any]
    ) -> None:
        super().__init__(kind)
        self._strict = strict
        self._context = {**context, "celery_task_name": task_name}
        self._dump_kwargs = {"mode": "json", **dump_kwargs}

    @classmethod
    def options(
        cls,
        task_name: str,
        strict: bool,
        context: Mapping[str, Any] | None,
        dump_kwargs: Mapping[str, Any] | None,
    ) -> Callable[[type], ValidatedModel]:
        """Return a maker of such converters. Raises ``ImproperlyConfigured`` where pydantic is not installed."""
        try:
            import pydantic  # noqa: F401
        except ImportError as error:
            raise ImproperlyConfigured(
                f"task {task_name}: pydantic=True needs a package that is not installed ({error}): "
                "pip install 'django-djqueue[pydantic]'"
            ) from error
        return partial(cls, task_name=task_name, strict=strict, context=context or {}, dump_kwargs=dump_kwargs or {})

    def owns(self, value: Any) -> bool:
        return isinstance(value, self._kind)

    def decode(self, value: Any) -> Any:
        return self.validate(value)

    def encode(self, value: Any) -> Any:
        if not self.owns(value):
            return value
        stored = self.dump(value)
        try:
            back = self.validate(stored)
        except Exception as error:
            raise Mismatch(f"{self.expected} to be readable again ({type(error).__name__})", value) from error
        if back != value:
            raise Mismatch(f"{self.expected} to come back from model_dump as it was", value)
        return stored

    def dump(self, made: Any) -> Any:
        return made.model_dump(**self._dump_kwargs)

    def validate(self, value: Any) -> Any:
        return self._kind.model_validate(value, strict=self._strict, context=self._context)
