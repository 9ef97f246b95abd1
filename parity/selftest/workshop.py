"""Planted jobs on disk: configs, LoRAs, previews and cases in which exactly the factors named differ.

Everything is real: job configs as ai-toolkit leaves them, previews drawn by the preview's recipe and written as it
writes them, case files with requests and profiles that carry the plant. On the embedded demo's tiny checkpoints.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from parity.case.load import DEMO
from parity.selftest.planted import (
    EXPERTS,
    LORA,
    MODELS,
    NAME,
    OTHER_LORA,
    OTHER_PROMPT,
    PROMPT,
    SAMPLE,
    SAMPLE_INDEX,
    SIZES,
    TRIGGER,
    Hidden,
    Kind,
    Plant,
    Shape,
    lora_name,
)
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.aitoolkit.rules import BOUNDARY
from pipelines.catalog import Model, find_model
from pipelines.engine.engine import Engine
from pipelines.files.content import write_atomically
from pipelines.media.video import encode
from pipelines.recipe import Expert, Recipe

_DEMO_JOBS: dict[Kind, str] = {
    "t2v": "t2v_basic",
    "i2v": "i2v_basic",
    "wan22-t2v": "wan22_t2v",
    "wan22-i2v": "wan22_i2v",
}
_STEP = 500


def _faithful(model: Model) -> dict[str, Any]:
    """The trainer's graph, spelled out as overrides of the reference profile, so that a plant changes one entry."""
    keys: dict[str, Any] = {
        "base": "reference",
        "scheduler": {"family": "flow_match_euler", "shift": model.trainer_shift},
        "lora_application": "merged",
        "precision": {"dtype": "bfloat16", "fp32_modules": "cast"},
    }
    if model.experts is not None:
        keys["boundary"] = BOUNDARY
        if model.needs_control_image:
            keys["conditioning"] = {"latents": "sample", "noise": "seeded"}
    return keys


def _checkpoint(kind: Kind) -> Path:
    model = find_model(MODELS[kind])
    return DEMO / "models" / f"tiny-wan{'' if model.experts is None else '22'}-{model.kind}"


class Workshop:
    """A folder of planted jobs. Previews are drawn once per shape and kind."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self._engine = engine

    def case(self, kind: Kind, plants: Sequence[Plant], name: str) -> Path:
        """A case file whose request or profile carries `plants` and nothing else."""
        shapes: list[Shape] = [plant.shape for plant in plants if plant.shape != "normal"]
        shape: Shape = shapes[0] if shapes else "normal"
        job = self._job(kind, shape)
        width, height, num_frames = SIZES[shape]
        item: dict[str, Any] = SAMPLE | {
            "prompt": PROMPT.replace("[trigger]", TRIGGER),
            "width": width,
            "height": height,
            "num_frames": num_frames,
        }
        model = find_model(MODELS[kind])
        if model.needs_control_image:
            item["ctrl_img"] = "ctrl.png"
        loras: dict[Expert | None, dict[str, Any]] = (
            {None: {"path": LORA}}
            if model.experts is None
            else {expert: {"path": lora_name(expert), "transformer": expert} for expert in EXPERTS}
        )
        pipeline = _faithful(model)
        checkpoint = str(_checkpoint(kind))
        for plant in plants:
            item |= plant.prompt
            pipeline |= plant.pipeline
            for expert, lora in loras.items():
                if plant.expert in (None, expert):
                    lora |= plant.lora
            if plant.checkpoint:
                checkpoint = plant.checkpoint.format(kind=kind)
                self._other_checkpoint(job / checkpoint, kind)
        keys = {
            "id": name,
            "model": model.id,
            "checkpoint": checkpoint,
            "preview": _preview_keys(shape),
            "request": {
                "model": model.id,
                "prompts": [item],
                "loras": [{"network_multiplier": 1.0} | lora for lora in loras.values() if lora["path"] is not None],
            },
            "pipeline": pipeline,
        }
        path = job / f"{name}.yaml"
        path.write_text(yaml.safe_dump(keys), encoding="utf-8")
        return path

    def hidden_case(self, hidden: Hidden, kind: Kind) -> tuple[Path, Recipe]:
        """A case whose preview was drawn with settings its config does not tell, and the recipe that drew it."""
        name = "-".join(word for word in [kind, *hidden.changes, hidden.value.replace(" ", "_")])
        job = self.folder / name
        self._write_job(job, kind, hidden.shape, hidden.config)
        recipe = self._draw(job, kind, hidden.shape, hidden.changes)
        return self._faithful_case(job, kind, hidden.shape), recipe

    def foreign_case(self, kind: Kind) -> Path:
        """A case whose video another model drew: T2V's for I2V and the other way round."""
        other: Kind = "t2v" if kind == "i2v" else "i2v"
        job = self.folder / f"{kind}-foreign"
        if job.exists():
            return job / "case.yaml"
        self._write_job(job, kind, "normal", {})
        video = Path("samples") / _video("normal")
        write_atomically(job / video, (self._job(other, "normal") / video).read_bytes())
        return self._faithful_case(job, kind, "normal")

    def elsewhere_case(self, kind: Kind) -> Path:
        """A case whose preview another machine drew: the same but for one level of 255 here and there."""
        job = self.folder / f"{kind}-elsewhere"
        self._write_job(job, kind, "normal", {})
        recipe = self._draw(job, kind, "normal", {})
        frames = self._engine.generate(recipe).astype(np.int16)
        steps = np.random.default_rng(0).integers(-1, 2, frames.shape)
        data = encode((frames + steps).clip(0, 255).astype(np.uint8), recipe.codec, recipe.fps)
        write_atomically(job / "samples" / _video("normal"), data)
        return self._faithful_case(job, kind, "normal")

    def _faithful_case(self, job: Path, kind: Kind, shape: Shape) -> Path:
        keys = {"id": job.name, "model": MODELS[kind], "preview": _preview_keys(shape), "pipeline": "faithful"}
        path = job / "case.yaml"
        path.write_text(yaml.safe_dump(keys), encoding="utf-8")
        return path

    def _job(self, kind: Kind, shape: Shape) -> Path:
        job = self.folder / f"{kind}-{shape}"
        if not job.exists():
            self._write_job(job, kind, shape, {})
            self._draw(job, kind, shape, {})
        return job

    def _draw(self, job: Path, kind: Kind, shape: Shape, changes: Mapping[str, Callable[[Path], Any]]) -> Recipe:
        """Draw the job's preview as its config says, but for `changes`."""
        told = preview_recipe(
            read_job(job / "config.yaml"),
            SAMPLE_INDEX,
            model=find_model(MODELS[kind]),
            toolkit="0.12.26",
            video=parse_video_name(_video(shape)),
        )
        recipe = dataclasses.replace(told, **{name: make(job) for name, make in changes.items()})
        data = encode(self._engine.generate(recipe), recipe.codec, recipe.fps)
        write_atomically(job / "samples" / _video(shape), data)
        return recipe

    def _write_job(self, job: Path, kind: Kind, shape: Shape, config: Mapping[str, Any]) -> None:
        job.mkdir(parents=True)
        demo = DEMO / "jobs" / _DEMO_JOBS[kind]
        width, height, num_frames = SIZES[shape]
        sample: dict[str, Any] = SAMPLE | {
            "width": width,
            "height": height,
            "num_frames": num_frames,
            "format": "png" if shape == "still" else "webp",
            "prompts": [OTHER_PROMPT, PROMPT],
            **config,
        }
        model = find_model(MODELS[kind])
        if model.experts is None:
            loras = {next(iter(demo.glob("*.safetensors"))): (LORA, OTHER_LORA)}
        else:
            loras = {
                next(iter(demo.glob(f"*_{expert}_noise.safetensors"))): (
                    lora_name(expert),
                    lora_name(expert, other=True),
                )
                for expert in EXPERTS
            }
        for source, (same, other) in loras.items():
            shutil.copyfile(source, job / same)
            _other_lora(source, job / other)
        if model.needs_control_image:
            from PIL import Image

            shutil.copyfile(demo / "ctrl.png", job / "ctrl.png")
            with Image.open(demo / "ctrl.png") as image:
                image.transpose(Image.Transpose.ROTATE_180).save(job / "other.png")
            images = {OTHER_PROMPT: "other.png", PROMPT: "ctrl.png"}
            sample["samples"] = [{"prompt": text, "ctrl_img": image} for text, image in images.items()]
            del sample["prompts"]
        process = {
            "type": "sd_trainer",
            "device": "cpu",
            "trigger_word": TRIGGER,
            "network": {"type": "lora", "linear": 4, "linear_alpha": 4},
            "save": {"dtype": "float16", "save_every": 250},
            "train": {"dtype": "bf16"},
            "model": {"name_or_path": str(_checkpoint(kind)), "arch": model.arch},
            "sample": sample,
        }
        document = {"job": "extension", "config": {"name": NAME, "process": [process]}}
        (job / "config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def _other_checkpoint(self, folder: Path, kind: Kind) -> None:
        """The tiny checkpoint with its transformer's weights a little larger: another fine-tune."""
        if folder.exists():
            return
        from safetensors.torch import load_file, save_file

        shutil.copytree(_checkpoint(kind), folder)
        weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
        save_file({key: tensor * 1.25 for key, tensor in load_file(weights).items()}, weights, {"format": "pt"})


def _preview_keys(shape: Shape) -> dict[str, Any]:
    video = f"samples/{_video(shape)}"
    return {"config": "config.yaml", "sample": SAMPLE_INDEX, "video": video, "toolkit": "0.12.26"}


def _video(shape: Shape) -> str:
    return f"1795289016732__{_STEP:09d}_{SAMPLE_INDEX}.{'png' if shape == 'still' else 'webp'}"


def _other_lora(source: Path, target: Path) -> None:
    """The LoRA of another step: the same modules, other numbers."""
    from safetensors.torch import load_file, save_file

    save_file({key: tensor.flip(0).contiguous() for key, tensor in load_file(source).items()}, target)
