"""`pytest parity/` as its users call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from parity.result import from_json
from tests.conftest import CaseFiles

ROOT = Path(__file__).parent.parent


def pytest_parity(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "parity/", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_one_test_a_case_with_the_verdict_as_failure(cases: CaseFiles, tmp_path: Path) -> None:
    quick = cases.request(sample_steps=1, num_frames=1)
    cases.write("fine", request=quick, expect=["frame_count", "steps"])
    cases.write("bad", request=quick)
    done = pytest_parity("--parity-cases", cases.folder, "--parity-out", tmp_path / "out", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_case[fine] PASSED" in done.stdout
    assert "test_case[bad] FAILED" in done.stdout
    assert "frame_count: 9 -> 1" in done.stdout
    assert "result = parity_session" not in done.stdout  # the verdict, not our internals
    results = from_json((tmp_path / "out" / "results.json").read_text())
    assert {case.id: case.status for case in results.cases} == {"bad": "drifted", "fine": "expected_drift"}
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_bad_case_file_stops_collection_with_one_message(cases: CaseFiles) -> None:
    cases.write("bad", modle="x")
    done = pytest_parity("--parity-cases", cases.folder)
    assert done.returncode != 0
    assert "did you mean model?" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_demo_is_collected_by_default() -> None:
    done = pytest_parity("--collect-only", "-q")
    assert done.returncode == 0, done.stdout
    assert "test_case[t2v-guitar-faithful]" in done.stdout
