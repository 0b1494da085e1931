"""Hooks: what a subclass of ``TaskDefinition`` can have done around its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Hooks:
    """Methods that do nothing unless a subclass says so. Only those that are overridden are called."""

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Called in the executor before the function is."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Called after the function returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: dict[str, Any], einfo: Any
    ) -> None:
        """Called after the task failed for good. It may still ask for a retry."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: dict[str, Any], einfo: Any
    ) -> None:
        """Called after the function asked for a retry."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: dict[str, Any], einfo: Any
    ) -> None:
        """Called last, when the task has succeeded or failed."""

    def shadow_name(self, args: Sequence[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> str | None:
        """Return a name to show in place of the task's, or None."""
        return None
