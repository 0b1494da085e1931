"""The monitor in a real browser: every page, in both themes, on a desk and on a telephone, under a strict policy."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from .browsing import axe_script, barriers, complaints, look_as, photograph, until
from .busy_site import fill
from .test_admin import new_task, page_of
from .test_monitor import DASHBOARD, counted

pytestmark = pytest.mark.django_db(transaction=True)


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
    return bool(
        page.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )


def test_every_page_fits_and_is_open_to_all_in_both_themes(browser: Any, visit: Callable[[str], Any]) -> None:
    """By axe-core, of what a page adds to Django's own."""
    script = axe_script()
    looks = ((1280, False), (390, True))
    if "SCREENSHOTS" in os.environ:
        looks += ((1280, True), (390, False))
    wrong = {}
    for name, path in fill().items():
        for width, dark in looks:
            # Before the page is there: colours that fade into others are neither.
            look_as(browser, width=width, dark=dark)
            page = visit(path)
            look = f"{name}-{width}-{'dark' if dark else 'light'}"
            photograph(page, look)
            found = complaints(page) + (barriers(page, script, "#content") if script else [])
            wrong[look] = found if fits(page) else [*found, "is wider than the window"]
    assert {look: what for look, what in wrong.items() if what} == {}
    if script is None:
        pytest.skip("pages fit, but no axe-core is installed (make test installs it; or AXE_CORE=/path/to/axe.min.js)")


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
