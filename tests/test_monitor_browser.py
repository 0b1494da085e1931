"""The monitor in a real browser: every page, in both themes, on a desk and on a telephone, under a strict policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from djqueue import chord
from djqueue.models import Queue, RateLimit, ReadyTask, RunningTask, Statistic, Task, TaskAttempt, TaskLog, TaskResult
from djqueue.states import Ending, State

from .browsing import axe_script, barriers, complaints, look_as, photograph, until
from .site.canvas_tasks import identity, tsum
from .site.form_tasks import many_kinds
from .test_admin import ERROR, new_task, page_of
from .test_monitor import DASHBOARD, FAILURES, counted

pytestmark = pytest.mark.django_db(transaction=True)

TASKS = "/admin/djqueue/task/"
CAUSED = (
    'Traceback (most recent call last):\n  File "/srv/shop/stock.py", line 12, in take\n    return shelf[name]\n'
    "           ~~~~~^^^^^^\nKeyError: 'lemon'\n\n"
    "The above exception was the direct cause of the following exception:\n\n"
    'Traceback (most recent call last):\n  File "/usr/lib/python3.11/asyncio/runners.py", line 118, in run\n'
    "    return self._loop.run_until_complete(task)\n"
    '  File "/srv/shop/tasks.py", line 3, in squeeze\n    raise TooSour("lemon") from error\n'
    "shop.tasks.TooSour: lemon\n"
)


@pytest.fixture(scope="module")
def site(django_db_setup: None) -> Iterator[LiveServer]:
    """A server of this module's own: what stands between it and the browser is loaded when it starts."""
    between = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware", "tests.browsing.StrictPolicy"]
    with override_settings(MIDDLEWARE=between, ALLOWED_HOSTS=["*"]):
        server = LiveServer("localhost")
        yield server
        server.stop()


@pytest.fixture
def visit(browser: Any, site: LiveServer) -> Iterator[Callable[[str], Any]]:
    """Go to a page as a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    look_as(browser, width=1280, dark=False)
    browser.get(f"{site.url}/admin/login/")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value, "path": "/"})
    browser.execute_script("localStorage.clear()")

    def go(path: str) -> Any:
        browser.get(site.url + path)
        return browser

    complaints(browser)
    with override_settings(DJQUEUE={**settings.DJQUEUE, "ENQUEUE_BY_HAND": ["tests.site.form_tasks.*"]}):
        yield go


def fill() -> dict[str, str]:
    """Make something of everything; return the paths of the pages by name."""
    for minute in range(60):
        counted(
            timedelta(minutes=minute), succeeded=200 + minute * 7 % 60, failed=minute * 5 % 7, retried=minute % 5,
            waits=[0.02, 0.05, 0.4], runs=[0.2, 0.3, 2.5], name="shop.tasks.squeeze",
        )  # fmt: skip
    queue = Queue.objects.create(name="default")
    for _ in range(3):
        new_task()
    new_task(queue="nobody")
    new_task(State.SCHEDULED)
    chord([identity.s(1), identity.s(2)], tsum.s()).apply_async()
    running = new_task(State.RUNNING)
    RunningTask.objects.filter(pk=running.pk).update(state="PROGRESS", meta={"current": 30, "total": 120})
    failed = new_task(State.FAILED, args=[1, {"city": "Berlin"}], kwargs={"order": 17, "token": "secret"})
    error = {**ERROR, "traceback": CAUSED}
    TaskResult.objects.filter(pk=failed.pk).update(error=error, started_at=timezone.now(), finished_at=timezone.now())
    for number in (1, 2):
        TaskAttempt.objects.create(
            task=failed, attempt=number, outcome=Ending.RETRIED, worker="w1@host", error=error,
            started_at=failed.created_at, finished_at=failed.created_at + timedelta(seconds=number),
        )  # fmt: skip
    body = Task.objects.get(name=tsum.name)
    TaskLog.objects.create(task_id=failed.pk, attempt=3, text="10:00:01 INFO    shop.tasks: squeezing\n" * 3)
    Task.objects.filter(pk=failed.pk).update(options={"headers": {"tenant": "north", "token": "secret"}})
    RateLimit.objects.create(kind=2, name="default", rate="10/m", per_second=10 / 60)
    return {
        "dashboard": DASHBOARD, "dashboard-week": f"{DASHBOARD}?span=7d", "tasks": f"{TASKS}?state=failed",
        "task-failed": page_of(failed), "task-running": page_of(running), "task-workflow": page_of(body),
        "failures": FAILURES, "queues": "/admin/djqueue/queue/", "queue": page_of(queue),
        "worker": page_of(running.running.worker), "workers": "/admin/djqueue/worker/", "index": "/admin/djqueue/",
        "workflows": f"{TASKS}workflows/", "enqueue": f"{TASKS}enqueue/?task={many_kinds.name}",
        "limits": "/admin/djqueue/ratelimit/",
    }  # fmt: skip


def test_the_policy_is_in_force(visit: Callable[[str], Any]) -> None:
    """The other tests rest on this."""
    page = visit(DASHBOARD)
    page.execute_script(
        "const own = document.createElement('script'); own.text = 'window.inline = 1'; document.body.append(own);"
    )
    assert page.execute_script("return window.inline") is None
    assert "Content Security Policy" in "".join(complaints(page))


def fits(page: Any) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.execute_script("return document.documentElement.scrollWidth <= innerWidth"))


def test_every_page_fits_both_themes_and_sizes_and_breaks_no_policy(browser: Any, visit: Callable[[str], Any]) -> None:
    looks = ((1280, False), (390, True))
    if "SCREENSHOTS" in os.environ:
        looks += ((1280, True), (390, False))
    paths = fill()
    for width, dark in looks:
        for name, path in paths.items():
            look_as(browser, width=width, dark=dark)
            page = visit(path)
            look = f"{name}-{width}-{'dark' if dark else 'light'}"
            photograph(page, look)
            assert complaints(page) == [], look
            assert fits(page), look


def test_pages_are_read_from_right_to_left_where_that_is_the_way(browser: Any, visit: Callable[[str], Any]) -> None:
    paths = fill()
    visit(DASHBOARD).add_cookie({"name": "django_language", "value": "ar", "path": "/"})
    for name in ("dashboard", "task-failed", "tasks", "worker"):
        for width in (1280, 390):
            look_as(browser, width=width, dark=False)
            page = visit(paths[name])
            assert page.execute_script("return document.documentElement.dir") == "rtl"
            photograph(page, f"rtl-{name}-{width}")
            assert complaints(page) == [], name
            assert fits(page), name
    page.add_cookie({"name": "django_language", "value": "de", "path": "/"})
    look_as(browser, width=390, dark=False)
    for name in ("dashboard", "task-failed", "tasks", "workflows", "enqueue"):
        page = visit(paths[name])
        photograph(page, f"de-{name}-390")
        assert fits(page), name
    page.delete_cookie("django_language")


def test_long_texts_are_copied(visit: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By

    task = new_task(args=[1, {"city": "Berlin"}])
    page = visit(page_of(task))
    page.execute_script("Object.defineProperty(window, 'isSecureContext', {get: () => false})")
    page.execute_script("document.execCommand = () => { window.copied = document.activeElement.value; };")
    button = page.find_element(By.CSS_SELECTOR, ".field-pretty_args .djqueue-copy")
    button.click()
    until(page, lambda: button.text == "Copied")
    assert '"city": "Berlin"' in page.execute_script("return window.copied")
    assert complaints(page) == []


def test_every_page_is_open_to_all(browser: Any, visit: Callable[[str], Any]) -> None:
    """By axe-core, of what the page adds to Django's own."""
    script = axe_script()
    if script is None:
        pytest.skip("no axe-core is installed (npm install axe-core, or AXE_CORE=/path/to/axe.min.js)")
    found = {}
    for dark in (False, True):
        for name, path in fill().items() if not dark else found_paths().items():
            # Before the page is there: colours that fade into others are neither.
            look_as(browser, width=1280, dark=dark)
            page = visit(path)
            found[name, dark] = barriers(page, script, "#content")
    assert {look: what for look, what in found.items() if what} == {}


def found_paths() -> dict[str, str]:
    failed = Task.objects.filter(result__state=State.FAILED).first()
    enqueue = f"{TASKS}enqueue/?task={many_kinds.name}"
    return {"dashboard": DASHBOARD, "failures": FAILURES, "tasks": TASKS, "task": page_of(failed), "enqueue": enqueue}


def test_the_dashboard_refreshes_itself_while_it_is_seen(visit: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    counted(succeeded=5, name="shop.first")
    page = visit(DASHBOARD)

    def text() -> str:
        return str(page.find_element(By.ID, "djqueue-live").text)

    assert "shop.first" in text()
    page.find_element(By.CSS_SELECTOR, "#djqueue-table summary").click()
    Select(page.find_element(By.ID, "djqueue-rate")).select_by_value("2")
    counted(succeeded=5, name="shop.second")
    until(page, lambda: "shop.second" in text())
    # What was unfolded stays so, and the chosen rate is remembered.
    assert page.find_element(By.ID, "djqueue-table").get_attribute("open")
    assert page.find_element(By.ID, "djqueue-said").text.startswith("Updated")
    page.refresh()
    assert Select(page.find_element(By.ID, "djqueue-rate")).first_selected_option.get_attribute("value") == "2"
    assert complaints(page) == []

    # Where it is hidden nothing is asked; seen again, it asks at once.
    page.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": False})
    page.execute_script(
        "window.asked = 0; const real = fetch; window.fetch = (...given) => { asked++; return real(...given); };"
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => window.away});"
        "window.away = true; document.dispatchEvent(new Event('visibilitychange'));"
    )
    page.execute_async_script("setTimeout(arguments[0], 3000)")  # longer than the rate
    assert page.execute_script("return asked") == 0
    page.execute_script("window.away = false; document.dispatchEvent(new Event('visibilitychange'));")
    until(page, lambda: page.execute_script("return asked") >= 1)

    # Who is logged out is told so.
    page.delete_all_cookies()
    until(page, lambda: page.find_element(By.ID, "djqueue-said").text == "Could not be refreshed")


def test_an_action_in_a_browser(visit: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    tasks = [new_task(State.FAILED) for _ in range(3)]
    page = visit(f"{TASKS}?state=failed")
    page.find_element(By.ID, "action-toggle").click()
    Select(page.find_element(By.NAME, "action")).select_by_value("retry")
    page.find_element(By.CSS_SELECTOR, "button[name=index]").click()
    until(page, lambda: "Run these tasks again?" in page.find_element(By.ID, "content").text)
    photograph(page, "confirm")
    page.find_element(By.CSS_SELECTOR, ".submit-row input[type=submit]").click()
    until(page, lambda: "3 tasks are back in line." in page.find_element(By.CSS_SELECTOR, ".messagelist").text)
    assert ReadyTask.objects.count() == len(tasks)

    page = visit(page_of(tasks[0]))
    page.find_element(By.XPATH, "//button[text()='Reschedule']").click()
    until(page, lambda: page.find_elements(By.NAME, "run_at_0"))
    # The admin's own calendar and clock are there.
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".datetimeshortcuts"))
    photograph(page, "reschedule")
    page.find_element(By.NAME, "run_at_0").send_keys("2090-01-02")
    page.find_element(By.NAME, "run_at_1").send_keys("03:04:05")
    page.find_element(By.CSS_SELECTOR, ".submit-row input[type=submit]").click()
    until(page, lambda: "1 task is rescheduled." in page.find_element(By.CSS_SELECTOR, ".messagelist").text)
    assert complaints(page) == []


def test_purging_in_a_browser(visit: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By

    queue = Queue.objects.create(name="mail")
    new_task(queue="mail")
    page = visit(page_of(queue))
    page.find_element(By.XPATH, "//button[text()='Purge']").click()
    until(page, lambda: page.find_elements(By.NAME, "typed"))
    photograph(page, "purge")
    page.find_element(By.NAME, "typed").send_keys("mail")
    page.find_element(By.CSS_SELECTOR, ".submit-row input[type=submit]").click()
    until(page, lambda: "1 task of mail is cancelled" in page.find_element(By.CSS_SELECTOR, ".messagelist").text)
    assert not ReadyTask.objects.exists()
    assert Statistic.objects.get().cancelled == 1
    assert complaints(page) == []
