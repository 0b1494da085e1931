"""The admin of schedules: who may do what, what the form says while one types, and what the lists show."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djqueue.admin.schedule_form import parse_span, span_text
from djqueue.models import Schedule, ScheduleRun, Task
from djqueue.schedules.rules import Fate, Source
from djqueue.store.beat import look

from .beats import ADD, NOON, fire_at, new_schedule
from .browsing import photograph, until

pytestmark = pytest.mark.django_db

LIST = "/admin/djqueue/schedule/"
ADD_PAGE = f"{LIST}add/"
PREVIEW = f"{LIST}preview/"
HOSTILE = "<script>alert(1)</script>"
FORM = {
    "name": "nightly", "task": ADD, "args": "[2, 3]", "kwargs": "{}", "enabled": "on", "description": "",
    "kind": "crontab", "expression": "30 4 * * mon-fri", "every": "", "clocked_at_0": "", "clocked_at_1": "",
    "solar_event": "", "latitude": "", "longitude": "", "timezone": "Europe/Berlin",
    "start_at_0": "", "start_at_1": "", "end_at_0": "", "end_at_1": "",
    "misfire": "2", "misfire_limit": "100", "overlap": "1", "jitter": "", "expires": "",
    "queue": "", "priority": "", "options": "{}",
}  # fmt: skip


@pytest.fixture
def editor(staff: Callable[..., Client]) -> Client:
    return staff(*(f"{what}_schedule" for what in ("add", "change", "view", "delete", "run", "switch")))


def page(schedule: Schedule, what: str = "change") -> str:
    return f"{LIST}{schedule.pk}/{what}/"


def body(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return str(response.content.decode())


def act(client: Client, action: str, *schedules: Schedule) -> Any:
    return client.post(LIST, {"action": action, "_selected_action": [s.pk for s in schedules]}, follow=True)


# Who may do what


def test_without_permission_nothing_is_shown_or_done(staff: Callable[..., Client]):
    schedule, client = new_schedule(), staff()
    assert client.get(LIST).status_code == 403
    assert client.get(page(schedule)).status_code == 403
    for url in (PREVIEW, page(schedule, "run"), page(schedule, "switch")):
        assert client.post(url, FORM).status_code == 403
    assert Task.objects.count() == 0


@pytest.mark.parametrize(
    ("permission", "actions", "buttons"),
    [
        ("view_schedule", set(), set()),
        ("run_schedule", {"run"}, {"Run now"}),
        ("switch_schedule", {"enable", "disable"}, {"Switch off"}),
        ("change_schedule", {"enable", "disable"}, {"Switch off"}),
        ("delete_schedule", {"delete_selected"}, set()),
    ],
)
def test_each_action_has_its_permission(
    staff: Callable[..., Client], permission: str, actions: set[str], buttons: set[str]
) -> None:
    schedule, client = new_schedule(), staff("view_schedule", permission)
    offered = set(re.findall(r'<option value="(\w+)"', body(client, LIST).partition('name="action"')[2]))
    assert offered & {"run", "enable", "disable", "delete_selected"} == actions
    shown = body(client, page(schedule))
    assert {name for name in ("Run now", "Switch off") if f">{name}</button>" in shown} == buttons


def test_who_may_only_run_cannot_switch_and_the_other_way_round(staff: Callable[..., Client]):
    schedule = new_schedule()
    runner, switcher = staff("view_schedule", "run_schedule"), staff("view_schedule", "switch_schedule")
    assert runner.post(page(schedule, "switch")).status_code == 403
    assert switcher.post(page(schedule, "run")).status_code == 403
    assert runner.get(page(schedule, "run")).status_code == 405
    assert runner.post(page(schedule, "run")).status_code == 302
    assert switcher.post(page(schedule, "switch")).status_code == 302
    schedule.refresh_from_db()
    assert (Task.objects.count(), schedule.enabled) == (1, False)


def test_who_may_only_view_can_change_nothing(staff: Callable[..., Client]):
    schedule, client = new_schedule(), staff("view_schedule")
    assert client.post(page(schedule), {**FORM, "name": "other"}).status_code == 403
    assert 'name="expression"' not in body(client, page(schedule))


# Making and changing


def test_a_schedule_is_made_with_the_form(editor: Client):
    response = editor.post(
        ADD_PAGE, {**FORM, "jitter": "5 s", "expires": "1 h 30 min", "options": '{"headers": {"a": 1}}'}
    )
    assert response.status_code == 302, response.context["errors"]
    schedule = Schedule.objects.get()
    assert (schedule.expression, schedule.timezone, schedule.args) == ("30 4 * * mon-fri", "Europe/Berlin", [2, 3])
    assert (schedule.jitter, schedule.expires) == (timedelta(seconds=5), timedelta(minutes=90))
    assert schedule.next_run_at > look(connection).now
    assert schedule.source == Source.ADMIN


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"expression": "61 * * * *"}, "expression", "expected minute to be 0 to 59"),
        ({"kind": "interval", "every": "often"}, "every", "expected a length of time such as 90 s"),
        ({"kind": "interval"}, "every", "expected run_every"),
        ({"kind": "clocked", "clocked_at_0": "2001-01-01", "clocked_at_1": "12:00"}, "clocked_at", "in the future"),
        ({"kind": "solar"}, "solar_event", "expected event to be one of"),
        ({"timezone": "Mars"}, "timezone", "expected a time zone"),
        ({"args": "[1"}, "args", "Enter a valid JSON"),
        ({"args": "{}"}, "args", "expected a JSON list"),
        ({"name": ""}, "name", "required"),
        ({"misfire_limit": "0"}, "misfire_limit", "greater than or equal to 1"),
        ({"queue": "a b"}, "queue", "expected the name of a queue"),
    ],
)
def test_what_makes_no_sense_is_said_at_its_field_and_once(editor: Client, typed: Any, field: str, said: str) -> None:
    response = editor.post(ADD_PAGE, {**FORM, **typed})
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert len(errors[field]) == 1
    assert said in errors[field][0]
    assert not Schedule.objects.exists()


def test_saving_the_form_of_a_schedule_that_fired_meanwhile_moves_no_slot(editor: Client):
    schedule = new_schedule(due_at=NOON, kind="crontab", expression="30 4 * * mon-fri", timezone="Europe/Berlin")
    fire_at(NOON)
    before = Schedule.objects.get().next_run_at
    assert editor.post(page(schedule), {**FORM, "description": "edited"}).status_code == 302
    after = Schedule.objects.get()
    assert (after.next_run_at, after.total_runs, after.description) == (before, 1, "edited")


def test_what_is_declared_in_code_cannot_be_deleted_but_switched_off(editor: Client):
    declared = new_schedule("declared", source=Source.CODE, declared={})
    made = new_schedule("made")
    assert "Declared in code" in body(editor, page(declared))
    assert editor.post(page(declared, "delete"), {"post": "yes"}).status_code == 403
    editor.post(LIST, {"action": "delete_selected", "_selected_action": [declared.pk, made.pk], "post": "yes"})
    assert Schedule.objects.count() == 2
    assert editor.post(page(made, "delete"), {"post": "yes"}).status_code == 302
    assert list(Schedule.objects.values_list("name", flat=True)) == ["declared"]


# The preview


def test_the_preview_says_what_the_typed_timing_means_and_stores_nothing(editor: Client):
    said = editor.post(PREVIEW, FORM).json()
    assert said["words"] == "at 04:30 on Monday to Friday"
    assert said["zone"] == "Europe/Berlin"
    assert len(said["slots"]) == 5
    for slot in said["slots"]:
        assert re.fullmatch(r"\w{3} \d{4}-\d\d-\d\d 04:30:00 \+0[12]00", slot["local"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d 0[23]:30:00", slot["utc"])
    assert not Schedule.objects.exists()


def test_the_preview_names_the_field_and_ignores_what_is_not_timing(editor: Client):
    said = editor.post(PREVIEW, {**FORM, "expression": "* * * *", "args": "[", "name": ""}).json()
    assert list(said["errors"]) == ["expression"]
    assert said["slots"] == []


def test_the_preview_of_what_will_never_run(editor: Client):
    said = editor.post(PREVIEW, {**FORM, "end_at_0": "2001-01-01", "end_at_1": "00:00"}).json()
    assert said["note"] == "It will never run."


def test_the_preview_of_what_is_switched_off(editor: Client):
    typed = {name: value for name, value in FORM.items() if name != "enabled"}
    said = editor.post(PREVIEW, {**typed, "kind": "interval", "every": "1 h"}).json()
    assert (said["words"], said["note"], len(said["slots"])) == ("every 1 hour", "It is switched off.", 5)


# Actions


def test_switching_and_running_from_the_list(editor: Client):
    one, two = new_schedule("one"), new_schedule("two", enabled=False)
    assert "2 schedules are off" not in act(editor, "disable", one, two).content.decode()
    assert Schedule.objects.filter(enabled=True).count() == 0
    assert "2 schedules are on now." in act(editor, "enable", one, two).content.decode()
    for schedule in Schedule.objects.all():
        assert schedule.next_run_at > look(connection).now
    response = act(editor, "run", one, two)
    assert Task.objects.count() == 2
    assert response.content.decode().count("enqueued as") == 2
    assert {run.fate for run in ScheduleRun.objects.all()} == {Fate.BY_HAND}
    assert LogEntry.objects.count() == 1 + 2 + 2


def test_a_run_that_cannot_be_enqueued_is_explained(editor: Client):
    schedule = new_schedule(args=[1])
    text = editor.post(page(schedule, "run"), follow=True).content.decode()
    assert "missing a required argument" in text
    assert Task.objects.count() == 0


def test_one_that_cannot_be_switched_on_is_explained_and_stops_no_other(editor: Client):
    wrong, right = new_schedule("wrong", enabled=False), new_schedule("right", enabled=False)
    Schedule.objects.filter(pk=wrong.pk).update(timezone="Mars/Base")
    text = act(editor, "enable", wrong, right).content.decode()
    assert "rong: expected a time zone such as Europe/Berlin" in text
    assert "1 schedule is on now." in text
    assert list(Schedule.objects.filter(enabled=True)) == [right]
    assert LogEntry.objects.count() == 1


def test_deleting_names_the_schedule_and_not_each_of_its_slots(editor: Client):
    schedule = new_schedule()
    ScheduleRun.objects.bulk_create(
        ScheduleRun(schedule=schedule, due_at=NOON + timedelta(seconds=n), fired_at=NOON, fate=Fate.ENQUEUED)
        for n in range(500)
    )
    text = body(editor, page(schedule, "delete"))
    assert "schedule: each minute" in text
    assert "2026" not in text
    assert editor.post(page(schedule, "delete"), {"post": "yes"}).status_code == 302
    assert not Schedule.objects.exists()
    assert not ScheduleRun.objects.exists()


# Pages


@pytest.mark.parametrize(
    "values",
    [{"timezone": "Mars/Base"}, {"expression": "now and then"}, {"args": 5}, {"options": [1]},
     {"kind": "interval", "every": timedelta(days=10**8)}, {"next_run_at": None}, {"declared": {}}],
)  # fmt: skip
def test_a_row_that_makes_no_sense_has_its_page_where_it_can_be_mended(editor: Client, values: Any) -> None:
    """As after changes by hand, or on a host that does not know the zone."""
    schedule = new_schedule(kind="crontab", expression="0 4 * * *")
    Schedule.objects.filter(pk=schedule.pk).update(**values)
    body(editor, page(schedule))
    body(editor, LIST)


def test_the_list_says_when_and_how_it_went(editor: Client):
    schedule = new_schedule(due_at=NOON, kind="crontab", expression="*/5 * * * *", args=[1])
    fire_at(NOON)
    text = body(editor, LIST)
    assert "every 5 minutes" in text
    assert "could not be enqueued (TypeError: " in text
    assert "no beat seems to run" in text  # NOON is over, and nobody fired what came after it
    off = new_schedule("off", enabled=False)
    assert "djqueue-off" in body(editor, LIST)
    assert "missing a required argument" in body(editor, page(schedule))
    assert body(editor, page(off))


def test_the_list_says_nothing_of_beats_while_all_is_well(editor: Client):
    new_schedule()
    assert "no beat seems to run" not in body(editor, LIST)


def test_the_list_costs_the_same_for_many(editor: Client):
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            body(editor, LIST)
        return len(queries)

    for number in range(3):
        new_schedule(f"a{number}", due_at=NOON)
    fire_at(NOON)
    Schedule.objects.update(next_run_at=timezone.now() + timedelta(hours=1))
    few = statements()
    for number in range(20):
        new_schedule(f"b{number}")
    assert statements() == few


def test_names_and_notes_are_escaped_and_nothing_is_inline(editor: Client):
    schedule = new_schedule(HOSTILE, due_at=NOON, args=[HOSTILE], description=HOSTILE, timezone="")
    fire_at(NOON)
    Schedule.objects.update(last_error=HOSTILE)
    ScheduleRun.objects.update(note=HOSTILE)
    for url in (LIST, page(schedule), ADD_PAGE):
        text = body(editor, url)
        assert HOSTILE not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text.replace("\n", " "))
        assert not re.search(r"<style|\sstyle=|\son\w+=", text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90 s", 90), ("5 min", 300), ("1 h 30 min", 5400), ("2 days", 172800), ("1.5 hours", 5400),
        ("1,5h", 5400), ("1 week", 604800), ("0.5s", 0.5),
    ],
)  # fmt: skip
def test_lengths_of_time_as_people_type_them(text: str, seconds: float) -> None:
    assert parse_span(text) == timedelta(seconds=seconds)
    assert parse_span(span_text(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "5 parsecs", "-5 s", "5 min ago", "99999999999 weeks"])
def test_lengths_of_time_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a length of time"):
        parse_span(text)


# In a real browser


@pytest.fixture
def at_the_form(browser: Any, live_server: Any, editor: Client, settings: Any) -> Callable[[str], Any]:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.browsing.StrictPolicy"]

    def visit(path: str) -> Any:
        browser.get(f"{live_server.url}/admin/login/")
        cookie = editor.cookies["sessionid"].value
        browser.add_cookie({"name": "sessionid", "value": cookie, "path": "/"})
        browser.get(live_server.url + path)
        return browser

    return visit


@pytest.mark.django_db(transaction=True)
def test_the_form_in_a_browser(at_the_form: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    page = at_the_form(ADD_PAGE)

    def shown(name: str) -> bool:
        return bool(page.find_element(By.CSS_SELECTOR, f".field-{name}").is_displayed())

    def text(selector: str) -> str:
        return str(page.find_element(By.CSS_SELECTOR, selector).text)

    def typed(name: str, value: str) -> None:
        element = page.find_element(By.ID, f"id_{name}")
        element.clear()
        element.send_keys(value)

    # Only the fields of the kind are there.
    assert (shown("expression"), shown("every"), shown("clocked_at"), shown("solar_event")) == (
        True,
        False,
        False,
        False,
    )

    # What is typed is said in words, with the next five slots.
    typed("name", "nightly")
    typed("task", ADD)
    typed("args", "[2, 3]")
    typed("timezone", "America/New_York")
    typed("expression", "30 2 * * *")
    until(page, lambda: text("#djqueue-preview .djqueue-words") == "at 02:30")
    assert len(page.find_elements(By.CSS_SELECTOR, ".djqueue-slots tbody tr")) == 5
    assert text(".djqueue-slots th").lower() == "america/new_york"
    photograph(page, "form-words")

    # A mistake is said at its field while one types, and goes away when it is mended.
    typed("expression", "30 25 * * *")
    until(page, lambda: "expected hour to be 0 to 23" in text(".field-expression .errorlist"))
    assert page.find_element(By.ID, "id_expression").get_attribute("aria-invalid") == "true"
    photograph(page, "form-mistake")
    typed("expression", "30 3 * * *")
    until(page, lambda: text("#djqueue-preview .djqueue-words") == "at 03:30")
    assert not page.find_elements(By.CSS_SELECTOR, ".errorlist")

    # Another kind has other fields.
    Select(page.find_element(By.ID, "id_kind")).select_by_value("interval")
    assert (shown("expression"), shown("every"), shown("relative")) == (False, True, True)
    typed("every", "1 h 30 min")
    until(page, lambda: text("#djqueue-preview .djqueue-words") == "every 1 hour 30 minutes")
    photograph(page, "form-interval")

    page.find_element(By.NAME, "_save").click()
    schedule = until(page, lambda: Schedule.objects.first())
    assert (schedule.name, schedule.every, schedule.args) == ("nightly", timedelta(minutes=90), [2, 3])
    refused = [entry["message"] for entry in page.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert refused == []


@pytest.mark.django_db(transaction=True)
def test_running_and_switching_in_a_browser(at_the_form: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By

    for number, expression in enumerate(("*/5 * * * *", "0 4 * * mon-fri", "0 0 1 * *")):
        new_schedule(
            f"report {number}", due_at=NOON, kind="crontab", expression=expression, args=[number, 1][: 3 - number]
        )
    fire_at(NOON)
    for minute in (5, 10, 15):
        fire_at(NOON + timedelta(minutes=minute))
    schedule = new_schedule("clean up", kind="crontab", expression="0 4 * * *")
    new_schedule("switched off", enabled=False)
    page = at_the_form(LIST)
    photograph(page, "list")
    page.find_element(By.PARTIAL_LINK_TEXT, "clean up").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".djqueue-tool button"))
    page.find_element(By.XPATH, "//button[text()='Run now']").click()
    until(page, lambda: "enqueued as" in page.find_element(By.CSS_SELECTOR, ".messagelist").text)
    photograph(page, "change")
    page.find_element(By.XPATH, "//button[text()='Switch off']").click()
    until(page, lambda: page.find_elements(By.XPATH, "//button[text()='Switch on']"))
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.total_runs) == (False, 1)
