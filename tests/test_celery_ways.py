"""Tasks as Celery has them: retries, hooks, signals, context, cancellation, expiry, eager mode; on a real worker."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from djqueue import AsyncResult, EagerResult, send_task, signals
from djqueue.calls import check_expires
from djqueue.decorator import define
from djqueue.exceptions import MaxRetriesExceededError, Reject, Retry, TaskRevokedError
from djqueue.models import CancelledTask, ScheduledTask, Task, TaskAttempt
from djqueue.states import Ending, State

from .site import celery_tasks as site
from .site.tasks import add, noop
from .worker_process import Kept, Notes, WorkerProcess, Workers, eventually, stored


@pytest.fixture
def worker(kept: Kept) -> WorkerProcess:
    return kept("-c", "1")


class TestRetries:
    def test_a_task_is_retried_as_often_as_it_may_be_and_then_fails_with_its_error(self, worker, file: Notes):
        result = site.always_retries.delay(file.path)
        with pytest.raises(site.Sour, match="still sour"):
            result.get(timeout=30)
        assert file.texts() == ["0", "1", "2"]
        outcomes = TaskAttempt.objects.filter(task_id=result.id).order_by("attempt").values_list("outcome", flat=True)
        assert list(outcomes) == [Ending.RETRIED, Ending.RETRIED, Ending.FAILED]
        assert (result.state, result.retries, stored(result).attempt) == ("FAILURE", 2, 3)

    def test_a_retry_may_change_the_arguments(self, worker):
        assert site.retries_with_less.delay(5).get(timeout=30) == 3
        assert Task.objects.get().args == [0]

    def test_errors_are_retried_by_themselves_with_backoff(self, worker, file: Notes):
        assert site.retried_by_itself.delay(file.path).get(timeout=30) == 2
        assert file.texts() == ["0", "1", "2"]

    def test_excluded_errors_are_not(self, worker, file: Notes):
        with pytest.raises(UnicodeError):
            site.retried_by_itself.delay(file.path, kind="unicode").get(timeout=30)
        assert file.texts() == ["0"]

    def test_a_base_class_can_retry_its_tasks_from_on_failure(self, worker, file: Notes):
        assert site.patient.delay(file.path, 3).get(timeout=30) == 3
        # One retry is automatic, the others come from on_failure.
        assert [" ".join(line) for line in file.lines()] == [
            "run 0",
            "run 1",
            "failure KeyError 1",
            "run 2",
            "failure KeyError 2",
            "run 3",
        ]

    def test_and_ends_when_no_retry_is_left(self, worker, file: Notes):
        with pytest.raises(KeyError):
            site.patient.delay(file.path, 99).get(timeout=30)
        assert file.texts().count("run") == 5

    def test_a_task_that_waits_for_a_retry_says_so(self, worker):
        result = site.retries_in_an_hour.delay()
        eventually(lambda: result.state == "RETRY")
        assert isinstance(result.result, site.Sour)
        wait = ScheduledTask.objects.get().run_at - timezone.now()
        assert timedelta(minutes=59) < wait <= timedelta(hours=1)
        assert result.revoke() is True
        assert result.state == "REVOKED"

    def test_outside_a_task_retry_raises_the_error(self):
        with pytest.raises(site.Sour):
            site.always_retries.retry(exc=site.Sour())
        with pytest.raises(Retry):
            site.always_retries.retry()


class TestHooks:
    def test_they_come_in_order_and_an_error_in_on_success_changes_nothing(self, worker, file: Notes):
        result = site.hooked.delay(file.path)
        assert result.get(timeout=30) == "fine"
        assert [line[0] for line in file.await_lines(6)] == [
            "task_prerun",
            "before_start",
            "run",
            "on_success",
            "after_return",
            "task_postrun",
        ]
        assert ["before_start", result.id] in file.lines()

    def test_of_a_failure(self, worker, file: Notes):
        with pytest.raises(site.Sour):
            site.hooked.delay(file.path, fail=True).get(timeout=30)
        assert ["on_failure", "Sour('hooked')", "True"] in file.lines()
        assert ["after_return", "FAILURE"] in file.lines()
        assert ["task_postrun", "FAILURE"] in file.lines()

    def test_a_class_has_one_instance_in_each_process(self, worker):
        assert [site.counter.delay(2).get(timeout=30) for _ in range(3)] == [2, 4, 6]
        assert site.counter.calls == 0


class TestContext:
    def test_what_a_call_says_is_in_the_request(self, worker):
        told = site.tells_its_request.apply_async(
            headers={"trace": "abc"}, shadow="shown", MessageGroupId="g", stamped_headers=["order"], order=7
        )
        assert told.get(timeout=30) == {
            "id": told.id,
            "root_id": told.id,
            "parent_id": None,
            "headers": {"trace": "abc"},
            "shadow": "shown",
            "properties": {"MessageGroupId": "g"},
            "stamps": {"order": 7},
            "expires": None,
            "retries": 0,
        }

    def test_a_task_is_the_parent_of_what_it_enqueues(self, worker):
        parent_id, child_id, is_child = site.has_a_child.delay().get(timeout=30)
        assert is_child == "True"
        told = AsyncResult(child_id).get(timeout=30)
        assert (told["parent_id"], told["root_id"]) == (parent_id, parent_id)

    def test_progress_can_be_read_while_the_task_runs(self, worker, file: Notes, tmp_path: Path):
        result = site.shows_progress.delay(file.path, str(tmp_path / "go on"))
        eventually(lambda: result.state == "PROGRESS")
        assert result.info == {"done": 3, "of": 10}
        (tmp_path / "go on").touch()
        assert result.get(timeout=30) == "tests.site.celery_tasks.shows_progress"
        assert result.state == "SUCCESS"

    def test_a_state_that_ends_a_task_is_refused(self):
        with pytest.raises(ValueError, match="which ends a task"):
            noop.update_state(task_id=str(uuid.uuid4()), state="SUCCESS")

    def test_ignore_leaves_nothing_reject_is_a_failure_and_requeue_runs_again(self, worker, file: Notes):
        ignored = site.ignores_itself.delay()
        with pytest.raises(Reject):
            site.rejects_itself.delay().get(timeout=30)
        again = site.rejects_first.apply_async(headers={"path": file.path})
        assert again.get(timeout=30) is True
        assert (ignored.state, Task.objects.filter(id=ignored.id).exists()) == ("PENDING", False)

    def test_a_task_that_put_itself_back_can_see_it(self, worker):
        result = site.rejects_until_redelivered.delay()
        assert result.get(timeout=30) == [0, 2]
        assert (stored(result).attempt, TaskAttempt.objects.filter(task_id=result.id).count()) == (2, 0)

    def test_a_task_is_sent_by_name(self, worker):
        assert send_task("tests.site.tasks.add", (1,), {"y": 2}).get(timeout=30) == 3


class TestCancellation:
    @pytest.mark.parametrize("options", [{}, {"countdown": 3600}, {"priority": 9, "queue": "mail"}])
    def test_a_waiting_task_is_cancelled_at_once(self, transactional_db, options):
        others = [noop.delay(), noop.apply_async(countdown=3600)]
        result = noop.apply_async(**options)
        assert result.revoke() is True
        assert (result.state, result.ready()) == ("REVOKED", True)
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=1)
        assert [other.state for other in others] == ["PENDING", "PENDING"]
        assert not CancelledTask.objects.exists()

    def test_a_finished_task_stays_as_it_is(self, worker):
        result = add.delay(1, 2)
        result.get(timeout=30)
        assert result.revoke() is False
        assert (result.state, CancelledTask.objects.count()) == ("SUCCESS", 0)

    def test_a_cancellation_of_an_id_not_seen_yet_is_remembered(self, workers: Workers):
        task_id = str(uuid.uuid4())
        assert AsyncResult(task_id).revoke() is False
        result = noop.apply_async(task_id=task_id)
        workers.run("-c", "1")
        with pytest.raises(TaskRevokedError):
            result.get(timeout=30)
        assert stored(result).state == State.CANCELLED


class TestExpiry:
    def test_a_task_that_waited_too_long_does_not_run(self, transactional_db, workers: Workers):
        late = noop.apply_async(expires=0.05)
        in_time = noop.apply_async(expires=3600)
        Task.objects.filter(id=late.id).update(expires_at=timezone.now() - timedelta(seconds=1))
        workers.run("-c", "1")
        with pytest.raises(TaskRevokedError, match="expired"):
            late.get(timeout=30)
        assert in_time.get(timeout=30) is None

    @pytest.mark.parametrize("expires", ["soon", True, float("nan"), [1]])
    def test_a_bad_expiry_is_refused(self, db, expires):
        with pytest.raises(ValueError, match="expected expires to be"):
            check_expires(expires)
        with pytest.raises(ValueError, match="expected expires to be"):
            noop.apply_async(expires=expires)
        assert not Task.objects.exists()


class TestEagerMode:
    def test_apply_runs_in_place_without_a_database(self):
        result = add.apply((1, 2))
        assert isinstance(result, EagerResult)
        assert (result.get(), result.state, result.successful()) == (3, "SUCCESS", True)

    def test_errors_are_kept_or_thrown(self):
        failed = site.rejects_itself.apply()
        assert (failed.state, type(failed.result)) == ("FAILURE", Reject)
        with pytest.raises(Reject):
            failed.get()
        with pytest.raises(Reject):
            site.rejects_itself.apply(throw=True)

    def test_retries_follow_at_once(self, file: Notes):
        result = site.always_retries.apply((file.path,))
        assert (result.state, type(result.result), file.texts()) == ("FAILURE", site.Sour, ["0", "1", "2"])

    def test_a_setting_makes_every_call_eager(self, settings):
        settings.DJQUEUE = {"ALWAYS_EAGER": True}
        assert add.delay(2, 3).get() == 5
        told = site.tells_its_request.apply_async(headers={"a": 1}).get()
        assert told["headers"] == {"a": 1}

    def test_without_an_error_to_blame_the_limit_has_its_own(self):
        ends = define(lambda self: self.retry(), name="ends", bind=True, max_retries=0)
        assert isinstance(ends.apply().result, MaxRetriesExceededError)


class TestSignals:
    def test_receivers_are_held_weakly_and_called_once(self):
        signal = signals.Signal("test", ())
        heard = []

        class Ear:
            def hear(self, sender: object, **named: object) -> None:
                heard.append((sender, named["x"]))

        ear = Ear()
        signal.connect(ear.hear)
        signal.connect(ear.hear)
        signal.send("me", x=1)
        del ear
        signal.send("me", x=2)
        assert heard == [("me", 1)]

    def test_what_a_receiver_raises_is_logged_and_stops_nobody(self, caplog):
        signal = signals.Signal("test", ())
        heard = []

        @signal.connect(sender="me")
        def breaks(**named: object) -> None:
            raise RuntimeError("broken")

        def hears(sender: object, **named: object) -> None:
            heard.append(sender)

        signal.connect(hears)
        signal.send("me")
        signal.send("you")
        assert heard == ["me", "you"]
        assert caplog.text.count("RuntimeError: broken") == 1
        assert signal.disconnect(breaks, sender="me")
        assert not signal.disconnect(breaks, sender="me")

    def test_publishing_is_announced(self, db):
        seen = []

        @signals.before_task_publish.connect(sender="tests.site.tasks.add")
        def before(headers: dict, body: tuple, **named: object) -> None:
            seen.append((headers["id"], body[0]))

        try:
            result = add.delay(1, 2)
            noop.delay()
        finally:
            signals.before_task_publish.disconnect(before, sender="tests.site.tasks.add")
        assert seen == [(result.id, (1, 2))]
