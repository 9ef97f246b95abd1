"""A factor that this version cannot generate does not stop the rest: it is named, and everything else is compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from parity.case.load import DEMO, Case, load_case
from parity.case.progress import Quiet
from parity.importing.folder import ImportOptions, read_job_folder
from parity.results.case import CaseResult
from parity.run.session import Session
from parity.terminal.text import plan_text
from pipelines.engine.engine import Engine
from pipelines.limits import limits_of, within_limits
from pipelines.quantization import Quantization
from tests.conftest import CaseFiles
from tests.support.sessions import options

QINT4 = "transformer qint4: this quantization is not supported yet"


def quantized(cases: CaseFiles, qtype: str = "qint4", pipeline: str = "reference") -> Case:
    """The demo's first T2V job as if its model had been quantized. The checkpoint is that of the demo."""
    job = cases.folder / "job"
    job.mkdir()
    source = DEMO / "jobs" / "t2v_basic"
    config = yaml.safe_load((source / "config.yaml").read_text())
    config["config"]["process"][0]["model"] |= {
        "quantize": True,
        "quantize_te": False,
        "qtype": qtype,
        "name_or_path": str(DEMO / "models" / "tiny-wan-t2v"),
    }
    (job / "config.yaml").write_text(yaml.safe_dump(config))
    lora = next(source.glob("*.safetensors"))
    (job / lora.name).write_bytes(lora.read_bytes())
    video = sorted((source / "samples").glob("*_0.webp"))[0]
    preview = {"config": str(job / "config.yaml"), "sample": 0, "video": str(video), "toolkit": "0.12.26"}
    return load_case(cases.write(preview=preview, pipeline=pipeline, expect=None))


def run(engine: Engine, case: Case, folder: Path, **changes: Any) -> CaseResult:
    with Session(options(folder, device="cpu", **changes), engine) as session:
        return session.run_case(case, Quiet())


def test_what_is_left_of_a_recipe(cases: CaseFiles) -> None:
    recipe = quantized(cases).preview
    assert limits_of(recipe) == {"quantization": QINT4}
    assert within_limits(recipe).quantization == Quantization()
    assert limits_of(within_limits(recipe)) == {}
    both = dataclasses.replace(recipe, quantization=Quantization("qint4", "qfloat8"))
    assert within_limits(both).quantization == Quantization(None, "qfloat8")  # what is supported stays


def test_a_prompt_that_comfyui_may_read_in_any_way_is_generated_as_it_stands(cases: CaseFiles) -> None:
    smiling = dataclasses.replace(quantized(cases).preview, prompt="smile :)", quantization=Quantization())
    assert limits_of(smiling) == {}
    comfyui = dataclasses.replace(smiling, text_encoding="comfyui")
    assert "how ComfyUI reads that is not known" in limits_of(comfyui)["text_encoding"]
    assert within_limits(comfyui) == smiling
    unread = dataclasses.replace(comfyui, prompt="smile", negative_prompt="sad :(", guidance_scale=1.0)
    assert within_limits(unread) == unread


def test_plan_and_import_say_it(cases: CaseFiles) -> None:
    case = quantized(cases)
    text = plan_text(case)
    assert f"quantization is not supported yet: {QINT4}; both sides are generated without it" in text
    assert "differs in:" in text
    assert "cannot be reproduced" not in text
    folder = case.job.folder if case.job is not None else Path()
    (folder / "samples").mkdir()
    (folder / "samples" / case.video.name).write_bytes(case.video.read_bytes())
    pairing = read_job_folder(folder, ImportOptions()).pairings[0]
    assert pairing.unpairable is None
    assert pairing.request is not None
    assert f"quantization is not supported yet: {QINT4}" in " ".join(pairing.limits)


def test_a_faithful_case_is_not_blamed_on_the_environment(cases: CaseFiles, engine: Engine, tmp_path: Path) -> None:
    """Both sides are quantized in the same unsupported way; the output is not, and that is the difference."""
    result = run(engine, quantized(cases, pipeline="faithful"), tmp_path / "out")
    assert [finding.factor for finding in result.findings] == ["quantization"]
    assert result.findings[0].inference == "generated without: transformer qint4"
    assert QINT4 in result.findings[0].note
    assert (result.status, result.bit_identical) == ("drifted", False)
    assert QINT4 in result.notes[0]


def test_the_other_factors_are_ranked_and_the_residue_is_named(
    cases: CaseFiles, engine: Engine, tmp_path: Path
) -> None:
    """The preview was generated unquantized and merged, so the residue is that of the side path, in decibels."""
    result = run(engine, quantized(cases), tmp_path / "out", diagnose="full")
    diagnosis = result.diagnosis
    assert diagnosis is not None
    measured = {cost.factor: cost for cost in diagnosis.factors}
    assert set(measured) == {"scheduler", "lora_application", "precision", "quantization"}
    assert measured["scheduler"].rank == 1
    assert all(measured[name].level is not None for name in ("scheduler", "lora_application", "precision"))
    left_out = measured["quantization"]
    assert (left_out.level, left_out.rank, left_out.gain, left_out.loss) == (None, None, None, None)
    assert QINT4 in (left_out.not_measured or "")
    assert diagnosis.residue is not None
    assert diagnosis.residue.psnr is not None
    assert "the remaining difference is that of quantization, not supported yet" in diagnosis.sentence
    assert diagnosis.outside[0] == f"quantization, which is not supported yet: {QINT4}"


def test_quick_ranks_the_rest(cases: CaseFiles, engine: Engine, tmp_path: Path) -> None:
    result = run(engine, quantized(cases), tmp_path / "out", diagnose="quick")
    assert result.diagnosis is not None
    levels = {cost.factor: cost.level for cost in result.diagnosis.factors}
    assert levels.pop("quantization") is None
    assert None not in levels.values()


def test_search_says_what_it_leaves_out(cases: CaseFiles, engine: Engine, tmp_path: Path) -> None:
    result = run(engine, quantized(cases), tmp_path / "out", search=True, budget=2)
    assert result.search is not None
    assert result.search.settings
    assert f"generated without quantization, which is not supported yet: {QINT4}" in result.search.notes


def test_a_request_that_the_server_cannot_load_is_an_error_of_the_case(
    cases: CaseFiles, engine: Engine, tmp_path: Path
) -> None:
    """The preview can be reproduced; it is the request that nobody serves."""
    case = load_case(cases.write())
    refused = dataclasses.replace(case.inference, obstacles=("the reference server cannot load LoKr",))
    result = run(engine, dataclasses.replace(case, inference=refused), tmp_path / "out")
    assert (result.status, result.error) == ("error", "the reference server cannot load LoKr")
