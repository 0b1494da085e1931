"""Steps: what is done to one queue or worker by a button, after a question, by those who have a permission for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django import forms
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_POST

from .readonly import ReadOnlyAdmin


class Step(NamedTuple):
    """Something to do to a row."""

    name: str
    permission: str
    title: Any
    impact: Any
    grave: bool = False


class SteppedAdmin(ReadOnlyAdmin):
    """Shows rows, with a button for each of ``steps`` that fits."""

    steps: dict[str, Step] = {}
    change_form_template = "admin/djqueue/stepped_form.html"

    def get_urls(self) -> list[Any]:
        act = self.admin_site.admin_view(require_POST(self.act_view))
        name = f"djqueue_{self.opts.model_name}_act"
        return [path("<path:object_id>/act/", act, name=name), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        fitting = [] if row is None else [step for step in self.steps.values() if self.fits(request, step, row)]
        return super().change_view(request, object_id, form_url, {"fitting": fitting, **(extra_context or {})})

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Carry out a step, once it is confirmed."""
        step = self.steps.get(request.POST.get("action", ""))
        if step is None or not self.may(request, step):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        confirmed = "confirmed" in request.POST
        form = self.form_of(step, row, request.POST if confirmed else None)
        if confirmed and form.is_valid():
            self.carry_out(request, step, row, form.cleaned_data)
            return HttpResponseRedirect(self.page_of(row))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{step.title}: {row}",
            "opts": self.opts,
            "media": self.media + form.media,
            "step": step,
            "form": form,
            "back": self.page_of(row),
            "fact": self.fact_of(step, row),
        }
        return TemplateResponse(request, "admin/djqueue/confirm.html", context)

    def may(self, request: HttpRequest, step: Step) -> bool:
        user: Any = request.user
        return bool(user.has_perm(step.permission) and self.has_view_permission(request))

    def fits(self, request: HttpRequest, step: Step, row: Any) -> bool:
        """Whether there is something to do, by someone who may."""
        return self.may(request, step)

    def form_of(self, step: Step, row: Any, data: Any) -> forms.Form:
        """Return what is asked before a step."""
        return forms.Form(data)

    def fact_of(self, step: Step, row: Any) -> str:
        """Return what is to be known before a step."""
        return ""

    def page_of(self, row: Any) -> str:
        raise NotImplementedError

    def carry_out(self, request: HttpRequest, step: Step, row: Any, values: dict[str, Any]) -> None:
        """Do it, log it and say so."""
        raise NotImplementedError
