"""The seven Wan jobs that the trainer's UI makes: imported, planned without "cannot", reproduced bit for bit.

Each is a job that the real ai-toolkit generated (tests/data/oracle/quantized), its config rewritten as the UI does it:
the arch with its suffix and all of the UI's keys, with the recorded job's prompts, sizes and small network.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import Case, load_case
from parity.cli.main import main
from pipelines.drift import differing_factors
from pipelines.engine.engine import Engine
from pipelines.media.video import encode
from tests.support.oracle import ORACLE
from tests.support.ui_jobs import config_of_the_ui

RECORDED = {
    "wan21:1b": "q_te_only",
    "wan21:14b": "q_te",
    "wan21_i2v:14b": "q_i2v",
    "wan21_i2v:14b480p": "q_i2v",
    "wan22_14b:t2v": "q_default_wan22",
    "wan22_14b_i2v": "q_wan22_i2v",
    "wan22_5b": "wan22_5b_default",
}
"""The recorded job with the same settings as each of the UI's seven."""


def ui_job(folder: Path, arch: str) -> Path:
    """Copy the recorded job and write its config as the UI does."""
    source = ORACLE / "quantized" / "jobs" / RECORDED[arch]
    job = shutil.copytree(source, folder / "job")
    recorded = yaml.safe_load((source / "config.yaml").read_text())
    config = _laid_over(config_of_the_ui(arch, folder / "start.png"), recorded)
    process = config["config"]["process"][0]
    process["type"] = "diffusion_trainer"
    process["save"]["dtype"] = "bf16"
    process["model"] |= {"arch": arch, "qtype_te": "qfloat8"}
    process["model"]["name_or_path"] = str((source / process["model"]["name_or_path"]).resolve())
    sample = process["sample"]
    if "prompts" in sample:  # the UI writes `samples`
        sample["samples"] = [{"prompt": text} for text in sample.pop("prompts")]
    for item in sample["samples"]:
        if "ctrl_img" in item:
            item["ctrl_img"] = str((source / item["ctrl_img"]).resolve())
    (job / "config.yaml").write_text(yaml.safe_dump(config))
    return job


def _laid_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _laid_over(below.get(key), value) for key, value in above.items()}
    if isinstance(below, list) and isinstance(above, list) and len(below) == len(above) == 1:
        return [_laid_over(below[0], above[0])]
    return above


def imported(folder: Path, arch: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[Case], str]:
    """The cases that the real commands write and plan, and what they print."""
    job = ui_job(folder, arch)
    out = folder / "cases"
    given = ["--model", "wan21_14b"] if arch == "wan21" else []
    code = main(["import", str(job), "--out", str(out), "--pipeline", "faithful", "--toolkit", "0.12.26", *given])
    assert code == 0
    files = sorted(out.rglob("*.yaml"))
    assert main(["plan", *map(str, files)]) == 0
    return [load_case(file) for file in files], capsys.readouterr().out


@pytest.mark.parametrize("arch", RECORDED)
def test_a_default_job_of_the_ui_is_reproduced(
    arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    cases, said = imported(tmp_path, arch, capsys)
    assert len(cases) == 2
    for word in ("cannot", "not supported", "no key of ai-toolkit"):
        assert word not in said
    assert all(differing_factors(case.preview, case.inference) == [] for case in cases)
    case = cases[0]
    assert case.preview.quantization.text_encoder == "qfloat8"
    assert case.preview.quantization.transformer == (None if arch == "wan21:1b" else "qfloat8")
    # The others' second prompts: tests/pipelines/engine/test_quantized.py. 5B's first has a control image.
    for case in cases if arch == "wan22_5b" else cases[:1]:
        frames = engine.generate(case.inference)
        assert encode(frames, case.inference.codec, case.inference.fps) == case.video.read_bytes()
