"""The test site's pages: the admin, and those for machines."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("djqueue/", include("djqueue.urls"))]
