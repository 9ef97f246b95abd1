"""Regressions that a baseline must catch, through real generations, `parity baseline check` and `pytest parity/`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from parity.cli.main import main
from parity.results.json_text import to_json
from parity.results.merge import read_results
from tests.conftest import CaseFiles
from tests.parity.pytest_plugin.test_pytest_entry import pytest_parity_here
from tests.support import faults

IDS = ("fine", "flipped", "dropped", "late", "scale", "shift")

SAID = {
    "flipped": ["frame 4 changed", "the recipe is unchanged: the code changed"],
    "dropped": ["8 frames instead of 9: frame 3 is missing"],
    "late": ["frame 2 is new, equal to frame 3; off by one: frames 3-8 are the baseline's 2-7", "frame 8 is missing"],
    "scale": ["all 9 frames changed", "because of lora_scale 1.0 -> 0.98"],
    "shift": ["all 9 frames changed", "because of scheduler.shift 3.0 -> 3.1"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A run that was accepted, and cases that have changed since."""

    cases: Path
    before: Path
    after: Path
    baselines: Path


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    folder = tmp_path_factory.mktemp("gate")
    cases = CaseFiles(folder / "cases")
    cases.folder.mkdir()
    quick = cases.request(sample_steps=2)
    for name in IDS[:4]:
        cases.write(name, request=quick, expect=["steps"])
    state = Broken(cases=cases.folder, before=folder / "before", after=folder / "after", baselines=folder / "baselines")
    options = ["--device", "cpu", "--no-html", "--out"]
    assert main(["run", str(cases.folder), "-k", "fine", *options, str(state.before)]) == 0
    run = read_results(state.before / "results.json")
    alike = tuple(replace(run.cases[0], id=name) for name in IDS)  # equal recipes draw equal bits
    (state.before / "results.json").write_text(to_json(replace(run, cases=alike)), encoding="utf-8")
    into = ["--results", str(state.before), "--baselines", str(state.baselines)]
    assert main(["baseline", "accept", "--all", *into]) == 0
    assert main(["baseline", "check", *into]) == 0
    quick = json.loads(json.dumps(quick))
    quick["loras"][0]["network_multiplier"] = 0.98
    cases.write("scale", request=quick, expect=["steps", "lora_scale"])
    euler = {"base": "faithful", "scheduler": {"family": "flow_match_euler", "shift": 3.1}}
    cases.write("shift", request=cases.request(sample_steps=2), pipeline=euler, expect=["steps", "scheduler"])
    with pytest.MonkeyPatch.context() as patch:
        faults.install(patch)
        main(["run", str(cases.folder), *options, str(state.after)])
    return state


@pytest.mark.draws
@pytest.mark.parametrize("name", SAID)
def test_check_fails_and_names_it(broken: Broken, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    into = ["--results", str(broken.after), "--baselines", str(broken.baselines)]
    assert main(["baseline", "check", name, *into]) == 1
    out = capsys.readouterr().out
    assert f"  {name}: CHANGED" in out
    for words in SAID[name]:
        assert words in out
    assert f"if this is intended: parity baseline accept {name} --results {broken.after}/results.json" in out


@pytest.mark.draws
def test_check_of_the_whole_run(broken: Broken, capsys: pytest.CaptureFixture[str]) -> None:
    into = ["--results", str(broken.after), "--baselines", str(broken.baselines)]
    assert main(["baseline", "check", *into]) == 1
    out = capsys.readouterr().out
    assert "  fine: ok: unchanged (bit-identical)\n" in out
    assert "6 cases: 5 changed, 1 unchanged\n" in out
    assert main(["baseline", "check", "fine", *into]) == 0


@pytest.mark.draws
def test_pytest_fails_and_names_it(broken: Broken, tmp_path: Path) -> None:
    paths: list[str | Path] = [
        "--parity-cases",
        broken.cases,
        "--parity-baselines",
        broken.baselines,
        "--parity-out",
        tmp_path / "out",
    ]
    with pytest.MonkeyPatch.context() as patch:
        faults.install(patch)
        done = pytest_parity_here(*paths, "--parity-device", "cpu", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_case[fine] XFAIL" in done.stdout  # drift as expected, and the baseline holds
    for name, said in SAID.items():
        assert f"test_case[{name}] FAILED" in done.stdout
        told = re.split(r"_+ test_case\[(\w+)\] _+", done.stdout.partition("short test summary")[0])
        message = dict(zip(told[1::2], told[2::2], strict=True))[name]
        assert "compared with its baseline:" in message
        for words in said:
            assert words in message
        assert f"parity baseline accept {name} --results {tmp_path}/out/results.json --baselines" in message
    by_baseline = {case.id: case for case in read_results(tmp_path / "out" / "results.json").cases}
    for name in ("flipped", "late", "scale", "shift"):
        assert by_baseline[name].status == "drifted"
        assert by_baseline[name].by_own_rules().status == "expected_drift"  # the baseline alone told
        assert len(list((tmp_path / "out" / by_baseline[name].artifacts["baseline_frames"]).glob("*.webp"))) == 3


def test_pytest_with_baselines_that_are_not_there(tmp_path: Path) -> None:
    done = pytest_parity_here(
        "--parity-baselines", tmp_path / "nowhere", "--parity-out", tmp_path / "out", "-k", "guitar"
    )
    assert done.returncode == 2
    said = f"folder not found: {tmp_path / 'nowhere'}; `parity baseline accept` creates it"
    assert said in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
