"""Jobs to run, made on the spot: a checkpoint of random weights, a LoRA, previews and their cases."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.core import child
from parity.case.load import DEMO
from pipelines.media.video import encode
from pipelines.recipe import Codec

PROMPTS = ("a red circle on a meadow", "a blue square at night", "a yellow triangle, moving left")
_LINEARS = (*(f"{attention}.{one}" for attention in ("self_attn", "cross_attn") for one in "qkvo"), "ffn.0", "ffn.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a job: transformer, video and LoRA."""

    name: str
    layers: int
    heads: int
    head_dim: int
    ffn: int
    rank: int
    width: int = 64
    height: int = 64
    frames: int = 5
    steps: int = 2
    dtype: str = "float32"

    @property
    def what(self) -> str:
        """The shape in words."""
        video = f"{self.frames} frames of {self.width}x{self.height}"
        return f"{self.name}, {self.layers} layers, {video}, {self.steps} steps, {self.dtype}"


TINY = Shape(name="tiny", layers=2, heads=2, head_dim=16, ffn=64, rank=4, width=96, frames=9, steps=6)
REAL = Shape(name="1.3B", layers=30, heads=12, head_dim=128, ffn=8960, rank=32)
"""Wan 2.1 1.3B: 1.42 G parameters but for the text encoder, which is the demo's."""
LONG = dataclasses.replace(REAL, name="1.3B's widths", layers=4, steps=20)


def made(shape: Shape, folder: Path, loras: int = 1) -> None:
    """Make a job in a process of its own: the memory of one that starts others counts as theirs in `ru_maxrss`."""
    child(["-m", "benchmarks.shapes", json.dumps(dataclasses.asdict(shape)), str(folder), str(loras)], folder)


def make_job(shape: Shape, folder: Path, loras: int) -> None:
    """Write `checkpoint`, `loras` LoRA files, `config.yaml`, three previews, and cases in `faithful` and `reference`.

    The previews are noise: every case drifts. Needs 4 bytes a parameter of disk and twice that of memory.
    """
    checkpoint = folder / "checkpoint"
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", checkpoint, ignore=shutil.ignore_patterns("transformer"))
    _write_transformer(shape, checkpoint / "transformer")
    for number in range(loras):
        _write_lora(shape, folder / ("job.safetensors" if number == 0 else f"other_{number}.safetensors"), seed=number)
    prompts = "\n".join(f"          - {json.dumps(prompt)}" for prompt in PROMPTS)
    (folder / "config.yaml").write_text(_CONFIG.format(**dataclasses.asdict(shape), prompts=prompts))
    (folder / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (shape.frames, shape.height, shape.width, 3), np.uint8)
    for number in range(len(PROMPTS)):
        (folder / "samples" / f"179528901673{number}__000000500_{number}.webp").write_bytes(
            encode(noise, Codec("webp", 80), 15)
        )
    for base in ("faithful", "reference"):
        (folder / base).mkdir()
        for number, prompt in enumerate(PROMPTS):
            case = _case(shape, base, number, prompt)
            (folder / base / f"{number}.yaml").write_text(yaml.safe_dump(case))


def _case(shape: Shape, base: str, number: int, prompt: str) -> dict[str, Any]:
    request = {
        "model": "wan21_14b",
        "prompts": [
            {
                "prompt": prompt,
                "width": shape.width,
                "height": shape.height,
                "num_frames": shape.frames,
                "fps": 15,
                "seed": 42 + number,
                "sample_steps": shape.steps,
                "guidance_scale": 5,
                "neg": "",
            }
        ],
        "loras": [{"path": "../job.safetensors", "network_multiplier": 1.0}],
    }
    return {
        "id": f"{base}-{number}",
        "model": "wan21_14b",
        "checkpoint": "../checkpoint",
        "preview": {
            "config": "../config.yaml",
            "sample": number,
            "video": f"../samples/179528901673{number}__000000500_{number}.webp",
            "toolkit": "0.12.26",
        },
        "request": request,
        "pipeline": {
            "base": base,
            "precision": {"dtype": shape.dtype, "fp32_modules": "cast" if base == "faithful" else "kept"},
        },
    }


_CONFIG = """\
job: extension
config:
  name: job
  process:
    - type: sd_trainer
      device: cpu
      network: {{type: lora, linear: {rank}, linear_alpha: {rank}}}
      train: {{dtype: {dtype}}}
      model: {{name_or_path: checkpoint, arch: wan21}}
      sample:
        sampler: flowmatch
        width: {width}
        height: {height}
        num_frames: {frames}
        fps: 15
        prompts:
{prompts}
        neg: ""
        seed: 42
        walk_seed: true
        guidance_scale: 5
        sample_steps: {steps}
"""


def _write_transformer(shape: Shape, folder: Path) -> None:
    """A transformer of small random weights in float32, as diffusers writes it."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    model = WanTransformer3DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim,
        ffn_dim=shape.ffn,
        num_layers=shape.layers,
        text_dim=32,
        in_channels=16,
        out_channels=16,
    )
    model.save_pretrained(folder)


def _write_lora(shape: Shape, file: Path, seed: int) -> None:
    """A LoRA of all linears of the blocks, with ai-toolkit's keys, float16."""
    import torch
    from safetensors.torch import save_file

    generator, width = torch.Generator().manual_seed(seed), shape.heads * shape.head_dim
    tensors = {}
    for layer in range(shape.layers):
        for linear in _LINEARS:
            ins, outs = {"ffn.0": (width, shape.ffn), "ffn.2": (shape.ffn, width)}.get(linear, (width, width))
            for key, size in (("lora_A", (shape.rank, ins)), ("lora_B", (outs, shape.rank))):
                tensor = torch.randn(size, generator=generator) * 0.01
                tensors[f"diffusion_model.blocks.{layer}.{linear}.{key}.weight"] = tensor.half()
    save_file(tensors, file, metadata={"format": "pt"})


if __name__ == "__main__":
    make_job(Shape(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
