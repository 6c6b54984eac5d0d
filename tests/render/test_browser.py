"""The report in a real browser, from disk: it loads nothing, reports no error, draws its charts, and fits any width."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from fi_store.store import Store
from render.report import render_report
from tests.helpers.planted import N_FINDINGS
from tests.helpers.store_factory import FilledStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
CHARTS = 8 + 2 * N_FINDINGS
UNDRAWN = """Array.from(document.querySelectorAll('figure.chart:not(.drawn)'))
  .filter((item) => item.clientWidth).length === 0"""
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("REQUIRE_ALL"),
    reason="no browser: apt-get install chromium",
)


@dataclass
class Visit:
    """A loaded page with all its console messages and requests."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "REQUIRE_ALL is set and there is no browser"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def rendered(store: FilledStore, folder: Path) -> Path:
    shutil.copy(store.path, folder / "fi-store.duckdb")
    with Store.open(folder / "fi-store.duckdb") as opened:
        return render_report(opened, "latest", report_format="html")[0]


@pytest.fixture(scope="module")
def hostile_page(hostile_store: FilledStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(hostile_store, tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def same_page(same_store: FilledStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(same_store, tmp_path_factory.mktemp("same"))


def visit(
    browser: Browser,
    path: Path,
    *,
    width: int = 1440,
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = True,
) -> Visit:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
    )
    page = context.new_page()
    visited = Visit(page)
    page.on("console", lambda message: visited.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visited.messages.append(f"error: {error}"))
    page.on("dialog", lambda dialog: visited.messages.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: visited.requests.append(request.url))
    page.goto(path.as_uri())
    if scripts:
        until(page, UNDRAWN)
    return visited


def opened(page: Page) -> None:
    """Opens everything that is folded, and waits for the charts in it."""
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    until(page, "document.querySelectorAll('figure.chart:not(.drawn)').length === 0")


def until(page: Page, condition: str, seconds: float = 30.0) -> None:
    """Waits for a condition. The page's policy forbids playwright's `wait_for_function`, which evaluates text."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never true: {condition}"
        page.wait_for_timeout(50)


def loaded(visited: Visit) -> list[str]:
    return [url for url in visited.requests if not url.startswith("data:")]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (380, "light")])
def test_charts_are_drawn_without_messages_or_network(
    browser: Browser, hostile_page: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    visited = visit(browser, hostile_page, width=width, scheme=scheme)
    opened(visited.page)
    assert visited.messages == []
    assert loaded(visited) == [hostile_page.as_uri()]
    assert visited.page.locator("figure.drawn .live svg").count() == CHARTS
    assert not visited.page.locator("figure.drawn .still").first.is_visible()
    visited.page.context.close()


@pytest.mark.parametrize("width", [320, 380, 800, 1280, 1440])
def test_nothing_is_clipped_or_runs_out_of_the_page(browser: Browser, hostile_page: Path, width: int) -> None:
    visited = visit(browser, hostile_page, width=width)
    opened(visited.page)
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = visited.page.evaluate(
        """() => Array.from(document.querySelectorAll('main *'))
          .filter((item) => !item.closest('.scroll') && !item.closest('svg'))
          .filter((item) => { const box = item.getBoundingClientRect();
                              return box.width && (box.right > innerWidth + 1 || box.left < -1); })
          .map((item) => item.tagName + '.' + item.className)"""
    )
    assert outside == []
    visited.page.context.close()


def test_hostile_text_is_text(browser: Browser, hostile_page: Path) -> None:
    visited = visit(browser, hostile_page)
    page = visited.page
    assert page.locator("h3", has_text="<script>alert(1)</script>").count() >= 1
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert (
        page.locator("script").count() == 2 + 1 + CHARTS
    )  # Vega, the page's own, palettes, one island per chart
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">')")
    page.evaluate(
        "{ const made = document.createElement('script'); made.textContent = 'window.hit = 2'; "
        "document.body.append(made) }"
    )
    page.evaluate("setTimeout(() => { try { window.sum = eval('1 + 1') } catch { window.sum = 'refused' } })")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None  # the policy holds even for injected markup
    assert page.evaluate("window.sum") == "refused"
    page.context.close()


def test_hovering_a_point_shows_its_values_as_text(browser: Browser, hostile_page: Path) -> None:
    visited = visit(browser, hostile_page)
    opened(visited.page)
    bar = visited.page.locator("#chart-distribution .live svg .mark-rect.role-mark path").first
    bar.scroll_into_view_if_needed()
    bar.hover()
    tooltip = visited.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for(timeout=5_000)
    assert "features" in tooltip.inner_text()
    assert visited.messages == []
    visited.page.context.close()


def test_without_scripts_the_still_pictures_are_shown(browser: Browser, hostile_page: Path) -> None:
    visited = visit(browser, hostile_page, scripts=False)
    pictures = visited.page.locator("figure.chart .still img")
    assert pictures.count() == CHARTS
    assert all(pictures.nth(number).is_visible() for number in range(2 * N_FINDINGS))
    visited.page.context.close()


def test_charts_follow_the_color_scheme_and_the_width(browser: Browser, same_page: Path) -> None:
    visited = visit(browser, same_page)
    page = visited.page
    opened(page)
    states = "Array.from(document.querySelectorAll('figure.chart')).map((item) => item.dataset.state)"
    assert set(page.evaluate(states)) == {"wide-light"}
    page.emulate_media(color_scheme="dark")
    until(page, f"{states}.every((state) => state === 'wide-dark')")
    page.set_viewport_size({"width": 380, "height": 800})
    until(page, f"{states}.every((state) => state === 'narrow-dark')")
    page.wait_for_timeout(500)
    assert visited.messages == []
    assert page.locator("figure.drawn .live > *").count() >= page.locator("figure.drawn").count()
    page.context.close()


def test_the_report_of_a_pair_without_a_difference(browser: Browser, same_page: Path) -> None:
    visited = visit(browser, same_page)
    assert visited.messages == []
    assert loaded(visited) == [same_page.as_uri()]
    assert "No behavioral difference" in visited.page.locator(".verdict").inner_text()
    visited.page.context.close()
