"""The page of `parity compare`: the viewer of the cases, about two files, which claims no case and no recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from parity.pair.compare import Compared, compare_files
from parity.pair.folder import STILLS, write_pair
from reports.pair import write_pair_report
from tests.support.browser import watch
from tests.support.clips import folder, shapes
from tests.support.report_cases import HOSTILE, Page


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """B is A one frame late."""
    place, frames = tmp_path_factory.mktemp("pair"), shapes()[:5]
    a, b = folder(place / "a", frames), folder(place / "b", np.concatenate([frames[:1], frames[:-1]]))
    return compare_files(a, b)


def written(compared: Compared, place: Path) -> Path:
    write_pair(compared, place)
    page = place / "report.html"
    write_pair_report(compared.result, place, page, stills=STILLS)
    return page


def test_the_page_says_what_was_found(compared: Compared, tmp_path: Path) -> None:
    page = Page(written(compared, tmp_path).read_text(encoding="utf-8"))
    for sentence in (
        "B is A, one frame late: its frames 1 to 4 are frames 0 to 3 of A",
        "not the same",
        "Pair 0 is A's frame 0 and B's frame 1.",
        "Compare again: parity compare ",
    ):
        assert sentence in page.words
    for word in ("recipe", "ai-toolkit", "Reproduce", "Approve"):
        assert word not in page.words.replace("Approvals", ""), word
    assert [len(page.json("stills-0")[side]) for side in ("preview", "output")] == [4, 4]


def test_what_a_file_says_of_itself_is_no_markup(compared: Compared, tmp_path: Path) -> None:
    facts = replace(compared.result.a, path=HOSTILE, kind=HOSTILE)
    hostile = replace(compared, result=replace(compared.result, a=facts, notes=(HOSTILE,), sentence=HOSTILE))
    page = Page(written(hostile, tmp_path).read_text(encoding="utf-8"))
    assert "img" not in [tag for tag, _ in page.elements]
    assert json.dumps(page.json("run-data"))


@pytest.mark.browser
def test_the_viewer_works_as_that_of_a_case(compared: Compared, chromium: Browser, tmp_path: Path) -> None:
    address = written(compared, tmp_path).as_uri()
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    complaints = watch(page, address)
    page.goto(address)
    page.wait_for_selector(".stage[data-side=output] canvas:not([hidden])")
    assert page.locator("h2").first.inner_text() == "a and b"
    page.get_by_role("button", name="Next frame").click()
    page.get_by_text("Difference", exact=True).first.click()
    assert "of 0–3" in page.locator(".position").inner_text()
    assert page.locator("figure.output figcaption b").inner_text() == "B"
    page.goto(f"{address}#cases")
    assert page.locator(".case.alone").is_visible()
    assert complaints == []
    context.close()
