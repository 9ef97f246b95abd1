"""From an ai-toolkit output folder to a regression test that passes and fails as it should."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from parity.case.load import DEMO
from parity.cli.main import main
from tests.reports.test_report_browser import saved_approvals

JOBS = ("t2v_basic", "i2v_basic", "t2v_mixed_scale")
KNOWN = "scheduler,lora_application,precision"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: jobs beside their checkpoints. Cases drawn once are not drawn again."""
    folder = tmp_path_factory.mktemp("disk")
    shutil.copytree(DEMO / "models", folder / "models")
    for name in JOBS:
        shutil.copytree(DEMO / "jobs" / name, folder / "jobs" / name)
    return folder


@pytest.fixture
def parity(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(disk)
    monkeypatch.setenv("WAN_PARITY_CACHE", str(disk / "cache"))

    def parity(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    return parity


@pytest.mark.draws
def test_from_a_folder_to_a_gate(parity: Callable[..., tuple[int, str]], disk: Path) -> None:
    for name in JOBS:
        code, said = parity("import", f"jobs/{name}", "--toolkit", "0.12.26", "--expect", KNOWN)
        assert code == 0
        assert re.search(r"^\d written$", said, re.MULTILINE)
    assert len(list(disk.glob("cases/*/*.yaml"))) == 6
    code, said = parity("run", "cases")
    assert code == 0, said
    assert "6 cases: 6 expected_drift" in said
    code, said = parity("baseline", "check")
    assert code == 2
    assert "`parity baseline accept` creates it" in said
    code, said = parity("baseline", "accept", "--all")
    assert code == 0
    assert "6 written to baselines" in said
    code, said = parity("baseline", "check")
    assert code == 0
    assert "6 cases: 6 unchanged" in said
    code, said = parity("run", "cases", "--out", "again")  # from the cache
    assert code == 0
    code, said = parity("baseline", "check", "--results", "again")
    assert code == 0

    case = disk / "cases" / "tiny_t2v" / "tiny_t2v-000000500-1.yaml"
    case.write_text(case.read_text().replace("network_multiplier: 1.0", "network_multiplier: 0.98"))
    code, said = parity("run", str(case), "--out", "changed")
    assert code == 1
    code, said = parity("baseline", "check", "--results", "changed")
    assert code == 1
    assert "because of lora_scale 1.0 -> 0.98" in said


@pytest.mark.draws
def test_approvals_saved_in_the_report_are_accepted(
    parity: Callable[..., tuple[int, str]], disk: Path, chromium: Browser
) -> None:
    """Approvals are selected in a browser and applied by the command."""
    parity("import", "jobs/t2v_mixed_scale", "--toolkit", "0.12.26", "--out", "drifting")
    code, said = parity("run", "drifting", "--out", "seen")
    assert code == 1  # nothing was expected to differ
    page = chromium.new_page()
    page.goto((disk / "seen" / "report.html").as_uri())
    page.get_by_label("Approve tiny_t2v_mm-000000500-0").first.check()
    found = saved_approvals(page, disk)
    page.close()
    (disk / "approvals.json").write_text(json.dumps(found))
    accept = ("baseline", "accept", "--results", "seen", "--baselines", "approved")
    code, said = parity(*accept, "--from", "approvals.json")
    assert code == 0, said
    assert [path.name for path in (disk / "approved").glob("*.json")] == ["tiny_t2v_mm-000000500-0.json"]
    code, said = parity(*accept, "tiny_t2v_mm-*")
    assert code == 0, said
    assert len(list((disk / "approved").glob("*.json"))) == 2
    code, said = parity(*accept, "nothing-*")
    assert code == 2
    assert "nothing-*: matches no case with an output" in said
    found["cases"][0]["output_sha256"] = "ab" * 32
    (disk / "approvals.json").write_text(json.dumps(found))
    code, said = parity(*accept, "--from", "approvals.json")
    assert code == 2
    assert "the approved video is not the one in" in said
