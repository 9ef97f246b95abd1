"""What a run costs, before it runs: asked of a Hub, estimated without one, warned of where this machine lacks it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO, load_case, load_cases
from parity.cli.main import main
from parity.cost import downloads as cost_downloads
from parity.cost import estimate, machine, speeds
from parity.cost.downloads import downloads, needs_of
from parity.cost.estimate import Job, cost_of, job_of_run, sized, warnings
from parity.cost.machine import Machine, this_machine
from parity.cost.memory import held
from parity.diagnosis.counterfactuals import make_plan
from parity.run.task import Task
from parity.run.work import jobs_of
from parity.terminal.cost import lines_before_a_run, work_text
from pipelines import hub as hub_names
from pipelines.catalog import MODELS
from pipelines.hub import folder_of
from pipelines.quantization import Quantization
from pipelines.recipe import Recipe
from pipelines.weights import Weights
from tests.conftest import CaseFiles
from tests.support.hub import Hub, point_to
from tests.support.oracle import sample_recipe

HERE = Path()
TINY = DEMO / "models" / "tiny-wan-t2v"


def at(place: str, **changes: Any) -> Recipe:
    return dataclasses.replace(sample_recipe("t2v_basic", 0), weights=Weights(place), **changes)


def job(recipe: Recipe) -> Job:
    return Job(recipes=(recipe,), steps=recipe.steps)


def size_of(folder: Path, *names: str) -> int:
    return sum(path.stat().st_size for name in names for path in folder.glob(name) if path.is_file())


def test_the_hub_says_how_much_is_to_be_downloaded(hub: Hub) -> None:
    """By the same patterns as the download, and without what is cached."""
    hub.add("somebody/wan", TINY)
    hub.repositories["somebody/wan"]["original/wan.pth"] = bytes(1 << 20)  # not read, not downloaded
    cost = cost_of([job(at("somebody/wan")), job(at("somebody/wan", seed=7))], None)
    [one] = cost.downloads
    whole = size_of(TINY, "*.json", "*/*")
    assert (one.place, one.missing, one.basis) == ("somebody/wan", whole, "hub")
    folder_of("somebody/wan", only=["text_encoder/*"])
    assert cost_of([job(at("somebody/wan"))], None).missing == whole - size_of(TINY, "text_encoder/*")
    folder_of("somebody/wan")
    asked = len(hub.requests)
    [one] = cost_of([job(at("somebody/wan"))], None).downloads
    assert (one.missing, one.basis) == (0, "cached")
    assert len(hub.requests) == asked


def test_what_is_cached_is_read_for_its_size(hub: Hub) -> None:
    hub.add("somebody/wan", TINY)
    published, here = held(at("somebody/wan")), held(at(str(TINY)))
    assert published.total > 40e9
    folder_of("somebody/wan")
    assert held(at("somebody/wan")) == here


def test_an_estimate_where_there_is_no_hub(
    hub: Hub, closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the published parameters, never too small, with the reason; the Hub is not tried for every repository."""
    model = MODELS["wan22_14b_t2v"]
    assert model.experts is not None
    recipe = at("x", model=model.id, boundary=0.9)
    places = Weights(model.base_checkpoint, transformers=model.experts.transformers)
    recipe = dataclasses.replace(recipe, weights=places)

    def estimated() -> dict[str, tuple[int, str]]:
        found = downloads(needs_of([(recipe, None)]))
        assert {one.basis for one in found} == {"estimate"}
        return {one.place: (one.missing, one.why_estimated) for one in found}

    hub.silent = True
    monkeypatch.setattr(cost_downloads, "ASK_SECONDS", 0.3)
    found = estimated()
    assert len(hub.requests) == 1
    assert found[str(places.transformers)] == (2 * 2 * 14_288_491_584, "the Hub cannot be reached within 0.3 s")
    assert found[model.base_checkpoint][0] == 2 * 5_680_910_336 + 4 * 126_892_531
    point_to(closed_port, tmp_path / "empty", monkeypatch)
    assert "the Hub cannot be reached" in estimated()[model.base_checkpoint][1]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert estimated()[model.base_checkpoint][1] == "HF_HUB_OFFLINE is set"


def test_a_gated_repository_is_said_to_be(hub: Hub) -> None:
    hub.add("somebody/gated", TINY)
    hub.gated.add("somebody/gated")
    [one] = downloads(needs_of([(at("somebody/gated"), None)]))
    assert one.basis == "estimate"
    assert "gated" in one.why_estimated
    [one] = downloads(needs_of([(at("somebody/gated"), "hf_secret")]))
    assert one.basis == "hub"


WANTS_40_GB = at(MODELS["wan21_14b"].base_checkpoint, model="wan21_14b", lora_files=(), lora_scales=())
LARGE = Machine(gpu="NVIDIA H200", gpu_total=150_000_000_000, ram_free=500_000_000_000)
SMALL = {
    "gpu_total": "the weights take 40.2 GB, NVIDIA H200 has 32.0 GB: use --offload model (28.6 GB)",
    "ram_free": "of RAM, 32.0 GB are free",
}


@pytest.mark.parametrize("lacks", SMALL)
def test_what_this_machine_lacks(lacks: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "disk_free", lambda _: 500_000_000_000)
    cost = cost_of([job(WANTS_40_GB)], None)
    assert warnings(cost, LARGE, HERE) == []
    small = dataclasses.replace(LARGE, **{lacks: 32_000_000_000})  # type: ignore[arg-type]
    [said] = warnings(cost, small, HERE)
    assert SMALL[lacks] in said
    assert hub.requests  # and nothing was downloaded


def test_each_offload_mode_is_tried(hub: Hub) -> None:
    cost = cost_of([job(WANTS_40_GB)], None)
    assert hub.requests

    def said(total: int, offload: str) -> str:
        return warnings(cost, dataclasses.replace(LARGE, gpu_total=total), HERE, offload)[-1]

    assert "use --offload sequential (2.1 GB)" in said(12_000_000_000, "none")
    assert "use --offload sequential (2.1 GB)" in said(12_000_000_000, "model")
    assert "no --offload fits" in said(2_000_000_000, "none")


def test_a_full_disk_is_said_before_the_download(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.down = True
    monkeypatch.setattr(estimate, "disk_free", lambda _: 30_000_000_000)
    monkeypatch.setattr(estimate, "disk_free", lambda folder: 1000 if folder == HERE else 30_000_000_000)
    assert "a run writes videos and stills there" in warnings(cost_of([], None), LARGE, HERE)[0]
    monkeypatch.setattr(estimate, "disk_free", lambda _: 30_000_000_000)
    lines = lines_before_a_run(cost_of([job(WANTS_40_GB)], None), LARGE, HERE, "none")
    assert len(lines) <= 4
    assert lines[0].startswith("1 generation, 6 steps; no speed is known yet on this machine")
    assert lines[1].startswith("download: at most about 80.4 GB, an estimate (")
    assert "weights take 40.2 GB in memory" in lines[2]
    assert lines[3].startswith("warning: 80.4 GB are to be downloaded, and ")
    assert "30.0 GB free" in lines[3]
    assert "HF_HOME" in lines[3]


def test_minutes_once_a_speed_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path))
    recipe, here = sample_recipe("t2v_basic", 0), ("NVIDIA H200", "none")
    assert cost_of([job(recipe)], here).seconds is None
    speeds.remember(recipe, *here, speeds.Timing(load=30, text=2, step=10, decode=20, encode=4, compare=4))
    cost = cost_of([job(recipe), job(dataclasses.replace(recipe, steps=12))], here)
    assert cost.seconds == 30 + 30 + 6 * 10 + 30 + 12 * 10  # loaded once
    assert work_text(cost) == "2 generations, 18 steps: about 4 min 30 s on NVIDIA H200, from 1 earlier run"
    other = dataclasses.replace(recipe, model="wan21_1b")
    assert "without 1 case of unknown speed" in cost_of([job(recipe), job(other)], here).basis
    assert cost_of([job(recipe)], speeds.last_used()).seconds == 120


def test_the_work_of_each_task(cases: CaseFiles) -> None:
    [faithful, reference] = load_cases(
        [cases.write("faithful"), cases.write("reference", pipeline="reference", tolerance={"psnr": 20})]
    )
    gone = dataclasses.replace(reference, inference=dataclasses.replace(reference.inference, obstacles=("no",)))

    def work(**task: Any) -> list[tuple[float, float]]:
        return [(one.generations, one.steps) for one in jobs_of([faithful, reference, gone], Task(**task))]

    assert work() == [(1, 6), (1, 6)]
    assert work(repeat=3) == [(3, 18), (3, 18)]
    plan = make_plan(reference)
    assert work(diagnose="full") == [(1, 6), (plan.cost, plan.denoising_steps)]
    assert work(diagnose="full", budget=2.0) == [(1, 6), (2, 2 * plan.denoising_steps / plan.cost)]
    assert work(search=True)[0] == (0, 0)


def test_words() -> None:
    assert [sized(count) for count in (14_000, 730_400_000, 40_190_000_000, 126_000_000_000)] == [
        "14 kB",
        "730 MB",
        "40.2 GB",
        "126 GB",
    ]


def test_the_gpu_is_asked_for_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for nvidia-smi, in its format."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "NVIDIA H200, 143771"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine._nvidia.cache_clear()
    try:
        assert (this_machine().gpu, this_machine().gpu_total) == ("NVIDIA H200", 143771 << 20)
        assert this_machine(gpu=False).gpu is None
        machine._nvidia.cache_clear()
        program.write_text("#!/bin/sh\nexit 9\n")
        assert this_machine().gpu is None
    finally:
        machine._nvidia.cache_clear()


def test_plan_says_what_the_cases_cost_together(cases: CaseFiles, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that several cases need is downloaded once."""
    hub.add("somebody/wan", TINY)
    folder_of("somebody/wan", only=["scheduler/*", "model_index.json"])
    hub_names.forget_answers()
    for name in ("one", "two"):
        cases.write(name, checkpoint="somebody/wan", pipeline="reference", request=cases.request())
    assert main(["plan", str(cases.folder)]) == 0
    text = capsys.readouterr().out
    assert text.count("\n  cost: 1 generation, 6 steps; weights ") == 2
    assert "all 2 cases: 2 generations, 12 steps; no speed is known yet" in text
    assert text.count("somebody/wan (") == 1
    assert main(["plan", "--json", str(cases.folder)]) == 0
    rows = json.loads(capsys.readouterr().out)
    [download] = rows[0]["cost"]["downloads"]
    assert download["basis"] == "hub"
    assert "from the Hub into" in text
    assert sized(download["missing"]) in text


def test_plan_of_what_nobody_generates(cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"unpairable": "the LoRA is gone"}
    path = cases.write(preview=cases_preview() | keys)
    assert job_of_run(load_case(path)) is None
    assert main(["plan", str(path)]) == 0
    text = capsys.readouterr().out
    assert "cost:" not in text
    assert "generation" not in text.rpartition("\n\n")[2]


def cases_preview() -> dict[str, object]:
    job = DEMO / "jobs" / "t2v_basic"
    video = next((job / "samples").glob("*_0.webp"))
    return {"config": str(job / "config.yaml"), "sample": 0, "video": str(video), "toolkit": "0.12.26"}


def test_weights_whose_files_cannot_be_read_are_assumed(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "wan")
    damaged = tmp_path / "wan" / "vae" / "diffusion_pytorch_model.safetensors"
    damaged.write_bytes(b"no")
    assert held(at(str(tmp_path / "wan"))).assumed == ("vae",)


@pytest.mark.parametrize("qtype", ["qint4", "orbit3", "convrotcomfyw4a4"])
def test_what_cannot_be_generated_yet_is_left_out(cases: CaseFiles, qtype: str) -> None:
    """As the run does: the rest of the recipe is generated."""
    case = load_case(cases.write(request=cases.request()))
    whole = dataclasses.replace(case.inference, quantization=Quantization(qtype))
    [found] = jobs_of([dataclasses.replace(case, inference=whole)], Task())
    assert cost_of([found], None).weights == held(case.inference)
