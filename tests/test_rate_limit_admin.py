"""The admin of rate limits: who may do what, what it shows and refuses, and that a change acts on what is parked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from djqueue.models import ParkedTask, RateGate, RateLimit, Task
from djqueue.rates import set_rate_limit

from .site.cluster_limits import once_an_hour, one_at_a_time

pytestmark = pytest.mark.django_db

LIST = "/admin/djqueue/ratelimit/"
FORM = {"kind": "1", "name": once_an_hour.name, "rate": "10/m", "strict": ""}


@pytest.fixture
def editor(staff: Callable[..., Client]) -> Client:
    return staff("view_ratelimit", "add_ratelimit", "change_ratelimit", "delete_ratelimit", "view_task")


@pytest.fixture
def limit() -> RateLimit:
    set_rate_limit(once_an_hour.name, "1/h")
    return RateLimit.objects.get()


def park(limit: RateLimit, number: int = 1) -> None:
    gate = f"task {limit.name}\x1f"
    for _ in range(number):
        ParkedTask.objects.create(gate=gate, rank=0, task=Task.objects.create(name=limit.name, queue="default"))
    RateGate.objects.create(
        gate=gate, kind=1, name=limit.name, free_at="2100-01-01T00:00Z", wakes_at="2100-01-01T00:00Z"
    )


def test_only_those_with_permission_see_and_change_limits(staff, limit):
    page = f"{LIST}{limit.pk}/change/"
    assert staff().get(LIST).status_code == 403
    viewer = staff("view_ratelimit")
    assert viewer.get(LIST).status_code == 200
    assert viewer.post(page, FORM).status_code == 403
    assert viewer.get(f"{LIST}add/").status_code == 403
    assert RateLimit.objects.get().rate == "1/h"


def test_a_limit_is_made_and_shown_in_the_largest_unit_that_fits(editor):
    assert editor.post(f"{LIST}add/", FORM).status_code == 302
    limit = RateLimit.objects.get()
    assert (limit.kind, limit.name, limit.rate, limit.per_second) == (1, once_an_hour.name, "10/m", 10 / 60)
    assert "10 per min" in editor.get(LIST).content.decode()
    assert "0 tasks" in editor.get(LIST).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_change_acts_on_what_is_parked(editor, limit):
    park(limit, 3)
    assert "3 tasks" in editor.get(LIST).content.decode()
    assert editor.post(f"{LIST}{limit.pk}/change/", {"rate": "5/s", "strict": "on"}).status_code == 302
    limit.refresh_from_db()
    assert (limit.rate, limit.per_second, limit.strict) == ("5/s", 5, True)
    assert RateGate.objects.get().wakes_at.year < 2100


def test_an_empty_rate_gives_way_to_what_is_declared(editor, limit):
    RateLimit.objects.update(declared="2/s")
    editor.post(f"{LIST}{limit.pk}/change/", {"rate": ""})
    limit.refresh_from_db()
    assert (limit.rate, limit.per_second) == ("", 2)


@pytest.mark.django_db(transaction=True)
def test_a_deleted_limit_lets_go_what_it_held_back(editor, limit):
    park(limit)
    assert editor.post(f"{LIST}{limit.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not RateLimit.objects.exists()
    assert RateGate.objects.get().wakes_at.year < 2100


def test_a_declared_limit_cannot_be_deleted(editor, limit):
    RateLimit.objects.update(declared="2/s")
    assert editor.post(f"{LIST}{limit.pk}/delete/", {"post": "yes"}).status_code == 403
    editor.post(LIST, {"action": "delete_selected", "_selected_action": [limit.pk], "post": "yes"})
    assert RateLimit.objects.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "fast"}, "expected a rate limit to be a number of tasks a second"),
        ({"name": ""}, "This field is required"),
        ({"kind": "2", "name": "no queue!"}, "expected the name of a queue to be"),
    ],
)
def test_what_makes_no_sense_is_refused(editor, change, message):
    response = editor.post(f"{LIST}add/", {**FORM, **change})
    assert message in response.content.decode()
    assert not RateLimit.objects.exists()


def test_a_second_limit_for_one_name_is_refused(editor, limit):
    assert "already exists" in editor.post(f"{LIST}add/", FORM).content.decode()


def test_a_task_says_what_holds_it_back(editor):
    task_id = one_at_a_time.delay(7).id
    ParkedTask.objects.create(gate="key account:7", rank=0, task_id=task_id)
    page = editor.get(f"/admin/djqueue/task/{task_id}/change/").content.decode()
    assert "held back by key account:7 since" in page
