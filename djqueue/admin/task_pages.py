"""Pages beside the list of tasks: workflows, and the form to enqueue."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from djqueue import registry
from djqueue.conf import settings
from djqueue.models import Task

from . import display
from .acting import carry_out, has_permission
from .actions import ACTIONS
from .enqueueing import EnqueueForm, allowed_tasks, is_allowed
from .workflows import END, failed_steps, newest_workflows

ENQUEUE = "djqueue.enqueue_task"


def may_enqueue(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(settings.ENQUEUE_BY_HAND and user.has_perm(ENQUEUE) and user.has_perm("djqueue.view_task"))


class TaskPages:
    """The views; ``model_admin`` is that of tasks."""

    def __init__(self, model_admin: Any) -> None:
        self.model_admin = model_admin

    @property
    def urls(self) -> list[Any]:
        view = self.model_admin.admin_site.admin_view
        return [
            path("workflows/", view(self.workflows), name="djqueue_workflows"),
            path("workflows/<uuid:workflow_id>/retry/", view(require_POST(self.retry)), name="djqueue_workflow_retry"),
            path("enqueue/", view(self.enqueue), name="djqueue_enqueue"),
        ]

    def workflows(self, request: HttpRequest) -> HttpResponse:
        """List workflows, the newest first."""
        if not self.model_admin.has_view_permission(request):
            raise PermissionDenied
        try:
            before = str(UUID(request.GET.get("before", END)))
        except ValueError:
            before = END
        found, following = newest_workflows(settings.DATABASE, before)
        shown = [(one, display.workflow_label(one.state)) for one in found]
        may_retry = has_permission(request, ACTIONS["retry"])
        return self._page(
            request, "workflows", gettext("Workflows"), workflows=shown, following=following, may_retry=may_retry
        )

    def retry(self, request: HttpRequest, workflow_id: UUID) -> HttpResponse:
        """Retry what failed in a workflow."""
        if not has_permission(request, ACTIONS["retry"]):
            raise PermissionDenied
        from_here = reverse("admin:djqueue_workflows")
        ids = failed_steps(settings.DATABASE, str(workflow_id))
        if ids:
            carry_out(request, ACTIONS["retry"], ids, {})
        else:
            messages.warning(request, gettext("Nothing of this workflow has failed."))
        return HttpResponseRedirect(from_here)

    def enqueue(self, request: HttpRequest) -> HttpResponse:
        """Offer the tasks that may be enqueued, and the form of one."""
        if not may_enqueue(request):
            raise PermissionDenied
        name = request.GET.get("task")
        if not name:
            return self._page(request, "enqueue", gettext("Enqueue a task"), names=allowed_tasks(), form=None)
        definition = registry.find(name) if name in allowed_tasks() and is_allowed(name) else None
        if definition is None:
            raise Http404(f"no task that may be enqueued by hand is called {name!r}")
        form = EnqueueForm(definition, request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid() and (task_id := self._enqueued(request, name, form)):
            return HttpResponseRedirect(reverse("admin:djqueue_task_change", args=[task_id]))
        about = (definition.__doc__ or "").strip()
        return self._page(request, "enqueue", name, names=[], form=form, about=about, media=form.media)

    def _enqueued(self, request: HttpRequest, name: str, form: EnqueueForm) -> str | None:
        try:
            task_id = str(form.enqueue().id)
        except (TypeError, ValueError) as error:
            form.add_error(None, str(error))
            return None
        task = Task.objects.using(settings.DATABASE).filter(pk=task_id).first()
        if task is not None:
            self.model_admin.log_addition(request, task, "Enqueued by hand.")
        messages.success(request, gettext("%(task)s is enqueued.") % {"task": name})
        return task_id

    def _page(self, request: HttpRequest, template: str, title: str, media: Any = "", **context: Any) -> HttpResponse:
        values = {
            **self.model_admin.admin_site.each_context(request),
            "title": title,
            "opts": self.model_admin.opts,
            "media": self.model_admin.media + media if media else self.model_admin.media,
            **context,
        }
        return TemplateResponse(request, f"admin/djqueue/task/{template}.html", values)
