"""The job summary and the annotations: their content, their escaping, and GitHub's limits."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from parity.cli.main import main
from parity.cli.run import _write_to_github
from parity.results.case import CaseResult, FindingResult, Run
from parity.results.diagnosis import Diagnosis, FactorCost
from parity.results.json_text import to_json
from reports.github import (
    ANNOTATION_LIMIT,
    COMMENT_LIMIT,
    SUMMARY_LIMIT,
    code,
    comment,
    markdown,
    summary,
    workflow_commands,
)
from tests.conftest import CaseFiles
from tests.support.report_cases import NO_LPIPS, drifted_case, error_case, passed_case, run_of

HOSTILE = (
    "</td></pre><script>alert(1)</script> <img src=x onerror=alert(1)> | a \\| b `` ` *bold* [x](http://evil.example) "
    "![y](https://evil.example/y.png) $x^2$ ~~no~~ @someone #12 GH-7 www.evil.example mailto:a@b.example\r\n\n"
    "# heading\n- item\n```\n\u202egnihtemos\x07 \U0001f600 \udcff"
)
COLUMNS = 8


def tokens(text: str) -> list[Token]:
    """Parse Markdown; the inline parts are listed with the blocks."""
    found = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found += [token, *(token.children or ())]
    return found


def rows(text: str) -> list[list[str]]:
    """Cells of the table's body, as they are read."""
    table: list[list[str]] = []
    inside = False
    for token in tokens(text):
        if token.type == "tr_open":
            table.append([])
        elif token.type in ("td_open", "td_close"):
            inside = token.type == "td_open"
            if inside:
                table[-1].append("")
        elif inside and token.type in ("text", "code_inline", "text_special"):
            table[-1][-1] += token.content
    return [row for row in table if row]


def diagnosis() -> Diagnosis:
    costs = [
        FactorCost(
            factor="scheduler", preview="euler", inference="unipc", fix="pipe.scheduler = …", level="visible", rank=1
        ),
        FactorCost(factor="precision", preview="cast", inference="kept", fix="cast all", level="rounding", rank=2),
    ]
    return Diagnosis(mode="full", sentence="scheduler costs most", explained=True, factors=tuple(costs))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(passed_case(tmp_path), error_case(), replace(drifted_case(tmp_path), diagnosis=diagnosis()))


def test_a_metric_that_a_case_asked_for_has_a_column(run: Run, tmp_path: Path) -> None:
    assert "VMAF" not in summary(run, tmp_path)
    metrics = {**run.cases[0].metrics, "vmaf": replace(NO_LPIPS, unavailable="no filter libvmaf")}
    text = summary(replace(run, cases=(replace(run.cases[0], metrics=metrics), *run.cases[1:])), tmp_path)
    assert "SSIM, worst frame | VMAF, worst frame |" in text
    assert [row[5] for row in rows(text)] == ["–", "–", "n/a"]


def test_the_verdict_then_failures_first(run: Run, tmp_path: Path) -> None:
    text = summary(run, tmp_path)
    assert text.splitlines()[0] == "## wan-parity: 1 of 3 cases drifted unexpectedly, 1 could not be run."
    assert [row[1] for row in rows(text)] == ["t2v-guitar", "broken", "i2v"]
    assert rows(text)[0] == [
        "❌ drifted",
        "t2v-guitar",
        "wan21_14b",
        "30.04 dB",
        "0.7510",
        "scheduler, lora_application",
        "scheduler",
        "7.6 s",
    ]
    assert rows(text)[1][3:] == ["–", "–", "–", "–", "–"]
    assert rows(text)[2][3:5] == ["∞ dB", "1.0000"]


def test_a_failed_case_says_why_where_and_how_to_run_it_again(run: Run, tmp_path: Path) -> None:
    text = summary(run, tmp_path)
    spans = [token.content for token in tokens(text) if token.type == "code_inline"]
    stills = [f"artifacts/t2v-guitar/{side}/0006.webp" for side in ("preview", "output")]
    assert [span for span in spans if span.endswith(".webp")] == stills  # of the drifted case alone
    assert all((tmp_path / still).is_file() for still in stills)
    assert "pipe.scheduler = …" in spans
    assert [span for span in spans if span.startswith("parity run")] == [
        "parity run 'cases/t2v guitar.yaml'",
        "parity run cases/broken.yaml",
        "parity run 'cases/with space'",
    ]
    assert (
        "<pre>\nWeightsError: models/lora.safetensors: is not a complete safetensors file; copy it again\n</pre>"
        in text
    )


def test_stills_that_are_not_there_are_not_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "artifacts/t2v-guitar/output/0006.webp").unlink()
    text = summary(run, tmp_path)
    assert "preview/0006.webp" in text
    assert "output/0006.webp" not in text


def test_an_unfinished_run_says_so(run: Run, tmp_path: Path) -> None:
    assert "Not finished" not in summary(run, tmp_path)
    assert "Not finished" in summary(replace(run, finished=None), tmp_path)


def hostile_case(folder: Path) -> CaseResult:
    finding = FindingResult(factor=HOSTILE, preview=HOSTILE, inference=HOSTILE, note=HOSTILE)
    return replace(
        drifted_case(folder),
        id=HOSTILE,
        model=HOSTILE,
        verdict=HOSTILE,
        case_file=HOSTILE,
        findings=(finding, finding),
        error=HOSTILE + "!",
        diagnosis=replace(diagnosis(), sentence=HOSTILE),
    )


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = summary(replace(run_of(hostile_case(tmp_path), error_case()), command=("parity", HOSTILE)), tmp_path)
    found = tokens(text)
    assert {token.type for token in found if token.type.endswith("_open")} == {
        f"{name}_open"
        for name in ("heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item")
    }
    assert not [token for token in found if token.type in ("html_inline", "image", "fence", "code_block")]
    blocks = [token.content for token in found if token.type == "html_block"]
    assert len(blocks) == 2  # both errors
    assert all(re.findall("<[^>]*>", block) == ["<pre>", "</pre>"] for block in blocks)
    assert [len(row) for row in rows(text)] == [COLUMNS, COLUMNS]
    assert len([token for token in found if token.type == "heading_open"]) == 3
    assert rows(text)[0][1] == shown(HOSTILE)
    prose = "".join(token.content for token in found if token.type == "text")
    assert not re.search(r"@\w|#\d|://|www\.|mailto:|GH-\d", prose)
    assert "\u202e" not in text
    text.encode()  # no half of a character is left


def shown(text: str) -> str:
    """Text on one line, what cannot be seen made visible."""
    return " ".join(
        re.sub("[\u202e\udcff]", lambda match: f"\\u{ord(match[0]):x}", text.replace("\x07", "\\x07")).split()
    )


@pytest.mark.parametrize("text", ["a", "`a`", "a``b", " ", "", "a|b", "\\|", "`", "x\ny", "\\"])
def test_a_code_span_keeps_its_text(text: str) -> None:
    spans = [token.content for token in tokens(f"x {code(text)} y") if token.type == "code_inline"]
    assert spans == [" ".join(text.split()) or "(empty)"]


@pytest.mark.parametrize(
    "text", ["1 < 2 & 3 > 2 &amp;", "a|b", "a\\|b", "snake_case_name", "[a](b)", "**a** ~~b~~ `c` $d$", "\\"]
)
def test_a_sentence_reads_as_it_was_written(text: str) -> None:
    table = f"|a|\n|---|\n| {markdown(text)} |\n"
    assert rows(table) == [[text]]
    assert "".join(token.content for token in tokens(markdown(text)) if not token.children) == text


@pytest.mark.parametrize("limit", [SUMMARY_LIMIT, 60_000, 20_000, 3_000, 1_000])
def test_stays_below_the_limit_and_says_what_it_left_out(tmp_path: Path, limit: int) -> None:
    failed = replace(drifted_case(tmp_path), verdict="x" * 10_000, case_file="y" * 10_000)
    cases = [replace(failed, id=f"drifted-{number}") for number in range(40)]
    cases += [replace(error_case(), id=f"passed-{number}", status="passed") for number in range(100)]
    text = summary(run_of(*cases), tmp_path, max_bytes=limit)
    assert 0 < len(text.encode()) <= limit
    assert len(text.encode()) > limit - 2600 or limit == SUMMARY_LIMIT  # no more left out than must be
    shown_rows = len(rows(text))
    details = text.count("### ")
    said = re.search(
        r"leaves out (?:the details of (\d+) cases that failed)?(?: and )?(?:(\d+) rows of the table)?", text
    )
    left = [int(number or 0) for number in said.groups()] if said else [0, 0]
    assert left == [40 - details, 140 - shown_rows]
    assert shown_rows == 140 or details == 0
    if shown_rows:
        assert rows(text)[0][1].startswith("drifted-")


def test_without_room_for_the_verdict_there_is_no_summary(run: Run, tmp_path: Path) -> None:
    assert summary(run, tmp_path, max_bytes=50) == ""
    assert summary(run, tmp_path, max_bytes=-1) == ""


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as GitHub's runner reads it."""
    found = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert found, line
    pairs = (pair.split("=", 1) for pair in found[2].split(","))
    return found[1], {name: unquote(value) for name, value in pairs}, unquote(found[3])


def test_annotations_of_what_failed_and_of_nothing_else(tmp_path: Path) -> None:
    odd = replace(
        drifted_case(tmp_path), id="a, b: 100%2C", case_file="cases/a,b:100%3A.yaml", verdict="50%0A :: of\r\nit, all"
    )
    unpairable = replace(error_case(), status="unpairable", id="lost")
    fine = [replace(error_case(), status=status) for status in ("passed", "expected_drift")]
    lines = workflow_commands(run_of(*fine, unpairable, error_case(), odd))
    assert [parse(line) for line in lines] == [
        ("error", {"file": "cases/a,b:100%3A.yaml", "title": "a, b: 100%2C: drifted"}, "50%0A :: of\nit, all"),
        ("error", {"file": "cases/broken.yaml", "title": "broken: error"}, "The LoRA file cannot be read."),
        ("error", {"file": "cases/broken.yaml", "title": "lost: unpairable"}, "The LoRA file cannot be read."),
    ]
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_hostile_annotations_are_one_line_each(tmp_path: Path) -> None:
    (line,) = workflow_commands(run_of(hostile_case(tmp_path)))
    assert "\n" not in line
    assert "\r" not in line
    line.encode()
    kind, properties, message = parse(line)
    assert (kind, sorted(properties)) == ("error", ["file", "title"])
    assert message.startswith("</td></pre><script>")


def test_annotations_github_would_not_show_are_counted() -> None:
    cases = [replace(error_case(), id=str(number)) for number in range(ANNOTATION_LIMIT + 3)]
    lines = workflow_commands(run_of(*cases))
    assert [line.split(" ")[0] for line in lines] == ["::error"] * ANNOTATION_LIMIT + ["::notice"]
    assert lines[-1].endswith("::3 more cases that failed are in the job summary")
    assert len(workflow_commands(run_of(*cases[:ANNOTATION_LIMIT]))) == ANNOTATION_LIMIT


def test_paths_are_relative_to_the_repository(tmp_path: Path) -> None:
    inside = replace(error_case(), case_file=str(tmp_path / "repo/cases/a.yaml"))
    outside = replace(error_case(), case_file=str(tmp_path / "b.yaml"))
    first, second = workflow_commands(run_of(inside, outside), workspace=tmp_path / "repo")
    assert parse(first)[1]["file"] == "cases/a.yaml"
    assert parse(second)[1]["file"] == str(tmp_path / "b.yaml")
    assert "`parity run cases/a.yaml`" in summary(run_of(inside), tmp_path, workspace=tmp_path / "repo")


@pytest.fixture
def results(run: Run, tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(to_json(run), encoding="utf-8")
    return tmp_path


def test_report_github_appends_and_prints_annotations(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = results / "step.md"
    target.write_text("of another command", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(Path.cwd()))
    arguments = ["report", str(results), "--out", str(results / "page.html")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [str(results / "page.html")]
    assert target.read_text(encoding="utf-8") == "of another command"
    assert main([*arguments, "--github", "--summary", str(results / "new/own.md")]) == 0
    page, *lines = capsys.readouterr().out.splitlines()
    assert page == str(results / "page.html")
    assert [parse(line)[0] for line in lines] == ["error", "error"]
    own = (results / "new/own.md").read_text(encoding="utf-8")
    assert target.read_text(encoding="utf-8") == f"of another command\n{own}"
    assert own.startswith("## wan-parity: 1 of 3")


def test_report_github_without_a_summary_is_one_message(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results), "--github"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("parity: --github: GITHUB_STEP_SUMMARY is not set")
    assert not (results / "report.html").exists()


def test_a_full_summary_is_left_alone(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = results / "step.md"
    target.write_bytes(b"x" * (SUMMARY_LIMIT - 10))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    assert main(["report", str(results), "--github"]) == 2
    assert "is full" in capsys.readouterr().err
    assert target.stat().st_size == SUMMARY_LIMIT - 10


def test_the_summary_counts_the_bytes_already_in_the_file(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = results / "step.md"
    target.write_bytes(b"x" * (SUMMARY_LIMIT - 900))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    assert main(["report", str(results), "--github"]) == 0
    assert SUMMARY_LIMIT - 900 < target.stat().st_size <= SUMMARY_LIMIT
    assert b"leaves out" in target.read_bytes()


def test_run_tells_github_by_itself(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cases.write(preview={"config": str(tmp_path / "job.yaml"), "sample": 0, "video": str(still_video())})
    (tmp_path / "job.yaml").write_text(random_seed_job(), encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    arguments = ["run", str(path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(arguments) == 3
    assert not (tmp_path / "step.md").exists()  # GITHUB_ACTIONS is not set
    assert "::error" not in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(arguments) == 3
    assert parse(capsys.readouterr().out.splitlines()[-1])[1]["title"] == "case: unpairable"
    assert (tmp_path / "step.md").read_text(encoding="utf-8").count("## wan-parity: 1 of 1 case") == 1
    assert main([*arguments, "--json", "--no-html"]) == 3
    said = capsys.readouterr()
    assert said.out.rstrip().endswith("}")
    assert "::error" in said.err
    assert (tmp_path / "step.md").read_text(encoding="utf-8").count("## wan-parity: 1 of 1 case") == 2


def still_video() -> Path:
    from parity.case.load import DEMO

    return sorted((DEMO / "jobs/t2v_basic/samples").glob("*_0.webp"))[0]


def random_seed_job() -> str:
    from parity.case.load import DEMO

    text = (DEMO / "jobs/t2v_basic/config.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"seed: \d+", "seed: -1", text)
    assert changed != text
    return changed


def test_a_summary_that_cannot_be_written_does_not_fail_a_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))  # a folder
    _write_to_github(run, tmp_path, argparse.Namespace(json=False))
    said = capsys.readouterr()
    assert "GITHUB_STEP_SUMMARY" in said.err
    assert "::error" in said.out


def test_a_comment_lists_what_failed_and_counts_the_rest(run: Run, tmp_path: Path) -> None:
    text = comment(run, tmp_path)
    assert [row[1] for row in rows(text)] == ["t2v-guitar", "broken"]
    assert "1 other case is as expected." in text
    assert "pipe.scheduler = …" in text
    green = comment(run_of(run.cases[0]), tmp_path)
    assert rows(green) == []
    assert "1 case is as expected." in green


def test_a_comment_is_short_enough_for_github_and_says_what_it_left_out(tmp_path: Path) -> None:
    case = drifted_case(tmp_path)
    text = comment(run_of(*(replace(case, id=f"{'é' * 40}{number}") for number in range(2000))), tmp_path)
    assert 30_000 < len(text.encode()) <= COMMENT_LIMIT
    assert "To stay below 60 KiB, this summary leaves out" in text


def test_report_writes_a_comment_and_junit_and_names_the_option_that_fails(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", str(results), "--comment", str(results / "new/c.md"), "--junit", str(results / "new/j.xml")]
    assert main(arguments) == 0
    assert (results / "new/c.md").read_text(encoding="utf-8").startswith("## wan-parity: 1 of 3")
    assert ET.parse(results / "new/j.xml").getroot().tag == "testsuites"
    assert main(["report", str(results), "--junit", str(results / "results.json" / "j.xml")]) == 2
    assert "parity: --junit " in capsys.readouterr().err


def test_the_next_command_names_results_as_they_lie_in_the_repository(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "parity-out"
    text = comment(run, folder, workspace=tmp_path)
    assert "--results parity-out/results.json" in text
    assert str(tmp_path) not in text.partition("Next:")[2]
