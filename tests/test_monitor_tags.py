"""The filter by tag: which tasks have a header or a stamp, how far that is looked for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from djqueue import chain
from djqueue.admin import filters, tags
from djqueue.models import Task
from djqueue.states import State

from .site.tasks import add
from .test_admin import body, new_task, page_of

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/djqueue/task/"
OPTIONS: dict[str, dict[str, Any]] = {
    "text": {"headers": {"tenant": "a"}},
    "number": {"headers": {"tenant": 7}},
    "digits": {"stamps": {"customer": "7"}},
    "several": {"stamps": {"customer": [7, 8]}},
    "yes": {"headers": {"urgent": True}},
    "deep": {"headers": {"tenant": {"customer": "7"}}},
    "elsewhere": {"eta": "tenant", "customer": 7},
}
"""Options of tasks, by the name of each."""


@pytest.fixture
def client(staff: Callable[..., Client]) -> Client:
    for name, options in OPTIONS.items():
        new_task(name=name, options=options)
    return staff("view_task", "view_taskresult")


def found(client: Client, tag: str, **others: str) -> set[str]:
    """Return the names of the tasks that the list has."""
    context = client.get(f"{LIST}?{urlencode({'tag': tag, **others})}").context
    return {task.name for task in context["cl"].result_list}


@pytest.mark.parametrize(
    ("tag", "names"),
    [
        ("tenant=a", {"text"}), ("tenant=7", {"number"}), (" tenant = a ", {"text"}), ("tenant=b", set()),
        ("customer=7", {"digits", "several"}), ("customer=8", {"several"}), ("customer=[7, 8]", set()),
        ("urgent=true", {"yes"}), ("urgent=True", set()), ("tenant", {"text", "number", "deep"}),
        ("customer", {"digits", "several"}), ("nothing", set()), ("tenant=", set()),
        ("", set(OPTIONS)),
    ],
)  # fmt: skip
def test_tasks_are_found_by_the_name_and_the_value_of_a_tag(client: Client, tag: str, names: set[str]) -> None:
    assert found(client, tag) == names


def test_it_goes_with_the_other_filters_and_the_search(client: Client) -> None:
    new_task(State.FAILED, name="broken", queue="mail", options={"stamps": {"customer": 7}})
    assert found(client, "customer=7") == {"digits", "several", "broken"}
    assert found(client, "customer=7", state="failed") == {"broken"}
    assert found(client, "customer=7", state="ready") == {"digits", "several"}
    assert found(client, "customer=7", state="ready", queue="default") == {"digits", "several"}
    assert found(client, "customer=7", queue="mail") == {"broken"}
    assert found(client, "customer=7", q="several") == {"several"}
    text = body(client, f"{LIST}?tag=customer%3D7&state=failed&q=several")
    form = text.split('class="djqueue-tag"')[1].split("</form>")[0]
    assert 'name="tag" value="customer=7"' in form
    assert '<input type="hidden" name="state" value="failed">' in form
    assert '<input type="hidden" name="q" value="several">' in form


def test_stamps_of_a_canvas_are_tags(client: Client) -> None:
    steps = chain(add.s(1, 2), add.s(3))
    steps.stamp(customer="acme")
    steps.apply_async()
    assert found(client, "customer=acme") == {add.name}
    assert found(client, "customer=acme", state="waiting") == {add.name}


@pytest.mark.parametrize(
    "tag",
    ["=7", "=", "a=\0", "a\0", 'a="\\u0000"', "a=\ud800"],
    ids=["=7", "=", "null", "null name", "escaped", "half"],
)
def test_what_makes_no_sense_is_refused(client: Client, tag: str) -> None:
    query = urlencode({"tag": tag}, errors="surrogatepass")
    response = client.get(f"{LIST}?{query}")
    if tag in ('a="\\u0000"', "a=\ud800"):  # which are texts
        assert response.status_code == 200
        assert list(response.context["cl"].result_list) == []
    else:
        assert response.status_code == 302


@pytest.mark.parametrize("term", ['{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[Infinity]"])
def test_no_search_reaches_the_database_with_what_it_cannot_hold(client: Client, term: str) -> None:
    response = client.get(LIST, {"q": term})
    assert list(response.context["cl"].result_list) == []
    assert "This is no JSON" in str(next(iter(response.context["messages"])))


def test_a_backslash_is_no_null_character(client: Client) -> None:
    new_task(name="path", kwargs={"path": "C:\\u0000"})
    found = client.get(LIST, {"q": json.dumps({"path": "C:\\u0000"})}).context["cl"].result_list
    assert [task.name for task in found] == ["path"]


def test_what_is_redacted_is_not_told(client: Client) -> None:
    new_task(name="secret", options={"headers": {"api_token": "x", "tenant": "z"}})
    assert found(client, "tenant=z") == {"secret"}
    for tag in ("api_token=x", "api_token", "api_token=y"):
        response = client.get(LIST, {"tag": tag})
        assert list(response.context["cl"].result_list) == []
        assert "hidden" in str(next(iter(response.context["messages"])))


def test_only_the_newest_are_looked_at_or_those_of_one_state(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "LOOKED_AT", 2)
    tagged = {"options": {"stamps": {"run": 1}}}
    new_task(State.FAILED, name="old", **tagged)
    for number in range(2):
        new_task(name=f"new{number}", **tagged)
    response = client.get(LIST, {"tag": "run=1"})
    assert {task.name for task in response.context["cl"].result_list} == {"new0", "new1"}
    assert "newest 2 tasks" in str(next(iter(response.context["messages"])))
    assert found(client, "run=1", state="failed") == {"old"}
    monkeypatch.setattr(filters, "LOOKED_AT", 1)
    response = client.get(LIST, {"tag": "run=1", "state": "ready", "queue": "default"})
    assert {task.name for task in response.context["cl"].result_list} == {"new1"}
    assert "newest 1 tasks that are ready" in str(next(iter(response.context["messages"])))


def test_a_tasks_page_leads_to_the_others_with_each_of_its_tags(client: Client) -> None:
    options = {
        "headers": {"tenant": "a", "a=b": 1, "token": "x", "parts": {"x": 1}},
        "stamps": {"customer": 7, "several": [1, 2]},
    }
    task = new_task(name="tagged", options=options)
    shown = body(client, page_of(task)).split('class="djqueue-headers"')[1].split("</ul>")[0]
    links = [part.split('"')[0].replace("&amp;", "&") for part in shown.split('href="')[1:]]
    assert len(links) == 4  # not the token, and not the list
    for link in links:
        assert "tagged" in {one.name for one in client.get(link).context["cl"].result_list}
    assert f"{LIST}?tag=customer%3D7" in links
    assert "several: [1, 2]" in shown
    assert "token: &quot;[redacted]&quot;" in shown


def test_the_api_filters_by_tag(client: Client) -> None:
    tasks = client.get("/djqueue/api/tasks/", {"tag": "customer=7"}).json()["tasks"]
    assert {task["name"] for task in tasks} == {"digits", "several"}
    assert client.get("/djqueue/api/tasks/", {"tag": "=7"}).status_code == 400
    assert Task.objects.count() == len(OPTIONS)
