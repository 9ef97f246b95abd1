"""What a decibel means: one factor at a time made wrong on the demo's shapes, and what it costs.

    python benchmarks/tolerances.py
    python benchmarks/tolerances.py --picture docs/shapes.png

Takes the demo's last previews of coloured shapes (cases/jobs/shapes_t2v, shapes_i2v), draws each as the trainer did and
then with one thing changed, and prints a Markdown table: PSNR and SSIM of raw frames, and of the files a viewer gets;
LPIPS too where its weights are. Means over frames and previews, and the worst preview. docs/tolerances.md holds it.
The second command draws one preview in a few ways and puts their frames below one another.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.case.load import DEMO
from parity.comparison.compare import deliver
from parity.comparison.metrics import HIGHER_IS_BETTER, lpips_weights, measure
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.engine.engine import Engine
from pipelines.lora_files import lora_file
from pipelines.media.control_image import from_bytes
from pipelines.media.video import Frames
from pipelines.recipe import LoraApplication, Precision, Recipe, Resize
from pipelines.scheduler import flow_schedule

JOBS = {"shapes_t2v": "wan21_1b", "shapes_i2v": "wan21_i2v_14b480p"}
"""Job -> the API's model."""
TRIGGER = "p0stcard "
Change = Callable[[Recipe], Recipe]


def _set(**values: Any) -> Change:
    return lambda recipe: dataclasses.replace(recipe, **values)


def _scaled(scale: float) -> Change:
    return lambda recipe: dataclasses.replace(recipe, lora_scales=tuple(scale for _ in recipe.lora_scales))


def _blind(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, prompt=recipe.prompt.replace(TRIGGER, ""))


def _applied(how: LoraApplication) -> Change:
    return lambda recipe: dataclasses.replace(recipe, lora_application=how) if recipe.lora_files else recipe


def _older(recipe: Recipe) -> Recipe:
    """With the LoRA of the first step that was saved."""
    files = tuple(lora_file(sorted(it.path.parent.glob("*_0*.safetensors"))[0]) for it in recipe.lora_files)
    return dataclasses.replace(recipe, lora_files=files)


def _mirrored(recipe: Recipe) -> Recipe:
    if recipe.control_image is None:
        return recipe
    import io

    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(recipe.control_image.data)) as image:
        buffer = io.BytesIO()
        ImageOps.mirror(image).save(buffer, "PNG")
    return dataclasses.replace(recipe, control_image=from_bytes(buffer.getvalue(), "mirrored"))


def _resized(resize: Resize) -> Change:
    return lambda recipe: recipe if recipe.resize is None else dataclasses.replace(recipe, resize=resize)


CHANGES: tuple[tuple[str, str, Change], ...] = (
    ("lora_application", "side path instead of merged", _applied("side_path")),
    ("lora_application", "PEFT adapter instead of merged", _applied("adapter")),
    ("precision", "bfloat16, float32 modules kept", _set(precision=Precision("bfloat16", "kept"))),
    ("precision", "bfloat16, cast whole", _set(precision=Precision("bfloat16", "cast"))),
    ("scheduler", "UniPC instead of Euler", _set(scheduler=flow_schedule("unipc", 3.0))),
    ("scheduler", "shift 5 instead of 3", _set(scheduler=flow_schedule("flow_match_euler", 5.0))),
    ("steps", "25 instead of 20", _set(steps=25)),
    ("steps", "10 instead of 20", _set(steps=10)),
    ("guidance", "half a unit less", lambda it: dataclasses.replace(it, guidance_scale=it.guidance_scale - 0.5)),
    ("guidance", "none (1)", _set(guidance_scale=1.0)),
    ("lora_scale", "0.9 instead of 1", _scaled(0.9)),
    ("lora_scale", "0.5 instead of 1", _scaled(0.5)),
    ("lora_file", "of the first saved step", _older),
    ("lora_file", "none", _set(lora_files=(), lora_scales=())),
    ("prompt", "trigger word missing", _blind),
    ("prompt", "a full stop at its end", lambda it: dataclasses.replace(it, prompt=it.prompt + ".")),
    ("negative_prompt", "blurry, low quality", _set(negative_prompt="blurry, low quality")),
    ("seed", "the next one", lambda it: dataclasses.replace(it, seed=(it.seed or 0) + 1)),
    ("resize", "bicubic instead of lanczos", _resized(Resize("bicubic"))),
    ("resize", "center crop instead of stretch", _resized(Resize(crop="center"))),
    ("control_image", "mirrored", _mirrored),
)
"""Factor, what is changed, how. What leaves a recipe as it is says nothing about that preview."""


def previews() -> list[Recipe]:
    """Recipes of the last previews of each job."""
    recipes = []
    for name, model in JOBS.items():
        job = read_job(DEMO / "jobs" / name / "config.yaml")
        videos = [parse_video_name(path.name) for path in sorted((job.folder / "samples").glob("*.webp"))]
        known = [video for video in videos if video is not None]
        last = max(video.step or 0 for video in known)
        recipes += [
            preview_recipe(job, video.index, model=find_model(model), toolkit="0.12.26", video=video)
            for video in known
            if video.step == last
        ]
    return recipes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a value a preview, by metric."""

    factor: str
    what: str
    raw: Sequence[dict[str, float | None]]
    files: Sequence[dict[str, float | None]]


def close(a: Frames, b: Frames, names: Sequence[str]) -> dict[str, float | None]:
    """Means over the frames; None where every frame is equal."""
    return {name: it.mean for name, it in measure(a, b, names).items()}


def table(recipes: Sequence[Recipe], names: Sequence[str]) -> list[Row]:
    """Draw everything. The rows come in the order of CHANGES, the codec's own first."""
    engine = Engine("cpu")
    drawn = [engine.generate(recipe) for recipe in recipes]
    seen = [deliver(raw, recipe)[1].frames for raw, recipe in zip(drawn, recipes, strict=True)]
    floor = [close(raw, file, names) for raw, file in zip(drawn, seen, strict=True)]
    rows = [Row(factor="codec", what="raw frames against their own WebP", raw=[], files=floor)]
    for factor, what, change in CHANGES:
        raw, files = [], []
        for recipe, its_raw, its_file in zip(recipes, drawn, seen, strict=True):
            other = change(recipe)
            if other == recipe:
                continue
            frames = engine.generate(other)
            raw.append(close(its_raw, frames, names))
            files.append(close(its_file, deliver(frames, other)[1].frames, names))
        rows.append(Row(factor=factor, what=what, raw=raw, files=files))
        print(f"{factor}, {what}: {len(raw)} previews", flush=True)
    engine.close()
    return rows


def cell(values: Sequence[dict[str, float | None]], name: str) -> str:
    """`38.5 (36.0)`: the mean, and the worst preview; of those that differ, if some do not."""
    known = [value for it in values if (value := it[name]) is not None]
    if not known:
        return "identical" if values else ""
    identical = len(values) - len(known)
    digits = 1 if name == "psnr" else 3
    worst = min(known) if HIGHER_IS_BETTER[name] else max(known)
    alike = f", {identical} identical" if identical else ""
    return f"{sum(known) / len(known):.{digits}f} ({worst:.{digits}f}){alike}"


def picture(recipe: Recipe, path: Path) -> None:
    """Every other frame of a preview, one row a way of drawing it."""
    from PIL import Image, ImageDraw, ImageFont

    engine, tall = Engine("cpu"), 24
    strips = []
    for label, change in (
        ("as the trainer drew it", _set()),
        ("another scheduler", _set(scheduler=flow_schedule("unipc", 3.0))),
        ("half the LoRA", _scaled(0.5)),
        ("without the trigger word", _blind),
    ):
        frames = deliver(engine.generate(other := change(recipe)), other)[1].frames[::2]
        strip = Image.fromarray(np.concatenate(list(frames), 1))
        row = Image.new("RGB", (strip.width * 3 // 2, strip.height * 3 // 2 + tall), "white")
        row.paste(strip.resize((row.width, row.height - tall), Image.Resampling.BICUBIC), (0, tall))
        ImageDraw.Draw(row).text((4, 3), label, "black", ImageFont.load_default(15))
        strips.append(np.asarray(row))
    engine.close()
    Image.fromarray(np.concatenate(strips)).save(path, optimize=True)


def main() -> None:
    """Measure and print, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a PNG instead")
    options = parser.parse_args()
    if options.picture is not None:
        picture(previews()[0], options.picture)
        return
    names = ["psnr", "ssim", *(["lpips"] if lpips_weights().is_file() else [])]
    recipes = previews()
    rows = table(recipes, names)
    heads = [f"{where} {name.upper()}" for where in ("raw", "file") for name in names]
    print(f"\n| factor | what is other | n | {' | '.join(heads)} |\n|---|---|---|{'---|' * len(heads)}")
    for row in rows:
        cells = [cell(values, name) for values in (row.raw, row.files) for name in names]
        print(f"| {row.factor} | {row.what} | {len(row.files)} | {' | '.join(cells)} |")
    if "lpips" not in names:
        print("\nLPIPS: its weights are not on this machine (`parity fetch-lpips`).")


if __name__ == "__main__":
    main()
