"""URLs for machines, to be included by the site: ``path("djqueue/", include("djqueue.urls"))``."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from djqueue.api import acts, lists
from djqueue.api.access import endpoint
from djqueue.observability.site_metrics import metrics

app_name = "djqueue"


def prometheus(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics of the queue; 501 where ``prometheus-client`` is not installed."""
    try:
        body, kind = metrics()
    except ImportError:
        needed = "needs prometheus-client: pip install 'django-djqueue[prometheus]'\n"
        return HttpResponse(needed, status=501, content_type="text/plain")
    return HttpResponse(body, content_type=kind)


urlpatterns = [
    path("metrics", endpoint("djqueue.view_statistic", get=prometheus), name="metrics"),
    path("api/", endpoint(get=acts.index), name="api"),
    path("api/tasks/", endpoint("djqueue.view_task", get=lists.tasks, post=acts.on_tasks), name="api_tasks"),
    path("api/tasks/<uuid:task_id>/", endpoint("djqueue.view_task", get=lists.task), name="api_task"),
    path("api/queues/", endpoint("djqueue.view_queue", get=lists.queues), name="api_queues"),
    path("api/queues/<path:name>/", endpoint("djqueue.view_queue", post=acts.on_queue), name="api_queue"),
    path("api/workers/", endpoint("djqueue.view_worker", get=lists.workers), name="api_workers"),
    path("api/workers/<int:worker_id>/", endpoint("djqueue.view_worker", post=acts.on_worker), name="api_worker"),
    path("api/enqueue/", endpoint("djqueue.enqueue_task", post=acts.enqueue), name="api_enqueue"),
    path("api/schedules/", endpoint("djqueue.view_schedule", get=lists.schedules), name="api_schedules"),
    path("api/failures/", endpoint("djqueue.view_taskresult", get=lists.failures), name="api_failures"),
    path("api/statistics/", endpoint("djqueue.view_statistic", get=lists.statistics), name="api_statistics"),
]
