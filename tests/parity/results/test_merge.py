"""Several results in one report, and one message for each results.json that cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.cli.main import main
from parity.results.case import Run
from parity.results.json_text import to_json
from parity.results.merge import merge, read_results
from reports.render import render
from tests.support.report_cases import Page, diagnosed_case, drifted_case, error_case, passed_case, run_of


def write(run: Run, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    path.write_text(to_json(run), encoding="utf-8")
    return path


def two_jobs(tmp_path: Path) -> list[Path]:
    """Two matrix jobs: one id occurs in both, each has its own stills of it."""
    first, second = tmp_path / "jobs/a", tmp_path / "jobs/b"
    old = replace(run_of(drifted_case(first, 5), error_case()), started="2026-11-19T09:00:00Z")
    new = replace(
        run_of(replace(drifted_case(second, 9), verdict="Here it is the second.")),
        command=("parity", "run", "my cases"),
        environment={"device": "cuda:0", "versions": {"torch": "2.14.0"}},
        finished="2026-11-20T12:00:00Z",
    )
    return [write(old, first), write(new, second)]


def test_one_result_stays_as_it_is(tmp_path: Path) -> None:
    run = run_of(passed_case(tmp_path), error_case())
    merged = merge([write(run, tmp_path)])
    assert (merged.run, merged.folder) == (run, tmp_path)


def test_every_run_keeps_environment_command_and_time(tmp_path: Path) -> None:
    paths = two_jobs(tmp_path)
    run = merge(paths).run
    first, second = run.environment["runs"]
    assert first["environment"]["versions"]["torch"] == "2.13.0"
    assert second["environment"] == {"device": "cuda:0", "versions": {"torch": "2.14.0"}}
    assert [entry["command"] for entry in (first, second)] == ["parity run 'cases/with space'", "parity run 'my cases'"]
    assert [entry["cases"] for entry in (first, second)] == [2, 1]
    assert [entry["results"] for entry in (first, second)] == [str(path) for path in paths]
    assert second["finished"] == "2026-11-20T12:00:00Z"
    assert (run.started, run.finished) == ("2026-11-19T09:00:00Z", "2026-11-20T12:00:00Z")
    assert run.command == ("parity", "report", *map(str, paths))


def test_what_one_run_lacks_the_whole_lacks(tmp_path: Path) -> None:
    first, second = two_jobs(tmp_path)
    write(replace(run_of(error_case()), finished=None), first.parent)
    assert merge([first, second]).run.finished is None


def test_cases_of_one_id_stay_apart_in_the_page(tmp_path: Path) -> None:
    paths = two_jobs(tmp_path)
    out = tmp_path / "page.html"
    assert main(["report", *map(str, paths), "--out", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    sections = {a["data-case"]: a["id"] for tag, a in page.elements if tag == "section" and "data-case" in a}
    assert sections["1"] == "case-broken"
    assert {sections["0"], sections["2"]} == {"case-t2v-guitar", "case-t2v-guitar-2"}
    assert len(page.json("stills-0")["preview"]) == 5
    assert len(page.json("stills-2")["preview"]) == 9
    for words in ("2.13.0", "2.14.0", "parity run 'my cases'", f"From {paths[0]}.", f"From {paths[1]}."):
        assert words in page.words


@pytest.mark.parametrize("ids", [("a", "a", "a-2"), ("a-2", "a", "a"), ("a", "a-2", "a-2", "a", "a-2-2"), ("a",) * 3])
def test_no_two_anchors_are_alike(ids: tuple[str, ...], tmp_path: Path) -> None:
    page = Page(render(run_of(*(replace(error_case(), id=name) for name in ids)), tmp_path))
    anchors = [attrs["id"] for tag, attrs in page.elements if tag == "section" and "data-case" in attrs]
    assert len(set(anchors)) == len(ids)
    assert {f"case-{name}" for name in ids} <= set(anchors)  # a link to an id finds a case of that id


def test_one_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    path = write(run_of(error_case()), tmp_path)
    assert len(merge([path, tmp_path]).run.cases) == 1


@pytest.mark.parametrize("value", ["../b/artifacts/t2v-guitar/preview", "/etc", "../../.."])
def test_stills_of_a_neighbour_are_not_read(tmp_path: Path, value: str) -> None:
    first, second = two_jobs(tmp_path)
    case = replace(drifted_case(tmp_path / "other"), artifacts={"preview_frames": value})
    write(run_of(case), first.parent)
    merged = merge([first, second])
    assert merged.run.cases[0].artifacts == {}
    assert any(value in note and "outside" in note for note in merged.run.cases[0].notes)
    assert set(merged.run.cases[1].artifacts) == {"preview_frames", "output_frames"}


def test_stills_of_trials_move_with_their_case(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write(run_of(diagnosed_case(first)), first)
    case = diagnosed_case(second)
    assert case.diagnosis is not None
    away = case.diagnosis.with_stills(lambda value: "../a/secret" if "broken" in value else value)
    write(run_of(replace(case, diagnosis=away)), second)
    merged = merge([first, second])
    here, there = (case.diagnosis.trials() for case in merged.run.cases if case.diagnosis is not None)
    assert here["gain:scheduler"].stills == "a/artifacts/t2v-guitar/trials/1-only-scheduler-fixed"
    assert here["waterfall:1"] == here["gain:scheduler"]
    assert all((merged.folder / str(trial.stills)).is_dir() for trial in here.values())
    assert there["gain:scheduler"].stills == "b/artifacts/t2v-guitar/trials/1-only-scheduler-fixed"
    assert there["loss:scheduler"].stills is None
    assert sum("../a/secret" in note and "outside" in note for note in merged.run.cases[1].notes) == 1


def results(**changes: Any) -> str:
    return json.dumps(json.loads(to_json(run_of(error_case()))) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (results(schema_version=0), "schema_version is 0, this wan-parity reads 1: an older wan-parity wrote it; run"),
        (
            results(schema_version=2),
            "schema_version is 2, this wan-parity reads 1: a newer wan-parity wrote it; update",
        ),
        (results(schema_version="1"), "not a results.json of wan-parity"),
        (results(schema_version=True), "not a results.json of wan-parity"),
        (results()[:-30], "ends too early"),
        (results()[:700], "ends too early"),
        (results().replace(":", "=", 1), "the JSON is damaged at line 1"),
        ("", "the file is empty; copy it again"),
        (" \n", "the file is empty; copy it again"),
        ("<html></html>", "not JSON; pass the results.json"),
        ("\x00\x01", "not JSON; pass the results.json"),
        ('{"name": "left-pad", "version": "1.3.0"}', "not a results.json of wan-parity"),
        ('{"schema_version": 1}', "not a results.json of wan-parity"),
        ("[1, 2]", "not a results.json of wan-parity"),
        ("[" * 100_000, "is nested too deeply"),
        (results(cases=[{"id": "a"}]), "not a results.json that `parity run` wrote: cases.0.status"),
        (results(cases=3), "not a results.json that `parity run` wrote: cases: "),
        (results(environment={"x": "number"}).replace('"number"', "1e400"), "line 1: 1e400 is not a usable number"),
        (results(environment={"x": "number"}).replace('"number"', "9" * 200), "of 200 digits is not a usable number"),
        (
            to_json(run_of(error_case())).replace('"environment": {', '"environment": {"x": [-1.5E+400],', 1),
            "-1.5E+400 is not a usable number",
        ),
    ],
)
def test_what_cannot_be_read_is_one_message(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(run_of(error_case()), tmp_path / "good")
    bad = tmp_path / "bad.json"
    bad.write_text(text, encoding="utf-8")
    assert main(["report", str(good), str(bad), "--out", str(tmp_path / "page.html")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"parity: {bad}: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_what_only_looks_like_a_number_is_read(tmp_path: Path) -> None:
    texts = {"a": "ab5e1239", "b": "5e123456", "c": ": 1e400", "d": "9" * 200}
    write(replace(run_of(error_case()), environment=texts), tmp_path / "good")
    assert read_results(tmp_path / "good" / "results.json").environment == texts


def test_what_is_no_text_or_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.webp").write_bytes(b"RIFF\xff\xfe\x80")
    for name, said in (("picture.webp", "not a text file; pass"), ("gone.json", "No such file or directory; pass")):
        assert main(["report", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"parity: {tmp_path / name}: {said}")
        assert len(error.splitlines()) == 1


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(to_json(run_of(error_case())), encoding="utf-8-sig")
    assert merge([path]).run == run_of(error_case())


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "much", "25MB", ""])
@pytest.mark.parametrize("command", [["report", "x"], ["run"], ["diagnose", "x"]], ids=lambda words: words[0])
def test_an_invalid_size(command: list[str], value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--max-size", value])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.endswith(f"argument --max-size: must be a number of megabytes above 0, e.g. 25, not {value!r}\n")


def test_the_page_keeps_to_its_size(tmp_path: Path) -> None:
    run = run_of(drifted_case(tmp_path, 40))
    path = write(run, tmp_path)
    limit = (len(render(run, tmp_path).encode()) - 5_000) / 2**20
    sizes = []
    for value in (f"{limit:.6f}", "25"):
        assert main(["report", str(path), "--max-size", value]) == 0
        sizes.append((tmp_path / "report.html").stat().st_size)
    assert limit * 2**20 - 5_000 < sizes[0] <= limit * 2**20 < sizes[1]


def test_a_page_that_cannot_be_written_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(run_of(error_case()), tmp_path)
    (tmp_path / "file").write_text("")
    for flag in ("--out", "--summary"):
        assert main(["report", str(path), flag, str(tmp_path / "file/x")]) == 2
        error = capsys.readouterr().err
        assert str(tmp_path / "file/x") in error
        assert "cannot be written" in error
        assert len(error.splitlines()) == 1
