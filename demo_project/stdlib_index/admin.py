"""The index in the admin, where it can be read."""

from django.contrib import admin
from django.http import HttpRequest

from .models import SourceFile


@admin.register(SourceFile)
class SourceFileAdmin(admin.ModelAdmin):
    list_display = (
        "path",
        "parsed",
        "problem_kind",
        "lines",
        "functions",
        "classes",
        "longest_function",
        "longest_function_lines",
    )
    list_filter = ("parsed", "problem_kind")
    search_fields = ("path", "longest_function")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SourceFile | None = None) -> bool:
        return False
