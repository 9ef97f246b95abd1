"""What a case file from a stranger can do to whoever reads the output: nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from parity.case.load import DEMO
from parity.cli.main import main
from tests.conftest import CaseFiles

HOSTILE = "no\n::error file=README.md::owned\n\x1b[31m##[error]\u202e.safetensors"
SHOWN = r"no\n::error file=README.md::owned\n\x1b[31m##\u005berror]\u202e.safetensors"


def harmless(text: str) -> str:
    """The text, of which no line is a command and no character acts."""
    lines = re.split("[\r\n]", text)
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line] == []
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text) is None
    return text


def test_a_plan_of_a_hostile_prompt_tag_and_file_name(cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"request": cases.request(prompt=HOSTILE), "pipeline": None, "tags": [HOSTILE]}
    path = cases.write("case", **keys).rename(cases.folder / "##[x]\n::error::\x1b.yaml")
    assert main(["plan", str(path)]) == 0
    said = harmless(capsys.readouterr().out)
    assert said.startswith(r"##\u005bx]\n::error::\x1b  (")
    (row,) = [line for line in said.splitlines() if line.startswith("  *  prompt ")]
    assert row.endswith(f"  {SHOWN[:69]}…" if len(SHOWN) > 70 else f"  {SHOWN}")
    assert main(["plan", str(path), "--json"]) == 0
    (read,) = json.loads(harmless(capsys.readouterr().out))
    assert (read["id"], read["tags"]) == ("##[x]\n::error::\x1b", [HOSTILE])
    assert read["recipes"]["inference"]["prompt"] == HOSTILE


def test_a_mistake_with_a_hostile_name_is_one_line(cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    job = DEMO / "jobs" / "t2v_basic"
    video = sorted((job / "samples").glob("*_0.webp"))[0]
    preview = {"config": str(job / "config.yaml"), "sample": 0, "video": str(video), "lora": HOSTILE}
    assert main(["plan", str(cases.write("case", preview=preview))]) == 2
    (line,) = harmless(capsys.readouterr().err).splitlines()
    assert line.endswith(f"/{SHOWN}: the preview's LoRA does not exist")


def test_a_hostile_argument_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / HOSTILE)]) == 2
    (line,) = harmless(capsys.readouterr().err).splitlines()
    assert line == f"parity: {tmp_path}/{SHOWN}: no such case file or folder"
    with pytest.raises(SystemExit):
        main(["plan", "--x\n::error::y\x1b"])
    harmless(capsys.readouterr().err)


def test_a_megabyte_of_an_argument_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["schema"], ["cache", "prune", "--older-than"], ["help"], ["plan", "--no-html"], []):
        with pytest.raises(SystemExit):
            main([*arguments, "x" * 1_000_000])
        assert max(map(len, capsys.readouterr().err.splitlines())) < 5000
