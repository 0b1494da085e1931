"""Options of definitions and arguments of calls that no other test is about."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from djqueue import AsyncResult, TaskDefinition, current_task, group
from djqueue.backoff import backoff
from djqueue.context import Request, running
from djqueue.decorator import define
from djqueue.exceptions import Retry
from djqueue.models import Task
from djqueue.retrying import autoretry

from .site.celery_tasks import expects_errors
from .site.tasks import noop
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, stored


def defined(**options: Any) -> TaskDefinition:
    return define(lambda: None, name=f"tests.{uuid.uuid4().hex}", **options)


def running_here(definition: TaskDefinition, **values: Any) -> Any:
    given = {"id": str(uuid.uuid4()), "args": (), "kwargs": {}, "retries": 0, "called_directly": False}
    return running(definition, Request(**{**given, **values}))


def test_a_retry_that_names_no_pause_takes_the_definitions():
    task = defined(default_retry_delay=7)
    with running_here(task), pytest.raises(Retry) as caught:
        task.retry()
    assert caught.value.when == 7


def test_automatic_retries_take_the_definitions_arguments():
    task = defined(autoretry_for=(ValueError,), retry_kwargs={"countdown": 3, "max_retries": 1})
    with running_here(task), pytest.raises(Retry) as caught:
        autoretry(task, task.request, ValueError("sour"))
    assert caught.value.when == 3
    with running_here(task, retries=1), pytest.raises(ValueError, match="sour"):
        autoretry(task, task.request, ValueError("sour"))


def test_pauses_double_up_to_their_limit():
    def pauses(**options: Any) -> list[float]:
        task = defined(autoretry_for=(ValueError,), max_retries=None, **options)
        found = []
        for retries in range(6):
            with running_here(task, retries=retries), pytest.raises(Retry) as caught:
                autoretry(task, task.request, ValueError("sour"))
            found.append(caught.value.when)
        return found

    assert pauses(retry_backoff=True, retry_backoff_max=10, retry_jitter=False) == [1, 2, 4, 8, 10, 10]
    assert pauses(retry_backoff=3, retry_jitter=False) == [3, 6, 12, 24, 48, 96]
    for pause, longest in zip(pauses(retry_backoff=3), [3, 6, 12, 24, 48, 96], strict=True):
        assert 0 <= pause <= longest
    drawn = [backoff(1, 4, 600, jitter=True) for _ in range(300)]
    assert min(drawn) < 4 < 12 < max(drawn) <= 16


def test_expected_errors_have_no_traceback(workers: Workers):
    worker = workers.run("-c", "1")
    expected, other = expects_errors.delay("KeyError"), expects_errors.delay("ValueError")
    assert not stored(expected).error.get("traceback")
    assert "expects_errors" in stored(other).error["traceback"]
    assert worker.log.count("Traceback") <= 1


def test_started_is_known_whatever_track_started_says(workers: Workers, file: Notes):
    task = defined(track_started=False)
    assert task.track_started is False
    workers.run("-c", "1")
    result = notes.delay(file.path, "begun", 600)
    file.await_lines(1)
    assert result.state == "STARTED"
    result.revoke(terminate=True)


def test_children_are_listed_unless_trail_is_off(db):
    parent = defined()
    with running_here(parent):
        child = noop.delay()
        noop.apply_async(add_to_parent=False)
        assert current_task.request.children == [child]
        assert Task.objects.filter(parent_id=current_task.request.id).count() == 2
        assert AsyncResult(current_task.request.id).children == [child]
    with running_here(defined(trail=False)):
        noop.delay()
        group(noop.s(), noop.s()).apply_async()
        noop.delay_many([((), {})])
        assert current_task.request.children == []
        assert Task.objects.filter(parent_id=current_task.request.id).count() == 4
        assert AsyncResult(current_task.request.id).children == []


def test_an_option_that_changes_nothing_is_checked_all_the_same():
    assert defined(resultrepr_maxsize=10).resultrepr_maxsize == 10
    with pytest.raises(ValueError, match="to be a number of characters, got: 'x'"):
        defined(resultrepr_maxsize="x")
    with pytest.raises(TypeError, match="to be True or False, got: 'yes'"):
        defined(track_started="yes")


def test_what_is_shown_in_place_of_arguments_is_kept(db):
    result = noop.apply_async(argsrepr="(secret)", kwargsrepr="{…}")
    assert Task.objects.get(id=result.id).options == {"argsrepr": "(secret)", "kwargsrepr": "{…}"}


def test_a_call_may_name_its_parent_and_root(db):
    parent, root = (str(uuid.uuid4()) for _ in range(2))
    task = Task.objects.get(id=noop.apply_async(parent_id=parent, root_id=root).id)
    assert (str(task.parent_id), str(task.root_id)) == (parent, root)
