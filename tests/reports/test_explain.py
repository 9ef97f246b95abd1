"""The pages of `parity explain` inside a report: those of the run's factors and symptoms, each once, with links."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from parity.factors.catalogue import PAGES
from parity.factors.troubleshooting import SYMPTOMS, read_symptom
from parity.results.case import BaselineResult, CaseResult, FindingResult
from reports.explain import explained, symptoms_of
from reports.render import render
from tests.support.report_cases import HOSTILE, Page, drifted_case, error_case, passed_case, run_of


def finding(factor: str) -> FindingResult:
    return FindingResult(factor=factor, preview="1", inference="2", note="other")


@pytest.fixture
def case(tmp_path: Path) -> CaseResult:
    return replace(drifted_case(tmp_path), expect=None, diagnosis=None, search=None, findings=())


def test_a_run_has_the_pages_of_its_factors_once(case: CaseResult, tmp_path: Path) -> None:
    one = replace(case, findings=(finding("scheduler"), finding(HOSTILE)), expect=("seed", "no factor"))
    run = run_of(one, replace(one, id="other", findings=(finding("scheduler"), finding("precision"))))
    page = Page(render(run, tmp_path))
    dialogs = [attrs["id"] for tag, attrs in page.elements if tag == "dialog" and attrs["id"] != "help"]
    assert dialogs == ["explain-seed", "explain-scheduler", "explain-precision"]
    assert page.explained.count("The noise schedule or its solver differs") == 1
    assert len(set(page.attributes("id"))) == len(page.attributes("id"))


def test_a_run_without_factors_has_no_page(tmp_path: Path) -> None:
    assert not explained([replace(passed_case(tmp_path), findings=())])


def test_commands_become_links_to_pages_that_are_there(case: CaseResult) -> None:
    alone = explained([replace(case, findings=(finding("lora_application"),))])["lora_application"]
    assert "<code>parity explain precision</code>" in alone.html
    both = explained([replace(case, findings=(finding("lora_application"), finding("precision")))])
    assert '<a href="#explain-precision">precision</a>' in both["lora_application"].html
    assert "parity explain" not in both["lora_application"].html


def test_every_page_renders(case: CaseResult) -> None:
    whole = replace(case, findings=tuple(finding(name) for name in PAGES))
    pages = explained([whole])
    assert list(pages) == [*PAGES, "black-or-noise"]
    for name, page in pages.items():
        assert page.title
        assert page.factor == ("" if name == "black-or-noise" else name)
        assert "<h1" not in page.html
        assert "<h3>What to change</h3>" in page.html or not page.factor
        assert {*re.findall(r'href="([^"]*)"', page.html)} <= {f"#explain-{other}" for other in PAGES}
        assert not re.search(r"<code>parity explain \w+</code>", page.html)
        assert not re.search(r"^#|```|\*\*", re.sub(r"<pre.*?</pre>", "", page.html, flags=re.DOTALL), re.MULTILINE)


def test_symptoms_that_the_results_show(case: CaseResult) -> None:
    baseline = BaselineResult(outcome="changed", status="passed", verdict="", environment=("torch 2.9, now 2.10",))
    shown = {
        "black-or-noise": replace(case, findings=(finding("broken_output"),)),
        "other-video-after-update": replace(case, baseline=baseline),
        "unpairable": replace(case, status="unpairable"),
        "out-of-memory": replace(error_case(), error="cuda:0 ran out of memory (…); try --offload model"),
    }
    for name, result in shown.items():
        assert symptoms_of(result) == [name]
        assert explained([result])[name].title == read_symptom(name).title
        assert name in SYMPTOMS
    assert not symptoms_of(case)
