"""Drift planted on purpose: jobs, previews and cases in which exactly the factors named differ.

Everything is real: job configs on disk, previews drawn by the preview's recipe and written as ai-toolkit writes them,
case files with requests and profiles that carry the plant. Uses the tiny checkpoints of the embedded demo.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from parity.case import DEMO
from parity.result import write_atomically
from pipelines.catalog import find_model
from pipelines.engine import Engine
from pipelines.job import read_job
from pipelines.preview import parse_video_name, preview_recipe
from pipelines.recipe import Recipe
from pipelines.video import encode

Kind = Literal["t2v", "i2v"]
Shape = Literal["normal", "wide", "still"]
"""wide: above 256 pixels, where the VAE tiles; one frame, as WebP. still: one frame, as PNG."""

MODELS: dict[Kind, str] = {"t2v": "wan21_14b", "i2v": "wan21_i2v_14b"}
_DEMO_JOBS: dict[Kind, str] = {"t2v": "t2v_basic", "i2v": "i2v_basic"}
_NAME = "planted"
_STEP = 500
_SIZES: dict[Shape, tuple[int, int, int]] = {"normal": (64, 64, 5), "wide": (272, 64, 1), "still": (64, 64, 1)}

SAMPLE: dict[str, Any] = {"guidance_scale": 5, "sample_steps": 6, "seed": 42, "neg": "", "fps": 16}
_PROMPT = "[trigger] playing the guitar, on stage"
_TRIGGER = "p3r5on"

# The trainer's graph, spelled out as overrides of the reference profile, so that a plant changes one entry.
_FAITHFUL: dict[str, Any] = {
    "base": "reference",
    "scheduler": {"family": "flow_match_euler", "shift": 3.0},
    "lora_application": "merged",
    "precision": {"dtype": "bfloat16", "fp32_modules": "cast"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One factor made wrong on the request's side."""

    factor: str
    value: str
    """For people."""
    prompt: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the request's prompt item."""
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the profile."""
    lora: Mapping[str, Any] | None = field(default_factory=dict)
    """Keys of the request's LoRA item; None: no LoRA at all."""
    checkpoint: str | None = None
    kinds: tuple[Kind, ...] = ("t2v", "i2v")
    shape: Shape = "normal"


PLANTS: tuple[Plant, ...] = (
    Plant(factor="checkpoint", value="other weights", checkpoint="other-{kind}"),
    Plant(factor="prompt", value="no trigger", prompt={"prompt": "playing the guitar, on stage"}),
    Plant(factor="negative_prompt", value="blurry", prompt={"neg": "blurry, low quality"}),
    Plant(factor="snapping", value="height 80", prompt={"height": 80}),
    Plant(factor="frame_count", value="9 frames", prompt={"num_frames": 9}),
    Plant(factor="steps", value="12 steps", prompt={"sample_steps": 12}),
    Plant(factor="guidance", value="guidance 1", prompt={"guidance_scale": 1}),
    Plant(factor="guidance", value="guidance 3.5", prompt={"guidance_scale": 3.5}),
    Plant(factor="seed", value="seed 43", prompt={"seed": 43}),
    Plant(factor="scheduler", value="UniPC", pipeline={"scheduler": {"family": "unipc", "shift": 3.0}}),
    Plant(factor="scheduler", value="shift 5", pipeline={"scheduler": {"family": "flow_match_euler", "shift": 5.0}}),
    Plant(factor="lora_file", value="other step", lora={"path": "planted_000000250.safetensors"}),
    Plant(factor="lora_scale", value="0.5", lora={"network_multiplier": 0.5}),
    Plant(factor="lora_application", value="adapter", pipeline={"lora_application": "adapter"}),
    Plant(factor="lora_application", value="side path", pipeline={"lora_application": "side_path"}),
    Plant(factor="precision", value="float32 modules", pipeline={"precision": {"dtype": "bfloat16"}}),
    Plant(factor="precision", value="float32", pipeline={"precision": {"dtype": "float32"}}),
    Plant(factor="vae_tiling", value="tiled", pipeline={"vae_tiling": True}, shape="wide"),
    Plant(factor="codec", value="webp for png", shape="still"),
    Plant(factor="fps", value="fps 12", prompt={"fps": 12}),
    Plant(factor="control_image", value="turned", prompt={"ctrl_img": "other.png"}, kinds=("i2v",)),
    Plant(factor="resize", value="bicubic", pipeline={"resize": {"filter": "bicubic"}}, kinds=("i2v",)),
    Plant(factor="resize", value="center crop", pipeline={"resize": {"crop": "center"}}, kinds=("i2v",)),
)
"""Every factor but quantization, which this version compares but does not run."""


def singles(kind: Kind) -> list[tuple[Plant, ...]]:
    """Every plant alone."""
    return [(plant,) for plant in PLANTS if kind in plant.kinds]


def combinations(kind: Kind, count: int, seed: int = 2026) -> list[tuple[Plant, ...]]:
    """`count` random combinations of 2 to 5 factors, the same every time."""
    source = random.Random(f"{seed} {kind}")
    factors = sorted({plant.factor for plant in PLANTS if kind in plant.kinds})
    found: list[tuple[Plant, ...]] = []
    while len(found) < count:
        names = source.sample(factors, source.randint(2, 5))
        plants = [source.choice([p for p in PLANTS if p.factor == name and kind in p.kinds]) for name in names]
        if _possible(plants) and plants not in [list(known) for known in found]:
            found.append(tuple(plants))
    return found


def _possible(plants: Sequence[Plant]) -> bool:
    """Whether each of the factors still reaches the file beside the others."""
    factors = {plant.factor for plant in plants}
    if {"vae_tiling", "codec"} <= factors:
        return False  # a wide still: nothing new
    if factors & {"codec", "vae_tiling"} and "fps" in factors and "frame_count" not in factors:
        return False  # a still is shown for ever
    unguided = any(plant.prompt.get("guidance_scale") == 1 for plant in plants)
    return not (unguided and "negative_prompt" in factors and len(plants) < 3)


class Workshop:
    """A folder of planted jobs. Previews are drawn once per shape and kind."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self._engine = engine

    def case(self, kind: Kind, plants: Sequence[Plant], name: str) -> Path:
        """A case file whose request or profile carries `plants` and nothing else."""
        shapes: list[Shape] = [plant.shape for plant in plants if plant.shape != "normal"]
        shape: Shape = shapes[0] if shapes else "normal"
        job = self.job(kind, shape)
        width, height, num_frames = _SIZES[shape]
        item: dict[str, Any] = SAMPLE | {
            "prompt": _PROMPT.replace("[trigger]", _TRIGGER),
            "width": width,
            "height": height,
            "num_frames": num_frames,
        }
        if kind == "i2v":
            item["ctrl_img"] = "ctrl.png"
        lora: dict[str, Any] = {"path": f"{_NAME}.safetensors", "network_multiplier": 1.0}
        pipeline: dict[str, Any] = dict(_FAITHFUL)
        checkpoint = str(DEMO / "models" / f"tiny-wan-{kind}")
        for plant in plants:
            item |= plant.prompt
            pipeline |= plant.pipeline
            lora |= plant.lora or {}
            if plant.checkpoint:
                checkpoint = plant.checkpoint.format(kind=kind)
                self._other_checkpoint(job / checkpoint, kind)
        keys = {
            "id": name,
            "model": MODELS[kind],
            "checkpoint": checkpoint,
            "preview": {"config": "config.yaml", "sample": 0, "video": f"samples/{self._video(shape)}"},
            "request": {"model": MODELS[kind], "prompts": [item], "loras": [lora]},
            "pipeline": pipeline,
        }
        keys["preview"]["toolkit"] = "0.12.26"  # type: ignore[index]
        path = job / f"{name}.yaml"
        path.write_text(yaml.safe_dump(keys), encoding="utf-8")
        return path

    def job(self, kind: Kind, shape: Shape = "normal", **drawn: Any) -> Path:
        """The folder of a job with its preview; `drawn`: recipe fields of the preview that its config hides."""
        job = self.folder / "-".join([kind, shape, *(f"{key}" for key in drawn)])
        if not job.exists():
            self._write_job(job, kind, shape)
            self.draw(job, kind, shape, drawn)
        return job

    def recipe(self, job: Path, kind: Kind, shape: Shape = "normal") -> Recipe:
        """What the job's config says of its preview."""
        return preview_recipe(
            read_job(job / "config.yaml"),
            0,
            model=find_model(MODELS[kind]),
            toolkit="0.12.26",
            video=parse_video_name(self._video(shape)),
        )

    def draw(self, job: Path, kind: Kind, shape: Shape, drawn: Mapping[str, Any]) -> None:
        """Draw the job's preview, with recipe fields replaced."""
        recipe = dataclasses.replace(self.recipe(job, kind, shape), **drawn)
        data = encode(self._engine.generate(recipe), recipe.codec, recipe.fps)
        write_atomically(job / "samples" / self._video(shape), data)

    def _video(self, shape: Shape) -> str:
        return f"1795289016732__{_STEP:09d}_0.{'png' if shape == 'still' else 'webp'}"

    def _write_job(self, job: Path, kind: Kind, shape: Shape) -> None:
        job.mkdir(parents=True)
        demo = DEMO / "jobs" / _DEMO_JOBS[kind]
        width, height, num_frames = _SIZES[shape]
        sample: dict[str, Any] = SAMPLE | {
            "width": width,
            "height": height,
            "num_frames": num_frames,
            "format": "png" if shape == "still" else "webp",
            "prompts": [_PROMPT],
        }
        shutil.copyfile(next(iter(demo.glob("*.safetensors"))), job / f"{_NAME}.safetensors")
        _other_lora(job / f"{_NAME}.safetensors", job / f"{_NAME}_000000250.safetensors")
        if kind == "i2v":
            from PIL import Image

            shutil.copyfile(demo / "ctrl.png", job / "ctrl.png")
            with Image.open(demo / "ctrl.png") as image:
                image.transpose(Image.Transpose.ROTATE_180).save(job / "other.png")
            sample["samples"] = [{"prompt": _PROMPT, "ctrl_img": "ctrl.png"}]
            del sample["prompts"]
        arch = find_model(MODELS[kind]).arch
        process = {
            "type": "sd_trainer",
            "trigger_word": _TRIGGER,
            "network": {"type": "lora", "linear": 4, "linear_alpha": 4},
            "save": {"dtype": "float16", "save_every": 250},
            "train": {"dtype": "bf16"},
            "model": {"name_or_path": str(DEMO / "models" / f"tiny-wan-{kind}"), "arch": arch},
            "sample": sample,
        }
        config = {"job": "extension", "config": {"name": _NAME, "process": [process]}}
        (job / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def _other_checkpoint(self, folder: Path, kind: Kind) -> None:
        """The tiny checkpoint with its transformer's weights a little larger: another fine-tune."""
        if folder.exists():
            return
        from safetensors.torch import load_file, save_file

        shutil.copytree(DEMO / "models" / f"tiny-wan-{kind}", folder)
        weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
        save_file({key: tensor * 1.25 for key, tensor in load_file(weights).items()}, weights, {"format": "pt"})


def _other_lora(source: Path, target: Path) -> None:
    """The LoRA of another step: the same modules, other numbers."""
    from safetensors.torch import load_file, save_file

    save_file({key: tensor.flip(0).contiguous() for key, tensor in load_file(source).items()}, target)
