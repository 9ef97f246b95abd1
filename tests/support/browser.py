"""A report in a real browser, opened from disk with the network off. Any complaint in its console fails the test."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from parity.results.case import Run
from reports.render import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu"),
    "--host-resolver-rules=MAP evil.example 127.0.0.1",  # a page of another site, on this machine
    "--disable-features=LocalNetworkAccessChecks",  # other browsers let a page of the internet ask this machine
)


class Browse(Protocol):
    """Writes a run's report and opens it."""

    def __call__(
        self,
        run: Run,
        fragment: str = "",
        *,
        width: int = 1280,
        theme: Literal["light", "dark"] = "light",
        max_bytes: int = 25 << 20,
    ) -> Page: ...


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium here, and CI must have one (Debian: apt-get install chromium)")
        pytest.skip("no Chromium here; the tests that parse the page have run")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def watch(page: Page, address: str) -> list[str]:
    """A list that collects console messages, uncaught errors, and requests for anything but the page."""
    complaints: list[str] = []

    def ask(url: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            complaints.append(f"request: {url}")

    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    page.on("request", lambda request: ask(request.url))
    return complaints


@pytest.fixture
def browse(chromium: Browser, tmp_path: Path) -> Iterator[Browse]:
    contexts: list[BrowserContext] = []
    watched: list[list[str]] = []

    def browse(
        run: Run,
        fragment: str = "",
        *,
        width: int = 1280,
        theme: Literal["light", "dark"] = "light",
        max_bytes: int = 25 << 20,
    ) -> Page:
        path = tmp_path / "report.html"
        write_report(run, tmp_path, path, max_bytes=max_bytes)
        context = chromium.new_context(
            offline=True, viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        watched.append(watch(page, path.as_uri()))
        page.goto(path.as_uri() + fragment)
        return page

    yield browse
    for context in contexts:
        context.close()
    complaints = [complaint for page in watched for complaint in page]
    if complaints:
        pytest.fail("the browser complains:\n" + "\n".join(complaints))


def case(page: Page, name: str = "t2v-guitar") -> Locator:
    """The section of a case."""
    return page.locator(f"section.case[id='case-{name}']")


def until(page: Page, condition: str) -> None:
    """Wait until a condition holds in the page; fail after 20 s. The page's policy forbids Playwright's own way."""
    page.evaluate(
        "condition => new Promise((done, fail) => { const end = performance.now() + 20000; (function look() {"
        f"if ({condition}) done(); else if (performance.now() > end) fail(new Error(condition));"
        "else setTimeout(look, 10); })(); })",
        condition,
    )


def serious(page: Page) -> list[tuple[str, str, str]]:
    """What axe takes for a serious or critical violation: the rule, an element, and why."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    return [
        (item["id"], item["nodes"][0]["html"], item["nodes"][0]["failureSummary"])
        for item in found.response["violations"]
        if item["impact"] in ("serious", "critical")
    ]


def shown(page: Page) -> list[str]:
    """Cases in the overview, from the top."""
    return page.locator("tr[data-row]:visible th a").all_text_contents()


def expect_page(page: Page, name: str | None) -> None:
    """Expect a case alone, or the overview (None)."""
    expect(page.locator("main > section:visible h2").first).to_have_text(name or "Cases")
    expect(page.locator("section.case:visible")).to_have_count(int(name is not None))


def expect_frame(page: Page, frame: int, name: str = "t2v-guitar") -> None:
    """Expect a frame in the preview and in the text."""
    expect(case(page, name).locator("[data-side=preview] canvas")).to_have_attribute(
        "aria-label", f"preview, frame {frame}"
    )
    expect(case(page, name).locator(".position")).to_have_text(re.compile(rf"^frame {frame} of"))


def saved_approvals(page: Page, path: Path) -> dict[str, Any]:
    """Save the approvals of the ticked cases to a file."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save approvals.json").click()
    assert download.value.suggested_filename == "approvals.json"
    download.value.save_as(path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
