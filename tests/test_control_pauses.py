"""Pausing queues, tasks by name, and tasks by key: at once, for others only, and with an end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from djqueue import control
from djqueue.exceptions import TaskExists
from djqueue.models import Pause, Queue, ReadyTask, RunningTask, ScheduledTask, Task
from djqueue.records import Claim
from djqueue.results import AsyncResult
from djqueue.states import ScheduleReason, State
from djqueue.store.claim import claim
from djqueue.store.pauses import bring_forward
from djqueue.store.pauses import put_off as put_off_claims
from djqueue.worker.pauses import Pauses

from .conftest import DEFAULT, Session
from .site.routing_tasks import invoice
from .site.tasks import add, noop
from .site.worker_tasks import notes
from .worker_process import Notes, WorkerProcess, Workers, all_finished, eventually, stored

WAYS: list[dict[str, str]] = [{"queue": "default"}, {"task": noop.name}, {"key": "customer:7"}]
IDS = ["queue", "task", "key"]


def enqueue(way: dict[str, str], number: int = 1) -> list[AsyncResult]:
    """Enqueue tasks that a pause of that kind is about."""
    results = [noop.apply_async() for _ in range(number)]
    if "key" in way:
        Task.objects.filter(id__in=[r.id for r in results]).update(options={"gate": f"key {way['key']}"})
    return results


def enqueue_parked(way: dict[str, str], number: int) -> list[AsyncResult]:
    """Enqueue them in one transaction, so that no worker meets one without its key."""
    with transaction.atomic():
        return enqueue(way, number)


def await_known(way: dict[str, str]) -> None:
    """Wait until the worker knows of a pause; what it claims before that runs."""
    ((kind, name),) = way.items()
    eventually(lambda: name in known_pauses(f"{kind}s"))


def known_pauses(kind: str) -> list[str]:
    """Return what the one worker process that answers knows to be paused."""
    ((_, stats),) = control.inspect("worker-*", timeout=20).stats().items()
    return stats["paused"][kind]


def put_off() -> int:
    return ScheduledTask.objects.filter(reason=ScheduleReason.PAUSED).count()


def pause_and_resume(way: dict[str, str]) -> None:
    """What is paused waits, what is not goes on, and so does the rest when it is resumed."""
    eventually(all_finished(enqueue_parked(way, 1)))

    assert control.pause(**way) == control.FOREVER
    await_known(way)
    paused = enqueue_parked(way, 50)
    other = add.apply_async((1, 2), queue="other")
    assert stored(other).state == State.SUCCEEDED
    if "queue" not in way:
        eventually(lambda: put_off() == 50)
    assert {result.state for result in paused} == {"PENDING"}

    assert control.resume(**way) is True
    eventually(all_finished(paused))
    assert {stored(result).attempt for result in paused} == {1}
    assert control.paused() == []
    assert control.resume(**way) is False


@pytest.fixture(scope="class")
def one(lasting_workers: Workers) -> WorkerProcess:
    return lasting_workers.run("-c", "1")


@pytest.fixture(scope="class")
def deaf(lasting_workers: Workers) -> WorkerProcess:
    return lasting_workers.run("-c", "1", LISTEN=False)


class TestListening:
    """With one worker for all."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, one: WorkerProcess) -> Iterator[None]:
        yield
        left = control.paused()
        for kind, name, _ in left:
            control.resume(**{kind: name})
        eventually(lambda: not any(model.objects.exists() for model in (ReadyTask, ScheduledTask, RunningTask)))
        assert left == []

    @pytest.mark.parametrize("way", WAYS, ids=IDS)
    def test_what_is_paused_waits_and_goes_on_when_it_is_resumed(self, way: dict[str, str]):
        pause_and_resume(way)

    def test_a_unique_key_is_paused_as_it_is_stored_and_stays_held(self):
        """The key of a unique task begins with the task's name."""
        way = {"key": f"{invoice.name}:invoice:7"}
        control.pause(**way)
        await_known(way)
        resting, other = invoice.delay(7), invoice.delay(8)
        assert stored(other).state == State.SUCCEEDED
        eventually(lambda: put_off() == 1)
        assert invoice.delay(7).id == resting.id
        with pytest.raises(TaskExists):
            invoice.apply_async((7,), unique_action="error")
        found = invoice.apply_async((7,), headers={"a": 1}, unique_action="replace")  # is put off again
        assert found.id == resting.id
        eventually(lambda: put_off() == 1)
        assert resting.state == "PENDING"

        assert control.resume(**way) is True
        assert stored(resting).attempt == 1
        assert Task.objects.get(pk=resting.id).options["headers"] == {"a": 1}
        again = invoice.delay(7)
        assert again.created
        eventually(all_finished([again]))

    @pytest.mark.parametrize("way", WAYS, ids=IDS)
    def test_a_pause_ends_by_itself(self, way: dict[str, str]):
        control.pause(**way, seconds=600)
        await_known(way)
        waiting = enqueue_parked(way, 5)
        eventually(all_finished([notes.apply_async(("/dev/null", "x"), queue="other")]))
        assert not any(result.ready() for result in waiting)
        # From here on nobody ends it but the clock.
        until = control.pause(**way, seconds=0.7)
        eventually(all_finished(waiting))
        assert all(stored(result).started_at >= until for result in waiting)
        assert control.paused() == []

    def test_what_runs_goes_on(self, file: Notes):
        running = notes.delay(file.path, "a", 1.0)
        file.await_lines(1)
        control.pause(task=notes.name)
        control.pause(queue="default")
        assert stored(running).state == State.SUCCEEDED
        control.resume(task=notes.name)
        control.resume(queue="default")

    def test_order_is_kept_over_a_pause(self, file: Notes):
        control.pause(task=notes.name)
        await_known({"task": notes.name})
        results = [notes.delay(file.path, place) for place in range(30)]
        eventually(lambda: put_off() == 30)
        control.resume(task=notes.name)
        eventually(all_finished(results))
        assert [int(text) for text in file.texts()] == list(range(30))

    def test_a_pause_that_is_made_shorter_brings_its_tasks_back_earlier(self):
        control.pause(task=noop.name)
        control.pause(task=add.name, seconds=3600)
        await_known({"task": add.name})
        waiting, other = noop.delay(), add.delay(1, 2)
        eventually(lambda: put_off() == 2)
        end = control.pause(task=noop.name, seconds=1)
        eventually(all_finished([waiting]))
        assert timezone.now() >= end
        assert other.state == "PENDING"
        assert put_off() == 1
        control.resume(task=add.name)
        eventually(all_finished([other]))

    def test_a_pause_that_is_made_longer_puts_its_tasks_off_again(self):
        control.pause(task=noop.name, seconds=4)
        await_known({"task": noop.name})
        waiting = noop.delay()
        eventually(lambda: put_off() == 1)
        end = control.pause(task=noop.name, seconds=3600)
        eventually(lambda: ScheduledTask.objects.filter(run_at=end).exists())
        assert waiting.state == "PENDING"
        control.resume(task=noop.name)
        eventually(all_finished([waiting]))

    def test_what_is_put_off_can_be_cancelled(self):
        control.pause(task=noop.name)
        await_known({"task": noop.name})
        waiting = noop.delay()
        eventually(lambda: put_off() == 1)
        assert control.revoke(waiting.id) == {waiting.id}
        control.resume(task=noop.name)
        assert waiting.state == "REVOKED"

    def test_a_pause_is_part_of_the_transaction(self):
        with transaction.atomic():
            control.pause(queue="default")
            control.pause(task=noop.name)
            transaction.set_rollback(True)
        assert control.paused() == []
        eventually(all_finished([noop.delay()]))


class TestPolling:
    """With one that does not hear wake-ups."""

    @pytest.mark.parametrize("way", WAYS[:2], ids=IDS[:2])
    def test_what_is_paused_waits_and_goes_on_when_it_is_resumed(self, deaf: WorkerProcess, way: dict[str, str]):
        pause_and_resume(way)


def test_a_worker_that_starts_meanwhile_knows(workers: Workers):
    control.pause(queue="default")
    control.pause(task=noop.name)
    waiting = [add.delay(1, 2), noop.apply_async(queue="other")]
    workers.run("-c", "1")
    eventually(all_finished([add.apply_async((1, 2), queue="other")]))
    assert [result.state for result in waiting] == ["PENDING", "PENDING"]
    control.resume(queue="default")
    control.resume(task=noop.name)
    eventually(all_finished(waiting))


def test_a_backlog_of_paused_tasks_holds_up_nobody(workers: Workers):
    """They leave the line in the order in which they stand there, once, and others follow."""
    control.pause(task=noop.name)
    paused = noop.delay_many(((), {}) for _ in range(1500))
    behind = [add.delay(1, place) for place in range(20)]
    workers.run("-c", "2")
    eventually(all_finished(behind))
    eventually(lambda: put_off() == 1500)
    assert not ReadyTask.objects.exists()
    assert not RunningTask.objects.exists()
    control.resume(task=noop.name)
    eventually(all_finished(paused))


def test_only_what_a_pause_has_put_off_is_brought_forward_and_in_steps(session: Session):
    eta = noop.apply_async(countdown=3600)
    freed = [noop.apply_async(countdown=3600) for _ in range(20)]
    paused, keyed = add.apply_async((1, 2), countdown=3600), enqueue({"key": "customer:7"})[0]
    ids = [result.id for result in (*freed, paused)]
    ScheduledTask.objects.filter(task_id__in=ids).update(reason=ScheduleReason.PAUSED)
    ReadyTask.objects.filter(task_id=keyed.id).delete()
    ScheduledTask.objects.create(task_id=keyed.id, run_at=control.FOREVER, reason=ScheduleReason.PAUSED)
    end = control.pause(task=add.name, seconds=60)
    key_end = control.pause(key="customer:7", seconds=90)

    steps, after = 1, session(bring_forward, None, 7)
    while after is not None:
        steps, after = steps + 1, session(bring_forward, after, 7)

    assert steps == 4
    assert ScheduledTask.objects.filter(run_at__lte=timezone.now()).count() == len(freed)
    assert ScheduledTask.objects.get(task_id=paused.id).run_at == end
    assert ScheduledTask.objects.get(task_id=keyed.id).run_at == key_end
    assert ScheduledTask.objects.get(task_id=eta.id).run_at > timezone.now() + timedelta(minutes=50)


def test_a_look_at_what_is_put_off_stands_in_the_way_of_no_cancellation(session: Session):
    resting = noop.apply_async(countdown=3600)
    ScheduledTask.objects.update(reason=ScheduleReason.PAUSED)
    control.pause(task=noop.name)
    session.sql("BEGIN")
    session(bring_forward, None, 7)
    assert control.revoke(resting.id) == {resting.id}
    session.sql("COMMIT")
    assert resting.state == "REVOKED"


def test_what_a_worker_puts_off_that_has_not_heard_of_the_end_comes_back_all_the_same(
    workers: Workers, session: Session
):
    """It was claimed while it was paused, and is put off after it was resumed."""
    control.pause(task=noop.name)
    waiting = noop.delay()
    other = session.new_worker()
    (held,) = session(claim, other, [DEFAULT], 1)
    workers.run("-c", "1")
    await_known({"task": noop.name})
    control.resume(task=noop.name)
    eventually(lambda: noop.name not in known_pauses("tasks"))
    session(put_off_claims, other, [(held.id, held.attempt, "9999-01-01 00:00:00+00")])
    eventually(all_finished([waiting]))


def test_what_ended_while_no_worker_was_there_is_brought_back_by_the_next(workers: Workers):
    results = [noop.apply_async(countdown=3600) for _ in range(3)]
    ScheduledTask.objects.update(reason=ScheduleReason.PAUSED)
    workers.run("-c", "1")
    eventually(all_finished(results))


@pytest.mark.django_db
def test_pauses_are_listed_until_they_end():
    soon = timezone.now() + timedelta(hours=1)
    control.pause(queue="mail", until=soon)
    control.pause(task="shop.tasks.report", until=soon.replace(tzinfo=None) + timezone.localtime(soon).utcoffset())
    control.pause(key="customer:7", seconds=timedelta(minutes=5))
    assert [(one.kind, one.name) for one in control.paused()] == [
        ("key", "customer:7"),
        ("queue", "mail"),
        ("task", "shop.tasks.report"),
    ]
    assert control.paused()[1].until == control.paused()[2].until == soon
    Pause.objects.update(until=timezone.now())
    Queue.objects.update(paused_until=timezone.now())
    assert control.paused() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of queue, task and key, got: none"),
        ({"queue": "a", "task": "b"}, "expected one of queue, task and key, got: queue, task"),
        ({"queue": "a b"}, "expected the name of a queue"),
        ({"task": " "}, "expected task to be a name, got: ' '"),
        ({"key": 7}, "expected key to be a name, got: 7"),
        ({"task": "a", "seconds": 1, "until": datetime.max}, "expected seconds or until, got both"),
        ({"task": "a", "seconds": 0}, "expected seconds to be above 0 and at most a hundred years, got: 0"),
        ({"task": "a", "seconds": float("nan")}, "expected seconds to be a number, got: nan"),
        ({"task": "a", "seconds": True}, "expected seconds to be a number, got: True"),
        ({"task": "a", "seconds": "5"}, "expected seconds to be a number, got: '5'"),
        ({"task": "a", "until": 5}, "expected until to be a datetime, got: 5"),
        ({"task": "a", "until": datetime(2020, 1, 1, tzinfo=UTC)}, "expected until to lie ahead, got: 2020-01-01"),
    ],
    ids=str,
)
def test_a_pause_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        control.pause(**arguments)
    assert control.paused() == []


def claim_of(options: str | None = None, name: str = "a") -> Claim:
    return Claim("id", 1, name, "[]", "{}", options, "default", 0, 0.0, 0.0)


def test_a_worker_knows_what_rests(session: Session):
    pauses = Pauses()
    assert not pauses.known
    assert session(pauses.read) is False
    assert (pauses.known, pauses.puts_off, pauses.queues()) == (True, False, set())
    control.pause(queue="mail", seconds=60)
    control.pause(task="a", seconds=60)
    until = control.pause(key="k", seconds=120)
    assert session(pauses.read) is True
    assert session(pauses.read) is False
    assert (pauses.puts_off, pauses.queues()) == (True, {"mail"})
    assert 50 < pauses.next_end() - time.monotonic() <= 60
    assert pauses.resting([claim_of(name="b"), claim_of('{"rate_key": "other"}', "b")]) == []
    (resting,) = pauses.resting([claim_of('{"rate_key": "k"}')])
    assert resting[:2] == ("id", 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", (resting[2],))
        assert cursor.fetchone()[0] == until  # the later end counts


def test_a_lease_that_was_lost_is_not_put_off(session: Session, worker: int):
    noop.delay()
    (held,) = session(claim, worker, [DEFAULT], 1)
    until = "2999-01-01 00:00:00+00"
    session(put_off_claims, worker + 1, [(held.id, held.attempt, until)])
    session(put_off_claims, worker, [(held.id, held.attempt + 1, until)])
    assert session.places() == {held.id: "running"}
    session(put_off_claims, worker, [(held.id, held.attempt, until)])
    assert session.places() == {held.id: "scheduled"}
    assert ScheduledTask.objects.get().attempt == 0


# In the admin


ADDING, LIST = "/admin/djqueue/pause/add/", "/admin/djqueue/pause/"


@pytest.mark.django_db
def test_in_the_admin_a_row_that_is_added_pauses_and_one_that_is_deleted_resumes(staff: Any):
    client = staff("view_pause", "add_pause", "delete_pause")
    entry = {"kind": "task", "name": "shop.tasks.report", "until_0": "", "until_1": ""}
    assert client.post(ADDING, entry).status_code == 302
    assert control.paused()[0][:2] == ("task", "shop.tasks.report")
    page = client.get(LIST).content.decode()
    assert "shop.tasks.report" in page
    assert "it is resumed" in page
    pk = Pause.objects.get().pk
    assert "it is resumed" in client.get(f"{LIST}{pk}/change/").content.decode()
    ScheduledTask.objects.all().delete()
    assert client.post(f"{LIST}{pk}/delete/", {"post": "yes"}).status_code == 302
    assert control.paused() == []

    client.post(ADDING, {**entry, "kind": "key", "until_0": "2999-01-01", "until_1": "12:00"})
    client.post(ADDING, entry)
    assert [one.kind for one in control.paused()] == ["key", "task"]
    ids = list(Pause.objects.values_list("pk", flat=True))
    client.post(LIST, {"action": "delete_selected", "_selected_action": ids, "post": "yes"})
    assert control.paused() == []


@pytest.mark.django_db
def test_in_the_admin_a_pause_must_make_sense_and_be_permitted(staff: Any):
    client = staff("view_pause", "add_pause")
    entry = {"kind": "task", "name": "a", "until_0": "2020-01-01", "until_1": "12:00"}
    assert "This time has passed." in client.post(ADDING, entry).content.decode()
    assert client.post(ADDING, {**entry, "kind": "lemon"}).status_code == 200
    control.pause(task="a")
    assert client.post(ADDING, {**entry, "until_0": "2999-01-01"}).status_code == 200  # there is one
    assert client.post(f"{LIST}{Pause.objects.get().pk}/delete/", {"post": "yes"}).status_code == 403
    viewer = staff("view_pause")
    assert viewer.get(LIST).status_code == 200
    assert viewer.post(ADDING, entry).status_code == 403
    assert staff().get(LIST).status_code == 403
    assert control.paused()[0].until == control.FOREVER
