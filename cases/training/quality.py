"""Stage 7: what the checkpoints are worth, measured on captions no stage was trained on.

    python -m cases.training.quality vae  --work WORK --model cases/models/shapes-t2v
    python -m cases.training.quality t2v  --work WORK --model cases/models/shapes-t2v
    python -m cases.training.quality i2v  --work WORK --model cases/models/shapes-i2v
    python -m cases.training.quality lora --work WORK --model cases/models/shapes-t2v --lora LORA

Clips are drawn by diffusers' own pipelines, with the scheduler the checkpoint has or with --euler.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases.training import judge, loop
from cases.training.clips import TRIGGER, Clip, Scene, draw, scenes
from cases.training.vae import LENGTHS, psnr


def pipeline(model: Path, *, euler: bool) -> Any:
    """The checkpoint's pipeline as anyone loads it, in float32."""
    import diffusers

    kind = diffusers.DiffusionPipeline.load_config(model)["_class_name"]
    pipe = getattr(diffusers, kind).from_pretrained(model, dtype=torch.float32)
    if euler:
        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe: Any, asked: Sequence[Scene], prompts: Sequence[str], *, steps: int, guidance: float) -> list[Clip]:
    """One clip a scene (of one size), seeds 0, 1, …; I2V is shown the first frame of the drawn clip."""
    from PIL import Image

    clips = []
    for seed, (scene, prompt) in enumerate(zip(asked, prompts, strict=True)):
        inputs: dict[str, Any] = {"prompt": prompt, "negative_prompt": ""}
        if hasattr(pipe, "image_encoder"):
            inputs["image"] = Image.fromarray(draw(scene)[0])
        frames = pipe(
            **inputs,
            width=scene.width,
            height=scene.height,
            num_frames=scene.frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).frames[0]
        clips.append((frames * 255).round().astype(np.uint8))
    return clips


def agreement(said: Sequence[dict[str, str]], asked: Sequence[Scene]) -> dict[str, float]:
    """Share of clips right in each of colour, shape and direction, and in all of them."""
    wanted = ("color", "shape", "direction")
    right = np.array(
        [[it[name] == getattr(scene, name) for name in wanted] for it, scene in zip(said, asked, strict=True)]
    )
    return {**dict(zip(wanted, right.mean(0).tolist(), strict=True)), "all": float(right.all(1).mean())}


def sheet(clips: Sequence[Clip], path: Path) -> None:
    """First, middle and last frame of each clip, eight clips a row, as a PNG."""
    from PIL import Image

    strips = [np.concatenate([clip[0], clip[len(clip) // 2], clip[-1]]) for clip in clips]
    rows = [np.concatenate(strips[at : at + 8], 1) for at in range(0, len(strips) // 8 * 8, 8)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _report(what: str, shares: dict[str, float]) -> None:
    print(f"{what}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()), flush=True)


def _vae(model: Path) -> None:
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(model / "vae", dtype=torch.float32)
    for size in LENGTHS:
        clips = [draw(it) for it in islice(scenes(71, held_out=True, sizes=(size,), framed=0.25), 12)]
        values = psnr(vae, clips)
        print(f"VAE, held-out clips {size}: {np.mean(values):.2f} dB, worst {min(values):.2f}", flush=True)


def _lora(pipe: Any, options: argparse.Namespace, asked: Sequence[Scene]) -> None:
    seeing = judge.load(options.work)
    pipe.load_lora_weights(str(options.lora.parent), weight_name=options.lora.name, adapter_name="frame")
    for what, scale, trigger in (
        ("LoRA and trigger", 1.0, True),
        ("LoRA, no trigger", 1.0, False),
        ("no LoRA, trigger", 0.0, True),
    ):
        pipe.set_adapters(["frame"], adapter_weights=[scale])
        prompts = [f"{TRIGGER} {it.caption}" if trigger else it.caption for it in asked]
        clips = generate(pipe, asked, prompts, steps=options.steps, guidance=options.guidance)
        said = judge.answers(seeing, clips)
        _report(what, {"framed": float(np.mean([it["framed"] == "yes" for it in said])), **agreement(said, asked)})
        sheet(clips, options.work / f"sheet-lora-{scale:.0f}-{'on' if trigger else 'off'}.png")


def main() -> None:
    """Measure and print."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("what", choices=("vae", "t2v", "i2v", "lora"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--size", type=int, nargs=3, default=(96, 64, 9), metavar=("WIDTH", "HEIGHT", "FRAMES"))
    parser.add_argument("--euler", action="store_true")
    options = parser.parse_args()
    with torch.no_grad():
        if options.what == "vae":
            _vae(options.model)
            return
        pipe = pipeline(options.model, euler=options.euler)
        asked = list(islice(scenes(72, held_out=True, sizes=(tuple(options.size),)), options.clips))
        if options.what == "lora":
            _lora(pipe, options, [replace(it, framed=False) for it in asked])
            return
        clips = generate(pipe, asked, [it.caption for it in asked], steps=options.steps, guidance=options.guidance)
    size = "x".join(map(str, options.size))
    what = f"{options.what}, {len(clips)} clips {size}, guidance {options.guidance:g}"
    _report(what, agreement(judge.answers(judge.load(options.work), clips), asked))
    sheet(clips, options.work / f"sheet-{options.what}-{size}.png")


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
