"""A real browser for tests of pages: Debian's chromium, under a policy that forbids everything inline."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from pytest_django.live_server_helper import LiveServer

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TALLEST_PICTURE = 4000
SERIOUS = ("serious", "critical")
DJANGOS = ("#changelist-search", ".tabular", ".datetime")
"""Parts of pages that are not ours, of which axe complains; of the last one with Django 5.2."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that obeys a strict content security policy as far as the page sends one."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver are installed (Debian: chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1600"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def site(django_db_setup: None) -> Iterator[LiveServer]:
    """A server of a module's own: what stands between it and the browser is loaded when it starts."""
    between = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware", "tests.browsing.StrictPolicy"]
    with override_settings(MIDDLEWARE=between, ALLOWED_HOSTS=["*"]):
        server = LiveServer("localhost")
        yield server
        server.stop()


@pytest.fixture
def visit(browser: Any, site: LiveServer) -> Iterator[Callable[[str], Any]]:
    """Go to a page as a superuser. In the end the browser must have had nothing to complain of."""
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
    # Of a worker that only is a row it is not to be said soon that it is late.
    given = {"ENQUEUE_BY_HAND": ["tests.site.form_tasks.*"], "HEARTBEAT": 100, "LEASE": 600}
    with override_settings(DJQUEUE={**settings.DJQUEUE, **given}):
        yield go
    assert complaints(browser) == []
    # A page that asks again and again would ask during the next test.
    browser.get("about:blank")
    browser.delete_all_cookies()


class StrictPolicy:
    """Sends a policy that forbids everything inline and from elsewhere."""

    def __init__(self, get_response: Callable[..., Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
        return response


def until(browser: Any, condition: Callable[[], Any]) -> Any:
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    ignored = [StaleElementReferenceException, NoSuchElementException]
    return WebDriverWait(browser, 20, poll_frequency=0.05, ignored_exceptions=ignored).until(lambda _: condition())


def photograph(browser: Any, name: str) -> None:
    """Keep a picture of the whole page where the environment says so, for those who look at pages."""
    if directory := os.environ.get("SCREENSHOTS"):
        size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], TALLEST_PICTURE), "scale": 1}
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        Path(directory, f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


def look_as(browser: Any, *, width: int, dark: bool) -> None:
    """Have the browser show pages so wide, and in this theme."""
    screen = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def complaints(browser: Any) -> list[str]:
    """Return what the browser has to complain of since it was last asked: errors and refusals of the policy."""
    return [entry["message"] for entry in browser.get_log("browser") if "favicon.ico" not in entry["message"]]


def axe_script() -> Path | None:
    """Return where axe-core is: what ``AXE_CORE`` names, or what ``make test`` has installed."""
    if given := os.environ.get("AXE_CORE"):
        return Path(given)
    # Its Python is not used, and would want a browser of its own, so it is not imported.
    found = find_spec("axe_playwright_python")
    return None if found is None or found.origin is None else Path(found.origin).parent / "axe.min.js"


def barriers(browser: Any, script: Path, within: str) -> list[str]:
    """Return what axe finds on a page, in what CSS selects, that keeps somebody out."""
    # Through the debugger, since the policy lets no other script run.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script.read_text(encoding="utf-8")})
    context = json.dumps({"include": [[within]], "exclude": [[css] for css in DJANGOS]})
    found = browser.execute_cdp_cmd(
        "Runtime.evaluate",
        {
            "expression": f"axe.run({context}, {{resultTypes: ['violations']}})"
            ".then(found => JSON.parse(JSON.stringify(found.violations)))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    complaints(browser)  # axe itself applies styles, which the policy refuses
    return [
        f"{one['id']}: {one['help']} {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found["result"]["value"]
        if one["impact"] in SERIOUS
    ]


def press(browser: Any, text: str) -> None:
    """Click the button, or the link that looks like one, that says so; wait for the page that it leads to."""
    from selenium.webdriver.common.by import By

    said = f"normalize-space()='{text}'"
    xpath = (
        f"//*[@id='content']//button[{said}] | //*[@id='content']//a[{said}] | //input[@type='submit'][@value='{text}']"
    )
    until(browser, lambda: browser.find_elements(By.XPATH, xpath))
    old = browser.find_element(By.TAG_NAME, "html")
    browser.find_elements(By.XPATH, xpath)[-1].click()
    until(browser, lambda: has_gone(old))


def has_gone(element: Any) -> bool:
    """Whether another page has taken the place of this element's."""
    from selenium.common.exceptions import StaleElementReferenceException

    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    return False


def told(browser: Any, text: str) -> bool:
    """Wait until a message of the admin, which writes its first letter large, contains this."""
    from selenium.webdriver.common.by import By

    def found() -> bool:
        return text.lower() in browser.find_element(By.CSS_SELECTOR, ".messagelist").text.lower()

    return bool(until(browser, found))


def write(browser: Any, **fields: str) -> None:
    """Type texts into the fields of these names, in place of what is there; choose them in lists."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    for name, text in fields.items():
        field = until(browser, lambda name=name: browser.find_element(By.NAME, name))
        if field.tag_name == "select":
            Select(field).select_by_value(text)
        else:
            field.clear()
            field.send_keys(text)


def choose(browser: Any, action: str, *, everything: bool = False) -> None:
    """Tick all rows of a list, all that match where ``everything`` is so, and choose what is to be done to them."""
    from selenium.webdriver.common.by import By

    browser.find_element(By.ID, "action-toggle").click()
    if everything:
        browser.find_element(By.CSS_SELECTOR, ".actions .question a").click()
    write(browser, action=action)
    old = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(By.CSS_SELECTOR, "button[name=index]").click()
    until(browser, lambda: has_gone(old))
