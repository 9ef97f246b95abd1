"""Baselines: the file, and accepting. Runs no model; see test_baseline_gate for real runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.approvals import read_approvals
from parity.baselines.file import file_name, from_result, from_text, to_text
from parity.baselines.recipes import without_paths
from parity.case.load import DEMO
from parity.cli.main import main
from parity.results.case import CaseResult, VideoResult
from parity.results.last_run import last_results
from pipelines.errors import UsageError
from tests.support.baseline_samples import (
    ACCEPTED,
    ENVIRONMENT,
    OTHER,
    baseline_of,
    no_output,
    recipe,
    result,
    sha,
    state,
    video,
    write_run,
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- the file
def test_the_file_is_sorted_compact_and_reads_back() -> None:
    baseline = baseline_of(result(psnr=[math.inf, *[36.123456] * 8]))
    text = to_text(baseline)
    assert from_text(text) == baseline
    data = json.loads(text)
    assert json.dumps(data, sort_keys=True) == json.dumps(data)
    assert (data["schema_version"], data["kind"]) == (1, "wan-parity baseline")
    assert data["metrics"]["psnr"]["per_frame"] == [None, *[36.123] * 8]
    assert sum("per_frame" in line and line.endswith("],") for line in text.splitlines()) == 2
    assert len(text.splitlines()) < 140
    assert text.endswith("}\n")


def test_the_file_names_no_folder_of_the_machine() -> None:
    text = to_text(from_result(result(), ENVIRONMENT, ACCEPTED))
    assert str(DEMO) not in text
    assert "somebody" not in text
    assert '"path": "tiny_t2v.safetensors"' in text
    assert '"checkpoint": "tiny-wan-t2v"' in text
    assert without_paths({"source": "https://x.org/a/ctrl.png?sig=secret"}) == {"source": "ctrl.png"}
    kept = {"checkpoint": "Wan-AI/Wan2.1-T2V-14B-Diffusers", "prompt": "/imagine a/b", "text_encoder": r"C:\te\umt5"}
    kept |= {"transformers": "/home/somebody/experts", "vae": "/home/somebody/wan/vae"}
    assert without_paths(kept) == kept | {"text_encoder": "umt5", "transformers": "experts", "vae": "vae"}


def broken(**changes: Any) -> str:
    return json.dumps(json.loads(to_text(baseline_of(result()))) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (broken(schema_version=2), "schema_version is 2, this wan-parity reads 1: a newer wan-parity wrote it; update"),
        (
            broken(schema_version=0),
            "schema_version is 0, this wan-parity reads 1: an older wan-parity wrote it; accept",
        ),
        (broken(schema_version="1"), "not a baseline of wan-parity"),
        (broken(kind="results"), "not a baseline of wan-parity"),
        (broken()[:-40], "not valid JSON: line 1"),
        ("", "not valid JSON"),
        ("<<<<<<< HEAD\n{}", "not valid JSON: line 1"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "not a baseline of wan-parity"),
        (broken(output={"frames": 9}), "output.width: Field required"),
        (broken(metrics={"psnr": 3}), "metrics.psnr"),
        (broken(preview_sha256=None), "preview_sha256: Input should be a valid string"),
        (broken(tolerance=3), "tolerance: Unexpected keyword argument"),
        (broken(accepted={"at": 3, "run_started": "", "status": "passed"}), "accepted.at"),
        (broken(accepted={"at": "", "run_started": "", "status": "fine"}), "accepted.status"),
        (broken().replace("40.0", '"40.0"'), "metrics.psnr"),
        (broken().replace("40.0", "NaN"), "NaN is not a usable number"),
    ],
)
def test_what_is_no_baseline_is_one_message(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines").mkdir()
    Path("baselines/guitar.json").write_text(text)
    for command in ("check", "show"):
        assert main(["baseline", command]) == 2
        error = capsys.readouterr().err
        assert error.startswith("parity: baselines/guitar.json: ")
        assert said in error
        assert len(error.splitlines()) == 1
    assert main(["baseline", "accept", "guitar"]) == 0  # as the message says
    assert "replaces a file that cannot be read" in capsys.readouterr().out
    assert main(["baseline", "check"]) == 0


def test_a_file_of_another_case(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines").mkdir()
    Path("baselines/piano.json").write_text(to_text(baseline_of(result())))
    assert main(["baseline", "check"]) == 2
    assert "baseline of guitar, which belongs in guitar.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case_id", "name"),
    [
        ("t2v-guitar.1", "t2v-guitar.1.json"),
        ("../../etc/x", "%2E.%2F..%2Fetc%2Fx.json"),
        (".hidden", "%2Ehidden.json"),
        ("a b:c\\d", "a%20b%3Ac%5Cd.json"),
        ("größe", "gr%C3%B6%C3%9Fe.json"),
    ],
)
def test_any_id_is_a_safe_file_name(case_id: str, name: str) -> None:
    assert file_name(case_id) == name
    write_run(result(case_id))
    assert main(["baseline", "accept", "--all"]) == 0
    assert list(state()) == [name]
    assert main(["baseline", "check"]) == 0


def test_ids_that_are_one_file_on_some_systems(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("guitar"), result("Guitar"))
    assert main(["baseline", "accept", "--all"]) == 2
    assert "guitar.json and Guitar.json are the same file on some systems" in capsys.readouterr().err
    assert state() == {}


# --- accept
def test_accept_without_names_only_shows(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept"]) == 2
    said = capsys.readouterr()
    assert "guitar  new  passed; psnr 40.00, ssim 0.9800" in said.out
    assert said.err == "parity: nothing was accepted: name the cases, or pass --all or --from approvals.json\n"
    assert not Path("baselines").exists()


def test_all_leaves_out_what_drifted_or_has_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(
        result("fine"), result("odd", status="drifted"), no_output("broken"), result("known", status="expected_drift")
    )
    assert main(["baseline", "accept", "--all"]) == 1
    out = capsys.readouterr().out
    assert sorted(state()) == ["fine.json", "known.json"]
    assert "odd     left out  drifted: accepted only when named" in out
    assert "broken  left out  error: no output to accept" in out
    assert main(["baseline", "accept", "odd"]) == 0
    assert json.loads(state()["odd.json"])["accepted"]["status"] == "drifted"


def test_named_is_all_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("fine"), no_output("broken"))
    for name, said in (("broken", "broken: no output to accept"), ("fin", "did you mean fine?")):
        assert main(["baseline", "accept", "fine", name]) == 2
        assert said in capsys.readouterr().err
        assert state() == {}


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar", "--dry-run"]) == 0
    assert "1 would be written to baselines; nothing was written (--dry-run)" in capsys.readouterr().out
    assert not Path("baselines").exists()


def test_what_changes_is_printed_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    before = state()
    other = result("b", frames="QRSTUVWXY", psnr=[39.0] * 9, recipes={"inference": recipe(lora_scales=[0.98])})
    write_run(result("a"), other, environment=ENVIRONMENT, started="2026-11-23T01:00:00+00:00")
    capsys.readouterr()
    assert main(["baseline", "accept", "--all"]) == 0
    out = capsys.readouterr().out
    assert "  a  unchanged\n" in out
    assert "  b  changed    bits, metrics (psnr 40.00 -> 39.00), lora_scale 1.0 -> 0.98\n" in out
    assert state()["a.json"] == before["a.json"]  # no new date for the same bits
    assert state()["b.json"] != before["b.json"]
    assert main(["baseline", "accept", "--all"]) == 0
    assert "nothing to write" in capsys.readouterr().out


def test_the_default_is_the_run_started_last(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no run found in reports/out"):
        last_results()
    write_run(result("old"), name="z", started="2026-11-20T01:00:00+00:00")
    new = write_run(result("new"), name="a", started="2026-11-22T01:00:00+02:00")
    write_run(result("older"), name="m", started="2026-11-21T22:59:59+00:00")
    assert last_results() == new
    Path("reports/out/broken").mkdir()
    Path("reports/out/broken/results.json").write_text("{")
    os.utime("reports/out/broken/results.json", (1, 1))
    assert last_results() == new
    future = new.stat().st_mtime + 60
    os.utime("reports/out/broken/results.json", (future, future))
    assert main(["baseline", "check"]) == 2
    assert "broken/results.json: cannot be read; pass another run" in capsys.readouterr().err


def test_several_results_are_each_checked_in_their_own_environment(capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(result("a"), name="one")
    second = write_run(result("a", frames="QRSTUVWXY"), result("b"), name="two", environment=OTHER)
    both = ["--results", str(first), "--results", str(second.parent)]
    assert main(["baseline", "accept", "a", *both]) == 2
    assert f"a: is in {first} and {second}; give one" in capsys.readouterr().err
    assert main(["baseline", "accept", "b", *both]) == 0
    assert main(["baseline", "accept", "a", "--results", str(first)]) == 0
    capsys.readouterr()
    assert main(["baseline", "check", *both]) == 0
    out = capsys.readouterr().out
    assert "3 cases: 3 unchanged" in out
    assert "different environment for 1 case (compared by tolerance): torch 2.13.0 -> 2.14.0" in out


# --- approvals
def approvals(*cases: CaseResult, **changes: Any) -> Path:
    data: dict[str, Any] = {
        "schema_version": 1,
        "kind": "wan-parity approvals",
        "results_started": "2026-11-22T01:00:00+00:00",
        "cases": [
            {"id": case.id, "output_sha256": case.output.sha256, "raw_sha256": case.output.raw_sha256}
            for case in cases
            if case.output is not None
        ],
    }
    Path("approvals.json").write_text(json.dumps(data | changes))
    return Path("approvals.json")


def test_approved_cases_are_accepted_drifted_ones_too() -> None:
    odd, fine = result("odd", status="drifted"), result("fine")
    write_run(odd, fine, result("third"))
    assert main(["baseline", "accept", "--from", str(approvals(odd, fine))]) == 0
    assert sorted(state()) == ["fine.json", "odd.json"]


@pytest.mark.parametrize(
    ("results", "file", "found"),
    [
        ("reports/out/old/results.json", "approvals.json", True),
        ("build/results.json", "build/approvals.json", True),  # beside it
        ("build/results.json", "approvals.json", True),  # as recorded
        ("elsewhere/results.json", "approvals.json", False),
    ],
)
def test_approvals_find_their_results(results: str, file: str, found: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the last run's, but those of the run that was viewed."""
    old = write_run(result("a"), name="old", started="2026-11-20T01:00:00+00:00")
    write_run(result("a", frames="QRSTUVWXY"), name="new", started="2026-11-21T01:00:00+00:00")
    recorded = [] if "/" in file else ["build/results.json"]
    path = approvals(result("a"), results_started="2026-11-20T01:00:00+00:00", results=recorded)
    for source, target in ((old, results), (path, file)):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    assert main(["baseline", "accept", "--from", file]) == (0 if found else 2)
    said = capsys.readouterr()
    if found:
        assert f"{results}: run of 2026-11-20" in said.out
    else:
        assert "whose results are in none of ., build, reports/out; pass --results FOLDER" in said.err
        assert state() == {}


def test_approvals_of_a_merged_report_find_all_results() -> None:
    """Their run started when the first of them did."""
    files = [
        str(write_run(result(name), name=f"../../{name}", started=f"2026-11-2{day}T01:00:00+00:00"))
        for day, name in ((1, "a"), (2, "b"))
    ]
    started = "2026-11-21T01:00:00+00:00"
    path = approvals(result("a"), result("b"), results_started=started, results=files)
    assert main(["baseline", "accept", "--from", str(path)]) == 0
    assert sorted(state()) == ["a.json", "b.json"]


def test_an_approved_error_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a", status="error"))
    assert main(["baseline", "accept", "--from", str(approvals(result("a")))]) == 2
    assert "a: an error cannot be accepted" in capsys.readouterr().err


@pytest.mark.parametrize("other", [video("abcdXfghi"), video(sha256=sha("x")), video(raw_sha256=None)])
def test_another_video_than_the_one_approved(other: VideoResult, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    path = approvals(result("a"), result("b", output=other))
    assert main(["baseline", "accept", "--from", str(path)]) == 2
    error = capsys.readouterr().err
    assert "b: the approved video is not the one in reports/out/now/results.json; nothing was accepted" in error
    assert state() == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "schema_version is 2, this wan-parity reads 1"),
        ({"kind": "x"}, "not an approvals file"),
        ({"results_started": "2026-11-21T01:00:00+00:00"}, "for the run started 2026-11-21T01:00:00+00:00"),
        ({"results_started": 3}, "results_started: Input should be a valid string"),
        ({"cases": []}, "cases: Tuple should have at least 1 item"),
        ({"cases": [{"id": "guitar"}]}, "cases.0.output_sha256: Field required"),
        (
            {"cases": [{"id": "x", "output_sha256": "", "raw_sha256": None}]},
            "approves x, which is not in the results",
        ),
        ({"cases": [{"id": "x", "output_sha256": "", "raw_sha256": None}] * 2}, "approves x twice"),
    ],
)
def test_approvals_that_cannot_be_followed(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(result())
    assert main(["baseline", "accept", "--from", str(approvals(result(), **changes))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("parity: approvals.json: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert state() == {}


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"[1", b"[]", b"[" * 100_000])
def test_approvals_that_cannot_be_read(data: bytes) -> None:
    Path("approvals.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"^approvals\.json: "):
        read_approvals(Path("approvals.json"))
