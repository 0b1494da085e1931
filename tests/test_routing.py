"""Routing: which queue, or queues, a call goes to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import override_settings
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from djqueue import chain, shared_task
from djqueue.checks import check_routes
from djqueue.conf import problems
from djqueue.decorator import define
from djqueue.destinations import STALE, forget_exchanges
from djqueue.drafts import prepare_by_name
from djqueue.enqueue import send_task
from djqueue.exceptions import Unroutable
from djqueue.models import Binding, Exchange, Task
from djqueue.results import FanoutResult
from djqueue.routing.routes import Routes
from djqueue.routing.topics import topic_matches

from .site.routing_tasks import tells_its_route
from .site.tasks import add, noop, send_mail
from .worker_process import Workers, stored


def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **others: Any) -> Any:
    """Send even first arguments to one queue, leave the others alone."""
    if args and isinstance(args[0], int) and args[0] % 2 == 0:
        return {"queue": "even", "priority": 7}
    return None


class ClassicRouter:
    """As Celery's older routers."""

    def route_for_task(self, name: str, *args: Any, **kwargs: Any) -> str | None:
        return "classic" if name.endswith(".noop") else None


def queue_of(result: Any) -> str:
    return Task.objects.get(pk=result.id).queue


def found(routes: Any, name: str, *args: Any, **options: Any) -> Any:
    return Routes(routes).find(name, args, {}, options, None)


class TestForms:
    """Each of Celery's forms of ``task_routes``."""

    @pytest.mark.parametrize(
        "routes",
        [
            {"feeds.fetch": "feeds"},
            {"feeds.*": {"queue": "feeds"}},
            {re.compile(r"feeds\.(fetch|parse)"): {"queue": "feeds"}},
            [("feeds.*", "feeds")],
            ([("feeds.*", "feeds")],),
            (("feeds.*", "feeds"), ("*", "others")),
            [{"mail.*": "mail"}, {"feeds.*": "feeds"}],
            [lambda name, args, kwargs, options, task=None, **kw: None, {"*.fetch": "feeds"}],
            lambda name, *args, **kwargs: "feeds" if name.startswith("feeds.") else None,
        ],
        ids=[
            "a name",
            "a glob",
            "a regular expression",
            "pairs",
            "pairs in a tuple",
            "a tuple of pairs",
            "routers",
            "a function and a dict",
            "a function",
        ],
    )
    def test_it_finds_the_queue(self, routes):
        assert found(routes, "feeds.fetch") == {"queue": "feeds"}

    def test_the_first_of_ordered_pairs_wins(self):
        assert found([("a.*", "first"), ("a.b*", "second")], "a.bc") == {"queue": "first"}
        assert found([("a.b*", "second"), ("a.*", "first")], "a.bc") == {"queue": "second"}

    def test_the_name_itself_wins_over_patterns_as_in_celery(self):
        assert found({"a.*": "pattern", "a.b": "name"}, "a.b") == {"queue": "name"}

    def test_the_first_router_that_has_a_route_wins(self):
        assert found([{"a.b": "first"}, {"a.*": "second"}], "a.b") == {"queue": "first"}
        assert found([{"a.b": "first"}, {"a.*": "second"}], "a.c") == {"queue": "second"}

    def test_a_function_is_told_what_celery_tells_it(self):
        told: list[Any] = []

        def router(name, args, kwargs, options, task=None, **others):
            told.append((name, args, kwargs, options, task))

        Routes(router).find("n", (1,), {"a": 2}, {"priority": 3}, noop)
        assert told == [("n", (1,), {"a": 2}, {"priority": 3}, noop)]

    @pytest.mark.parametrize(("path", "queue"), [("route", "even"), ("ClassicRouter", "classic")])
    def test_a_dotted_path_is_followed(self, path, queue):
        assert found(f"tests.test_routing.{path}", "x.noop", 2)["queue"] == queue

    @pytest.mark.parametrize(
        ("routes", "message"),
        [
            ({"a": 3}, "expected a route to be the name of a queue or a dict of options, got: 3"),
            ({"a": {"queue": "a b"}}, "got: 'a b'"),
            ({"a": {"quue": "x"}}, "got: 'quue'"),
            ({"a": {"priority": 1000}}, "got: 1000"),
            ({3: "a"}, "expected the name of a task, a glob or a compiled pattern, got: 3"),
            ([3], "expected a router to be"),
            (3, "expected routes to be a dict"),
            ("router", "expected the dotted path of a router function, got: 'router'"),
        ],
    )
    def test_what_cannot_be_a_route_is_named(self, routes, message):
        (problem,) = problems({"ROUTES": routes})
        assert message in problem[0]

    def test_a_function_that_returns_no_route_is_an_error_at_the_call(self, db):
        with override_settings(DJQUEUE={"ROUTES": lambda *args, **kwargs: 3}), pytest.raises(TypeError, match="got: 3"):
            noop.delay()

    def test_a_router_that_cannot_be_imported_is_a_system_check(self):
        with override_settings(DJQUEUE={"ROUTES": ["tests.test_routing.nothing"]}):
            assert [error.id for error in check_routes(None)] == ["djqueue.E006"]


class TestPrecedence:
    """The call wins over the definition, that over routes, those over the default queue."""

    ROUTES = {noop.name: {"queue": "routed", "priority": 4}, send_mail.name: {"queue": "routed", "priority": 4}}

    @pytest.fixture(autouse=True)
    def _routes(self, db):
        with override_settings(DJQUEUE={"ROUTES": self.ROUTES}):
            yield

    def test_a_route_wins_over_the_default(self):
        task = Task.objects.get(pk=noop.delay().id)
        assert (task.queue, task.priority) == ("routed", 4)
        assert queue_of(add.delay(1, 2)) == "default"

    def test_the_definition_wins_over_a_route(self):
        task = Task.objects.get(pk=send_mail.delay("a").id)
        assert (task.queue, task.priority) == ("mail", 5)

    def test_the_call_wins_over_all(self):
        assert queue_of(send_mail.apply_async(("a",), queue="mine")) == "mine"
        assert queue_of(noop.apply_async(queue="mine")) == "mine"

    def test_a_priority_of_0_is_an_answer_too(self):
        definition = define(lambda: None, name=noop.name, priority=0)
        assert Task.objects.get(pk=definition.delay().id).priority == 0

    def test_calls_by_name_bulk_schedules_and_steps_take_routes(self, django_user_model):
        from django.utils import timezone

        assert queue_of(send_task(noop.name)) == "routed"
        assert {queue_of(result) for result in noop.delay_many([((), {})] * 3)} == {"routed"}
        assert prepare_by_name(noop.name, (), {}, {}, timezone.now()).queue == "routed"
        assert queue_of(chain(noop.si(), noop.si()).delay()) == "routed"

    def test_other_options_come_from_a_route_too(self):
        with override_settings(DJQUEUE={"ROUTES": {noop.name: {"time_limit": 9, "headers": {"a": 1}}}}):
            assert Task.objects.get(pk=noop.delay().id).options == {"time_limit": 9.0, "headers": {"a": 1}}

    def test_a_function_sees_the_arguments_of_each_call_also_in_bulk(self):
        with override_settings(DJQUEUE={"ROUTES": route}):
            results = noop.delay_many([((1,), {}), ((2,), {})])
            assert [queue_of(result) for result in results] == ["default", "even"]
            assert Task.objects.get(pk=noop.delay(4).id).priority == 7

    def test_an_expiry_that_a_route_gives_is_not_lost_in_plain_and_bulk_calls(self):
        with override_settings(DJQUEUE={"ROUTES": {noop.name: {"expires": 60}}}):
            noop.delay()
            noop.delay_many([((), {})])
        assert Task.objects.filter(expires_at__isnull=False).count() == 2

    def test_a_plain_call_with_routes_is_still_one_statement(self, django_assert_num_queries):
        noop.delay()
        with django_assert_num_queries(1):
            noop.delay()


@pytest.fixture
def orders(db) -> Exchange:
    forget_exchanges()
    exchange = Exchange.objects.create(name="orders", kind="topic")
    for key, queue in [("orders.*.paid", "billing"), ("orders.#", "audit"), ("orders.eu.*", "eu")]:
        Binding.objects.create(exchange=exchange, routing_key=key, queue=queue)
    return exchange


class TestExchanges:
    def test_a_topic_reaches_each_queue_once(self, orders):
        result = add.apply_async((1, 2), exchange="orders", routing_key="orders.eu.paid")
        assert isinstance(result, FanoutResult)
        assert [queue_of(copy) for copy in result.copies] == ["audit", "billing", "eu"]
        assert result.id == result.copies[0].id
        assert Task.objects.count() == 3

    def test_one_queue_gives_a_plain_result(self, orders):
        result = add.apply_async((1, 2), exchange="orders", routing_key="orders.us.sent")
        assert queue_of(result) == "audit"
        assert not isinstance(result, FanoutResult)

    def test_direct_and_fanout(self, db):
        forget_exchanges()
        direct = Exchange.objects.create(name="direct")
        fanout = Exchange.objects.create(name="fanout", kind="fanout")
        for exchange, key, queue in [(direct, "a", "x"), (direct, "a*", "y"), (fanout, "", "x"), (fanout, "", "z")]:
            Binding.objects.create(exchange=exchange, routing_key=key, queue=queue)
        assert queue_of(noop.apply_async(exchange="direct", routing_key="a")) == "x"
        result = noop.apply_async(exchange="fanout", routing_key="whatever")
        assert [queue_of(copy) for copy in result.copies] == ["x", "z"]

    def test_a_definition_and_a_route_may_name_an_exchange(self, orders):
        definition = define(lambda: None, name="t.exchanged", exchange="orders", routing_key="orders.us.sent")
        assert queue_of(definition.delay()) == "audit"
        assert queue_of(definition.apply_async(routing_key="orders")) == "audit"
        assert queue_of(definition.apply_async(queue="mine")) == "mine"
        with override_settings(DJQUEUE={"ROUTES": {noop.name: {"exchange": "orders", "routing_key": "orders.eu.x"}}}):
            copies = [queue_of(copy) for copy in noop.delay().copies]
            (bulk,) = noop.delay_many([((), {})])
        assert copies == [queue_of(copy) for copy in bulk.copies] == ["audit", "eu"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"exchange": "ordres"}, r"expected exchange to name one that exists \(orders\), got: 'ordres'"),
            ({"exchange": "orders", "routing_key": "x"}, "has no binding that takes the routing key 'x'"),
            ({"exchange": "orders", "queue": "a"}, "expected queue or exchange, got both: 'a' and 'orders'"),
            ({"exchange": "orders", "routing_key": 3}, "expected routing_key to be a string"),
            ({"exchange": 3}, "expected exchange to be the name of an exchange, got: 3"),
        ],
    )
    def test_what_reaches_no_queue_is_an_error_and_stores_nothing(self, orders, options, message):
        with pytest.raises(ValueError, match=message):
            add.apply_async((1, 2), **options)
        assert not Task.objects.exists()

    def test_no_binding_is_an_error_of_its_own_kind(self, orders):
        with pytest.raises(Unroutable):
            add.apply_async((1, 2), exchange="orders", routing_key="x")

    def test_a_routing_key_alone_names_a_queue_as_with_the_default_exchange(self, db):
        assert queue_of(noop.apply_async(routing_key="videos")) == "videos"
        assert queue_of(noop.apply_async(exchange="", routing_key="videos")) == "videos"

    def test_a_routing_key_beside_a_queue_is_only_told(self, workers: Workers, transactional_db):
        result = tells_its_route.apply_async(queue="feeds", routing_key="feed.import")
        assert queue_of(result) == "feeds"
        workers.run("-c", "1")
        assert stored(result).value["routing_key"] == "feed.import"

    def test_a_step_of_a_workflow_reaches_one_queue_only(self, orders):
        step = add.si(1, 2).set(exchange="orders", routing_key="orders.eu.paid")
        with pytest.raises(ValueError, match=r"expected .*add to reach one queue"):
            chain(step, noop.si()).delay()
        assert not Task.objects.exists()

    def test_a_given_id_is_that_of_the_first_copy_and_is_refused_if_taken(self, orders):
        given = "0192f7a0-0000-7000-8000-000000000001"
        call = {"exchange": "orders", "routing_key": "orders.eu.paid", "task_id": given}
        assert add.apply_async((1, 2), **call).id == given
        with pytest.raises(ValueError, match="belongs to a task already"):
            add.apply_async((1, 2), **call)
        assert Task.objects.count() == 3

    def test_a_retry_names_a_queue(self):
        from djqueue.calls import check_retry_options

        with pytest.raises(TypeError, match="no exchange"):
            check_retry_options("t", {"exchange": "orders"})


class TestCache:
    def test_producers_read_bindings_once_in_a_while(self, orders, django_assert_num_queries):
        call = {"exchange": "orders", "routing_key": "orders.us.sent"}
        add.apply_async((1, 2), **call)
        with django_assert_num_queries(1):
            add.apply_async((1, 2), **call)

    def test_a_binding_that_this_process_saves_holds_at_once(self, orders):
        add.apply_async((1, 2), exchange="orders", routing_key="orders.eu.paid")
        Binding.objects.filter(queue="eu").get().delete()
        result = add.apply_async((1, 2), exchange="orders", routing_key="orders.eu.paid")
        assert [queue_of(copy) for copy in result.copies] == ["audit", "billing"]

    def test_one_that_another_process_adds_is_found_before_a_call_is_refused(self, orders):
        add.apply_async((1, 2), exchange="orders", routing_key="orders")
        with connection.cursor() as cursor:  # no signal is sent
            cursor.execute(
                "INSERT INTO djqueue_binding (exchange_id, routing_key, queue) VALUES ('orders', 'new', 'new')"
            )
        assert queue_of(add.apply_async((1, 2), exchange="orders", routing_key="new")) == "new"

    def test_one_that_another_process_changes_is_followed_after_a_while(self, orders, monkeypatch):
        add.apply_async((1, 2), exchange="orders", routing_key="orders")
        Binding.objects.filter(queue="audit").update(queue="archive")
        assert queue_of(add.apply_async((1, 2), exchange="orders", routing_key="orders")) == "audit"
        from djqueue import destinations

        now = destinations.monotonic()
        monkeypatch.setattr(destinations, "monotonic", lambda: now + STALE + 0.1)
        assert queue_of(add.apply_async((1, 2), exchange="orders", routing_key="orders")) == "archive"


class TestModels:
    def test_bindings_are_validated(self, orders):
        with pytest.raises(ValidationError, match="got: 'a b'"):
            Binding(exchange=orders, routing_key="a", queue="a b").full_clean()
        with pytest.raises(ValidationError, match="expected \\* and # to be whole words"):
            Binding(exchange=orders, routing_key="a.b*", queue="a").full_clean()
        with pytest.raises(ValidationError, match="a fanout exchange heeds none"):
            Binding(exchange=Exchange(name="all", kind="fanout"), routing_key="a", queue="a").clean()

    def test_the_database_refuses_unknown_kinds(self, db):
        from django.db import IntegrityError

        with pytest.raises(IntegrityError), transaction.atomic():
            Exchange.objects.create(name="x", kind="headers")

    def test_the_admin_edits_exchanges_with_their_bindings(self, admin_client, db):
        data = {
            "name": "logs", "kind": "topic", "description": "",
            "bindings-TOTAL_FORMS": 1, "bindings-INITIAL_FORMS": 0,
            "bindings-0-routing_key": "logs.*", "bindings-0-queue": "logs",
        }  # fmt: skip
        page = admin_client.post(reverse("admin:djqueue_exchange_add"), {**data, "bindings-0-routing_key": "lo*"})
        assert b"whole words" in page.content
        assert admin_client.post(reverse("admin:djqueue_exchange_add"), data).status_code == 302
        assert queue_of(noop.apply_async(exchange="logs", routing_key="logs.error")) == "logs"
        assert b"logs" in admin_client.get(reverse("admin:djqueue_exchange_changelist")).content
        change = admin_client.get(reverse("admin:djqueue_exchange_change", args=["logs"]))
        assert b'value="logs.*"' in change.content


def matches_by_force(pattern: list[str], words: list[str]) -> bool:
    """The definition of a topic, tried out in every way."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches_by_force(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches_by_force(pattern[1:], words[1:])


WORDS = st.sampled_from(["a", "b", "*", "#"])


@given(st.lists(WORDS, max_size=6), st.lists(st.sampled_from(["a", "b", "c"]), max_size=6))
def test_topics_match_as_their_definition_says(pattern, words):
    assert topic_matches(".".join(pattern), ".".join(words)) == matches_by_force(pattern, words)


def test_matching_a_topic_takes_no_exponential_time():
    assert not topic_matches(".".join(["#", "a"] * 60), ".".join(["a"] * 59 + ["b"]))


@shared_task(name="tests.routed_class")
def _unused() -> None:
    """Only so that the module defines a task, as router modules do."""
