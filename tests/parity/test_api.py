"""`import parity`: few names, all of them there, and enough to run a case with."""

from __future__ import annotations

import dataclasses
import operator
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import parity
from parity import api
from parity.cli.main import main
from tests.conftest import CaseFiles
from tests.support.clips import animation, film, shapes
from tests.support.documented import blocks


def test_exported_members() -> None:
    assert parity.__all__ == sorted(parity.__all__)
    assert api.__all__ == parity.__all__
    for name in parity.__all__:
        assert getattr(parity, name) is getattr(api, name)


def test_nothing_else_is_public() -> None:
    found = [name for name, value in vars(parity).items() if not isinstance(value, ModuleType)]
    assert {name for name in found if not name.startswith("_")} <= set(parity.__all__)
    with pytest.raises(AttributeError, match="no attribute 'find_case'"):
        operator.attrgetter("find_case")(parity)
    everything: dict[str, Any] = {}
    exec("from parity import *", everything)
    assert set(everything) - {"__builtins__"} == set(parity.__all__)


@pytest.mark.process
def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, parity; parity.find_cases; sys.exit(any(name in sys.modules for name in ('torch', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.draws
def test_cases_are_found_run_and_read_again(cases: CaseFiles, tmp_path: Path) -> None:
    cases.write("faithful", tags=["smoke"], tolerance={"psnr": 30, "ssim": 0.9})
    cases.write("other")
    found = parity.find_cases(cases.folder, tags=["smoke"])
    assert [case.id for case in found] == ["faithful"]
    assert isinstance(found[0], parity.Case)
    run = parity.run_cases(found, str(tmp_path / "out"))
    assert isinstance(run, parity.Run)
    (result,) = run.cases
    assert isinstance(result, parity.CaseResult)
    assert result.status == "passed", result.verdict
    assert run.exit_code == 0
    assert run.finished is not None
    assert parity.read_results(tmp_path / "out") == run
    accepted = tmp_path / "accepted"
    with pytest.raises(parity.ParityError, match="baselines: folder not found"):
        parity.run_cases(found, tmp_path / "out", baselines=accepted)
    accept = ["baseline", "accept", "--all", "--results", str(tmp_path / "out"), "--baselines", str(accepted)]
    assert main(accept) == 0
    (again,) = parity.run_cases(found, tmp_path / "out", resume=True, baselines=accepted).cases
    assert again.verdict.startswith("as accepted ")
    assert "faithful" in (tmp_path / "out" / "report.html").read_text()
    assert parity.read_results(str(tmp_path / "out" / "results.json")).command[0] == "parity.run_cases"


def test_mistakes_are_parity_errors(cases: CaseFiles) -> None:
    cases.write(modle="x")
    with pytest.raises(parity.ParityError, match="did you mean model"):
        parity.find_cases(cases.folder)
    with pytest.raises(parity.ParityError, match="No such file"):
        parity.read_results(cases.folder)


def test_the_page_shows_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its example, with the run itself replaced, and every argument it names."""
    (example,) = blocks("docs/python.md", "python")
    run = parity.Run(started="", finished="", command=(), environment={}, cases=())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "run_cases", lambda found, out: (found[0].id, out) and run)
    monkeypatch.setattr(api, "read_results", lambda out: dataclasses.replace(run, command=(out,)))
    CaseFiles(tmp_path).write(tags=["smoke"])
    animation(tmp_path / "preview.webp", shapes()[:1])
    film(tmp_path / "comfyui.mp4", shapes()[:1])
    names: dict[str, Any] = {}
    exec(example.replace('"cases"', '"."'), names)
    assert names["earlier"].command == ("out",)
    assert names["pair"].outcome == "recoded"
