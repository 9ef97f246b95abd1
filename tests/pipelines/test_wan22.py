"""Wan 2.2's two experts: the origin of their parts, how they share a device, how a preview's config describes them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO, load_case
from parity.cli.main import main
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.aitoolkit.rules import scheduler_of
from pipelines.aitoolkit.versions import Origin
from pipelines.catalog import find_model
from pipelines.drift import Factor, differing_factors, take
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError, DeviceError, WeightsError
from pipelines.recipe import Conditioning, Precision, Recipe
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.support.oracle import sample_recipe

MODELS = {"wan22_t2v": "wan22_14b_t2v", "wan22_i2v": "wan22_14b_i2v"}


def two_steps(job: str, **changes: Any) -> Recipe:
    """One step by each expert."""
    return dataclasses.replace(sample_recipe(job, 0), steps=2, **changes)


# --- what the config says


def preview_of(folder: Path, job: str, **changes: Any) -> Recipe:
    """The recipe of sample 0 after changing sections of the config."""
    shutil.copytree(DEMO / "jobs" / job, folder / job)
    config = yaml.safe_load((folder / job / "config.yaml").read_text())
    process = config["config"]["process"][0]
    for section, values in changes.items():
        if isinstance(values, dict):
            process[section] |= values
        else:
            process[section] = values
    (folder / job / "config.yaml").write_text(json.dumps(config))
    model = find_model(MODELS[job])
    return preview_recipe(
        read_job(folder / job / "config.yaml"), 0, model=model, toolkit="0.12.26",
        checkpoint=str(DEMO / "models" / f"tiny-wan22-{model.kind}"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("job", "asked", "drawn"),
    [
        ("wan22_t2v", (1280, 720, 40), (1280, 720, 41)),
        ("wan22_t2v", (120, 72, 12), (112, 64, 13)),
        ("wan22_i2v", (1280, 720, 40), (1280, 720, 37)),
        ("wan22_i2v", (100, 72, 11), (96, 64, 9)),
        ("wan22_i2v", (96, 64, 3), (96, 64, 1)),
    ],
)
def test_sizes_and_frames(tmp_path: Path, job: str, asked: tuple[int, ...], drawn: tuple[int, ...]) -> None:
    width, height, frames = asked
    recipe = preview_of(tmp_path, job, sample={"width": width, "height": height, "num_frames": frames})
    assert (recipe.width.applied, recipe.height.applied, recipe.num_frames.applied) == drawn


def test_low_vram_tiles_t2v_alone_and_keeps_its_frames(tmp_path: Path) -> None:
    sample, model = {"width": 320, "num_frames": 40}, {"low_vram": True}
    t2v = preview_of(tmp_path, "wan22_t2v", sample=sample, model=model)
    i2v = preview_of(tmp_path, "wan22_i2v", sample=sample, model=model)
    assert (t2v.tiles, t2v.num_frames.applied) == (True, 41)
    assert (i2v.tiles, i2v.num_frames.applied, i2v.obstacles) == (False, 37, ())


def test_the_gpu_that_generated_it_is_noted(tmp_path: Path) -> None:
    on_gpu = preview_of(tmp_path, "wan22_i2v", device="cuda:0")
    assert on_gpu.conditioning == Conditioning(latents="sample", noise="cuda")
    assert "whose numbers depend on the GPU model" in " ".join(on_gpu.notes)
    assert "GPU" not in " ".join(sample_recipe("wan22_i2v", 0).notes)


def test_one_expert_trained_is_one_lora(tmp_path: Path) -> None:
    recipe = preview_of(tmp_path, "wan22_t2v", model={"model_kwargs": {"train_high_noise": False}})
    assert [file.expert for file in recipe.lora_files] == ["low"]
    with pytest.raises(CaseError, match="trains neither expert"):
        preview_of(tmp_path / "2", "wan22_t2v",
                   model={"model_kwargs": {"train_high_noise": False, "train_low_noise": False}})  # fmt: skip


def test_where_the_trainer_takes_weights_from(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "jobs" / "wan22_t2v", tmp_path / "job")
    path = tmp_path / "job" / "config.yaml"
    path.write_text(
        path.read_text().replace("../../models/tiny-wan22-t2v", "ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16")
    )
    recipe = preview_recipe(read_job(path), 0, model=find_model("wan22_14b_t2v"))
    assert recipe.weights.checkpoint == "ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16"
    assert (recipe.weights.text_encoder, recipe.weights.vae) == ("ai-toolkit/umt5_xxl_encoder", "ai-toolkit/wan2.1-vae")


def test_older_versions_used_unipc() -> None:
    assert scheduler_of(Origin("0.9.2"), 5.0) == flow_schedule("unipc", 3.0)
    assert scheduler_of(Origin("0.12.26"), 5.0) == flow_schedule("flow_match_euler", 5.0)


# --- differences


def test_plan_of_a_size_the_server_floors_to_32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = json.loads((DEMO / "requests" / "wan22_t2v.json").read_text())
    request["prompts"] = [request["prompts"][0] | {"width": 1280, "height": 720}]
    for lora in request["loras"]:
        lora["path"] = str((DEMO / "requests" / lora["path"]).resolve())
    shutil.copytree(DEMO / "jobs" / "wan22_t2v", tmp_path / "job")
    config = tmp_path / "job" / "config.yaml"
    config.write_text(config.read_text().replace("width: 96", "width: 1280").replace("height: 64", "height: 720"))
    case = yaml.safe_load((DEMO / "wan22-t2v-guitar-reference.yaml").read_text())
    case |= {"request": request, "checkpoint": str(DEMO / "models" / "tiny-wan22-t2v"), "expect": None}
    case["preview"] |= {"config": "job/config.yaml", "video": "job/samples/1795291041907__000000500_0.webp"}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump({key: value for key, value in case.items() if value}))
    assert main(["plan", str(tmp_path / "case.yaml"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    found = {finding["factor"]: finding for finding in row["findings"]}
    assert set(found) == {"scheduler", "lora_application", "precision", "snapping"}
    assert (found["snapping"]["preview"], found["snapping"]["inference"]) == ("1280x720", "1280x704 (asked 1280x720)")


@pytest.mark.parametrize(
    ("side", "file", "scale"),
    [("high", "lora_file_high", "lora_scale_high"), ("low", "lora_file_low", "lora_scale_low")],
)
def test_an_experts_lora_is_a_factor_of_its_own(side: str, file: Factor, scale: Factor) -> None:
    recipe = sample_recipe("wan22_t2v", 0)
    high, low = recipe.lora_files
    kept = 1 if side == "high" else 0
    one = dataclasses.replace(recipe, lora_files=(recipe.lora_files[kept],), lora_scales=(1.0,))
    assert differing_factors(recipe, one) == [file]
    assert take(one, file, recipe) == recipe
    assert take(recipe, file, one) == one
    scaled = dataclasses.replace(recipe, lora_scales=(0.5, 1.0) if side == "high" else (1.0, 0.5))
    assert differing_factors(recipe, scaled) == [scale]
    assert take(scaled, scale, recipe) == recipe
    swapped = dataclasses.replace(recipe, lora_files=(dataclasses.replace(low, expert="high"),
                                                      dataclasses.replace(high, expert="low")))  # fmt: skip
    assert differing_factors(recipe, swapped) == ["lora_file_high", "lora_file_low"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"boundary": 0.9}, "pipeline.boundary: is for Wan 2.2 14B, not for wan21_14b"),
        ({"compiled": True}, "pipeline.compiled: is for Wan 2.2 14B, not for wan21_14b"),
        ({"conditioning": {"latents": "mode"}}, "pipeline.conditioning: is for Wan 2.2 I2V and 5B, not for wan21_14b"),
        ({"boundary": 1.5}, "must be less than 1"),
    ],
)
def test_overrides_that_fit_no_wan21(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    case = yaml.safe_load((DEMO / "t2v-guitar-reference.yaml").read_text())
    path = DEMO / "never-written.yaml"
    text = yaml.safe_dump(case | {"pipeline": {"base": "reference", **keys}})
    path = tmp_path / "case.yaml"
    for name in ("jobs", "models", "requests"):
        (tmp_path / name).symlink_to(DEMO / name)
    path.write_text(text)
    with pytest.raises(CaseError, match=said.replace(".", r"\.")):
        load_case(path)


# --- the engine


@pytest.mark.parametrize(
    ("job", "changes"),
    [
        ("wan22_t2v", {}),
        ("wan22_i2v", {"lora_application": "adapter", "precision": Precision("bfloat16", "kept")}),
    ],
)
def test_bits_do_not_depend_on_offloading(engine: Engine, job: str, changes: dict[str, Any]) -> None:
    """`--offload model` with the CPU in a GPU's place: its hooks move the weights, LoRAs are fitted beneath them.

    `sequential` cannot be run so: accelerate 1.15.0 does not give tied weights back where both devices are the CPU.
    """
    recipe = two_steps(job, **changes)
    own = Engine("cpu")
    own.offload = "model"  # --offload itself wants a GPU
    assert own.generate(recipe).tobytes() == engine.generate(recipe).tobytes()
    own.close()


@pytest.mark.draws
def test_only_the_expert_at_work_is_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--offload model`: the high-noise expert leaves before the low-noise one comes, and none is left at the end.

    Whom a hook sends away, not the weights: they are on the CPU in any case here.
    """
    own, recipe = Engine("cpu"), two_steps("wan22_i2v")
    own.offload = "model"
    own.load(recipe)
    hooks: Any = importlib.import_module("accelerate.hooks")
    pipeline: Any = importlib.import_module("diffusers").DiffusionPipeline
    resident: list[set[str]] = []
    there: set[str] = set()
    forward, place = hooks.CpuOffload.pre_forward, pipeline.enable_model_cpu_offload

    def name_of(module: Any) -> str:
        return str(next(name for name, part in own._pipe.components.items() if part is module))

    def comes(hook: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
        if hook.prev_module_hook is not None:
            there.discard(name_of(hook.prev_module_hook.model))
        there.add(name_of(module))
        resident.append(there | ({"text_encoder"} if own._pipe.text_encoder is not None else set()))
        return forward(hook, module, *args, **kwargs)

    def all_leave(pipe: Any, *args: Any, **kwargs: Any) -> None:
        place(pipe, *args, **kwargs)
        there.clear()

    monkeypatch.setattr(pipeline, "enable_model_cpu_offload", all_leave)
    monkeypatch.setattr(hooks.CpuOffload, "pre_forward", comes)
    own.generate(recipe)
    own.generate(dataclasses.replace(recipe, prompt="another"))
    own.close()
    experts = {"transformer", "transformer_2"}
    assert experts <= set.union(*resident)
    assert all(len(names & experts) <= 1 for names in resident)
    assert all("text_encoder" not in names for names in resident if names & experts)


def test_parts_from_other_folders(engine: Engine, tmp_path: Path) -> None:
    """Trainer and server take the parts from several repositories, which hold nothing else."""
    recipe = two_steps("wan22_t2v")
    whole = Path(recipe.weights.checkpoint)
    for target, parts in {"experts": ("transformer", "transformer_2"), "words": ("text_encoder", "tokenizer")}.items():
        for part in parts:
            shutil.copytree(whole / part, tmp_path / target / part)
    shutil.copytree(whole / "vae", tmp_path / "vae")
    (tmp_path / "base").mkdir()
    base, experts, encoder, vae = (str(tmp_path / name) for name in ("base", "experts", "words", "vae"))
    weights = Weights(base, transformers=experts, text_encoder=encoder, vae=vae)
    apart = dataclasses.replace(recipe, weights=weights)
    own = Engine("cpu")
    assert own.generate(apart).tobytes() == engine.generate(recipe).tobytes()
    shutil.rmtree(tmp_path / "experts" / "transformer_2")
    own.close()
    with pytest.raises(WeightsError, match=r"transformer_2.*cannot be read"):
        own.generate(apart)
    own.close()


@pytest.mark.draws
@pytest.mark.parametrize(
    ("job", "checkpoint", "said"),
    [
        ("t2v_basic", "tiny-wan22-t2v", "wan21_14b has one transformer, this checkpoint has two"),
        ("wan22_t2v", "tiny-wan-t2v", "transformer_2"),
        ("wan22_t2v", "tiny-wan22-i2v", "needs a T2V checkpoint"),
    ],
)
def test_checkpoints_of_another_kind(job: str, checkpoint: str, said: str) -> None:
    own = Engine("cpu")
    weights = Weights(str(DEMO / "models" / checkpoint))
    with pytest.raises(WeightsError, match=said):
        own.generate(dataclasses.replace(sample_recipe(job, 0), steps=2, weights=weights))
    own.close()


def test_compiled_is_for_cuda(engine: Engine) -> None:
    with pytest.raises(DeviceError, match="needs CUDA"):
        engine.generate(two_steps("wan22_t2v", compiled=True))
