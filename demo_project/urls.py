"""The demonstration project is its admin, and the pages for machines."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("djqueue/", include("djqueue.urls")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
