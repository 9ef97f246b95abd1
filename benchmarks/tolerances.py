"""The effect of one changed factor at a time on the demo's shapes, in decibels.

    python benchmarks/tolerances.py
    python benchmarks/tolerances.py --quick
    python benchmarks/tolerances.py --picture docs/shapes.png

Takes the demo's last previews of coloured shapes (cases/jobs/shapes_t2v, shapes_i2v), generates each as the trainer
did and then with one change, and prints a Markdown table: every metric of raw frames, and of the files a viewer gets.
Means over frames and previews, and the worst preview. docs/tolerances.md contains it. With `--quick` it takes the first
preview of each job. `--picture` generates one preview in a few ways and stacks their frames in one picture.
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
from parity.comparison.metrics import HIGHER_IS_BETTER, measure
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
"""The API's model of each job."""
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
    """Take the LoRA of the first saved step."""
    files = tuple(lora_file(sorted(file.path.parent.glob("*_0*.safetensors"))[0]) for file in recipe.lora_files)
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
    ("guidance", "0.5 lower", lambda recipe: dataclasses.replace(recipe, guidance_scale=recipe.guidance_scale - 0.5)),
    ("guidance", "none (1)", _set(guidance_scale=1.0)),
    ("lora_scale", "0.9 instead of 1", _scaled(0.9)),
    ("lora_scale", "0.5 instead of 1", _scaled(0.5)),
    ("lora_file", "from the first saved step", _older),
    ("lora_file", "none", _set(lora_files=(), lora_scales=())),
    ("prompt", "without the trigger word", _blind),
    ("prompt", "full stop added", lambda recipe: dataclasses.replace(recipe, prompt=recipe.prompt + ".")),
    ("negative_prompt", "blurry, low quality", _set(negative_prompt="blurry, low quality")),
    ("seed", "next integer", lambda recipe: dataclasses.replace(recipe, seed=(recipe.seed or 0) + 1)),
    ("resize", "bicubic instead of lanczos", _resized(Resize("bicubic"))),
    ("resize", "center crop instead of stretch", _resized(Resize(crop="center"))),
    ("control_image", "mirrored", _mirrored),
)
"""Factor, description, change. A preview whose recipe a change leaves equal is not counted for it."""


def previews(first: int | None = None) -> list[Recipe]:
    """Read the recipes of the last previews of each job, or of the `first` of them."""
    recipes = []
    for name, model in JOBS.items():
        job = read_job(DEMO / "jobs" / name / "config.yaml")
        videos = [parse_video_name(path.name) for path in sorted((job.folder / "samples").glob("*.webp"))]
        known = [video for video in videos if video is not None]
        last = max(video.step or 0 for video in known)
        recipes += [
            preview_recipe(job, video.index, model=find_model(model), toolkit="0.12.26", video=video)
            for video in [video for video in known if video.step == last][:first]
        ]
    return recipes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: for each preview its metrics."""

    factor: str
    what: str
    raw: Sequence[dict[str, float | None]]
    files: Sequence[dict[str, float | None]]


def close(a: Frames, b: Frames, names: Sequence[str]) -> dict[str, float | None]:
    """Measure the means over the frames; None if all frames are equal."""
    return {name: metric.mean for name, metric in measure(a, b, (), asked=names).items()}


def table(recipes: Sequence[Recipe], names: Sequence[str]) -> list[Row]:
    """Generate and compare everything. The codec's row comes first, then those of CHANGES in their order."""
    engine = Engine("cpu")
    generated = [engine.generate(recipe) for recipe in recipes]
    seen = [deliver(raw, recipe)[1].frames for raw, recipe in zip(generated, recipes, strict=True)]
    floor = [close(raw, file, names) for raw, file in zip(generated, seen, strict=True)]
    rows = [Row(factor="codec", what="raw frames against their own WebP", raw=[], files=floor)]
    for factor, what, change in CHANGES:
        raw, files = [], []
        for recipe, its_raw, its_file in zip(recipes, generated, seen, strict=True):
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
    """Format `38.5 (36.0)`: the mean and the worst preview, of those that differ."""
    known = [value for item in values if (value := item[name]) is not None]
    if not known:
        return "identical" if values else ""
    identical = len(values) - len(known)
    digits = {"psnr": 1, "ssim": 3, "lpips": 4, "vmaf": 1}[name]
    worst = min(known) if HIGHER_IS_BETTER[name] else max(known)
    alike = f", {identical} identical" if identical else ""
    return f"{sum(known) / len(known):.{digits}f} ({worst:.{digits}f}){alike}"


def picture(recipe: Recipe, path: Path) -> None:
    """Write a picture with one row of frames for each way of generating a preview."""
    from PIL import Image, ImageDraw, ImageFont

    engine, tall = Engine("cpu"), 24
    strips = []
    for label, change in (
        ("as the trainer generated it", _set()),
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
    """Measure and print, or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a PNG instead")
    parser.add_argument("--quick", action="store_true", help="the first preview of each job alone")
    options = parser.parse_args()
    if options.picture is not None:
        picture(previews()[0], options.picture)
        return
    names = list(HIGHER_IS_BETTER)
    recipes = previews(1 if options.quick else None)
    rows = table(recipes, names)
    heads = [f"{where} {name.upper()}" for where in ("raw", "file") for name in names]
    print(f"\n| factor | change | n | {' | '.join(heads)} |\n|---|---|---|{'---|' * len(heads)}")
    for row in rows:
        cells = [cell(values, name) for values in (row.raw, row.files) for name in names]
        print(f"| {row.factor} | {row.what} | {len(row.files)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
