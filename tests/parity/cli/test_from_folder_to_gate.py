"""From an ai-toolkit output folder to a regression test that passes and fails as it should."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from parity.case.load import DEMO
from parity.cli.main import main
from parity.results.merge import read_results
from tests.parity.pytest_plugin.test_pytest_entry import pytest_parity_here
from tests.support.browser import saved_approvals
from tests.support.drawn import Drawn
from tests.support.prepared import python
from tests.support.steps import Runner

JOBS = ("t2v_basic", "i2v_basic", "t2v_mixed_scale")
KNOWN = "scheduler,lora_application,precision"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: jobs beside their checkpoints."""
    folder = tmp_path_factory.mktemp("disk")
    shutil.copytree(DEMO / "models", folder / "models")
    for name in JOBS:
        shutil.copytree(DEMO / "jobs" / name, folder / "jobs" / name)
    return folder


@pytest.fixture
def parity(
    disk: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The command in the user's folder, with the session's cache: other tests generate the same previews."""
    monkeypatch.chdir(disk)
    monkeypatch.setenv("WAN_PARITY_CACHE", str(drawn.root))

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
@pytest.mark.process
def test_accepting_makes_every_gate_green_until_something_changes(
    parity: Callable[..., tuple[int, str]], disk: Path
) -> None:
    """`run --baselines`, `baseline check`, pytest and the action agree at each stage; no case says what it expects."""
    parity("import", "jobs/t2v_basic", "--toolkit", "0.12.26", "--out", "plain")
    case = disk / "plain" / "tiny_t2v-000000500-1.yaml"
    baselines = ("--baselines", "accepted")

    def gates(out: str) -> tuple[int, int, int, int, str]:
        """The exit codes of the four, and what the run said."""
        red, said = parity("run", "plain", "--out", out, *baselines, "--no-html")
        checked, _ = parity("baseline", "check", "--results", out, *baselines)
        paths = {"cases": "plain", "out": f"{out}-pytest", "baselines": "accepted"}
        tested = pytest_parity_here(*(f"--parity-{name}={disk / path}" for name, path in paths.items()))
        step = Runner(disk, tuple(python()))("gate.py", CASES="plain", BASELINES="accepted", OUT=f"{out}-action")
        for other in (tested.stdout.replace(f"{disk}/", ""), step.said):
            assert_same_next_step(said, other)
        return red, checked, int(tested.returncode), step.code, said

    code, said = parity("run", "plain", "--out", "first")
    assert code == 1
    assert "to see why (the worst of 2): parity diagnose plain/tiny_t2v-000000500-0.yaml" in said
    assert "to look: open first/report.html" in said
    assert "if this is intended: parity expect plain --results first/results.json" in said
    code, said = parity("baseline", "accept", "tiny_*", "--results", "first", *baselines)
    assert code == 0
    assert "next: parity run plain --baselines accepted" in said
    *codes, said = gates("second")
    assert codes == [0, 0, 0, 0]
    assert "2 cases: 2 expected_drift" in said
    assert "as accepted 20" in said

    case.write_text(case.read_text().replace("network_multiplier: 1.0", "network_multiplier: 0.98"))
    *codes, said = gates("third")
    assert codes == [1, 1, 1, 1]
    assert "changed since it was accepted 20" in said
    assert "all 9 frames changed because of lora_scale 1.0 -> 0.98" in said
    (command,) = re.findall(r"if this is intended: parity (baseline accept .*)", said)
    code, said = parity(*shlex.split(command))
    assert code == 0
    *codes, said = gates("fourth")
    assert codes == [0, 0, 0, 0]
    code, said = parity("run", "plain", "--out", "without")  # its own rules alone: nothing was written to the cases
    assert code == 1
    code, said = parity("run", "plain", "--out", "without", "--resume", *baselines)  # what is kept is judged anew
    assert (code, said.count("finished before --resume")) == (0, 2)
    kept = [
        disk / "without" / case.artifacts["baseline_frames"]
        for case in read_results(disk / "without/results.json").cases
    ]
    assert [len(list(folder.glob("*.webp"))) for folder in kept] == [3, 3]
    assert parity("baseline", "check", "--results", "without", *baselines)[0] == 0
    code, said = parity("run", "plain", "--out", "without", "--resume")
    assert (code, said.count("finished before --resume")) == (1, 2)


@pytest.mark.draws
def test_baselines_that_are_not_there_yet(
    parity: Callable[..., tuple[int, str]], disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt folder is a mistake; one that pyproject.toml names is a project's first run, which is red."""
    parity("import", "jobs/t2v_basic", "--toolkit", "0.12.26", "--prompt", "0", "--out", "first_run")
    code, said = parity("run", "first_run", "--baselines", "basslines")
    assert code == 2
    assert "--baselines: folder not found: basslines" in said
    (tmp_path / "pyproject.toml").write_text('[tool.wan-parity]\nbaselines = "ci/baselines"\n')
    monkeypatch.chdir(tmp_path)
    cases = str(disk / "first_run")
    code, said = parity("run", cases, "--out", "out")
    assert code == 1
    assert "no baseline; by its own rules drifted" in said
    (command,) = re.findall(r"if this is intended: parity (baseline accept .*)", said)
    code, said = parity(*shlex.split(command))
    assert code == 0
    assert parity("run", cases, "--out", "again")[0] == 0


def assert_same_next_step(run: str, tested: str) -> None:
    """A failure of another gate says the same next command as the run, but for the folder of the results."""
    for pattern in (r"to see why[^:]*: (parity diagnose \S+)", r"if this is intended: (parity \w+ \w+ \S+)"):
        assert set(re.findall(pattern, run)) == set(re.findall(pattern, tested))


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
    found = saved_approvals(page, disk / "approvals.json")
    page.close()
    accept = ("baseline", "accept", "--results", "seen", "--baselines", "approved")
    code, said = parity("baseline", "accept", "--from", "approvals.json", "--baselines", "approved")
    assert code == 0, said  # the file says which results it is about
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
