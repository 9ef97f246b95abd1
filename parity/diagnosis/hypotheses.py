"""The settings that a search varies, each with the values that ai-toolkit, its versions and its users are known to use.

Each axis is one factor. Its options depend on the current hypothesis and on the surroundings of the case: the job's
other prompts, its other LoRA files, the request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

from parity.case.load import Case
from parity.diagnosis import comfyui_axes
from parity.diagnosis.axis import Axis, Option
from parity.factors.findings import show
from pipelines.aitoolkit.job import Sample
from pipelines.aitoolkit.job_folder import parse_video_name, step_files
from pipelines.drift import LORA_FACTORS, differing_factors, take, with_loras
from pipelines.errors import ParityError
from pipelines.lora_files import lora_file, why_not_applied
from pipelines.media.control_image import load as load_control_image
from pipelines.prompts import TRIGGER, replaced
from pipelines.quantization import Quantization, unsupported
from pipelines.recipe import (
    FILTERS,
    Conditioning,
    EarlierMerge,
    Expert,
    LoraApplication,
    LoraFile,
    Precision,
    Recipe,
    Resize,
)
from pipelines.scheduler import COMFYUI, Scheduler, flow_schedule

_STEPS = (4, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50)
_GUIDANCE = (1.0, 2.0, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 7.5)
_SHIFTS = (1.0, 2.0, 3.0, 5.0, 7.0, 8.0, 12.0)
"""ai-toolkit uses 3, published Wan checkpoints 5 and 8; 1 means no shift."""
_SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
_BOUNDARIES = (0.875, 0.9)
"""ai-toolkit uses 0.875, as Wan itself does for T2V; Wan's own value for I2V is 0.9."""
_CONDITIONINGS = (
    Conditioning(latents="sample", noise="seeded"),
    Conditioning(latents="sample", noise="cuda"),
    Conditioning(latents="mode", rounded=True),
    Conditioning(latents="mode", rounded=False),
)
"""The conditionings that are repeatable. On a CPU, `cuda` is the same as `seeded`."""
_OTHER: dict[Expert, Expert] = {"high": "low", "low": "high"}
_MOST_MERGES = 4
"""The largest number of earlier previews of a process that is tried."""
_MOST_FILES = 12
"""The largest number of LoRA files, and of prompts, that are tried: the nearest ones."""


def axes(case: Case, other_side: str = "the request's") -> list[Axis]:
    """List every setting that a search varies for a case. `other_side` names whose values `case.inference` holds.

    Cheap ones come first (tiling costs a decode, seeds show after a few steps), then by likelihood and size of the
    effect, so that large differences are gone before small ones are measured; settings with many values come last.
    """
    comfyui = comfyui_axes.involves_comfyui(case)
    found = [
        Axis(factor="vae_tiling", options=_tilings),
        Axis(factor="quantization", options=partial(_quantizations, case), only_rounds=True),
        Axis(factor="vae_norm", options=_norms, only_rounds=True),
        Axis(factor="seed", options=lambda recipe: _seeds(case, recipe, other_side), screened=True),
        *(
            Axis(factor=factor, options=partial(_loras, case, expert=expert))
            for factor, expert in LORA_FACTORS.items()
            if factor.startswith("lora_file")
        ),
        Axis(factor="scheduler", options=_families),
        *(comfyui_axes.AXES if comfyui else ()),
        Axis(factor="extra_loras", options=partial(_extra_loras, case)),
        Axis(factor="boundary", options=partial(_boundaries, splits=comfyui)),
        Axis(factor="conditioning", options=_conditionings),
        Axis(factor="lora_application", options=_applications, only_rounds=True),
        Axis(factor="precision", options=partial(_precisions, comfyui=comfyui), only_rounds=True),
        Axis(factor="merge_residue", options=lambda recipe: _residues(case, recipe), only_rounds=True),
        Axis(factor="control_image", options=lambda recipe: _images(case, recipe)),
        Axis(factor="resize", options=partial(_resizes, comfyui=comfyui)),
        Axis(factor="prompt", options=lambda recipe: _prompts(case, recipe, other_side)),
        Axis(factor="negative_prompt", options=lambda recipe: _negatives(case, recipe)),
        *(
            Axis(
                factor=factor,
                options=partial(_scales, expert=expert),
                between=partial(_scale, expert=expert),
                grain=(0.1, 0.05, 0.01),
            )
            for factor, expert in LORA_FACTORS.items()
            if factor.startswith("lora_scale")
        ),
        Axis(factor="guidance", options=lambda recipe: _guidances(case, recipe), between=_guidance, grain=(0.5, 0.1)),
        Axis(factor="shift", options=_shifts, between=_shift, grain=(1.0, 0.5, 0.1)),
        Axis(factor="steps", options=lambda recipe: _steps(case, recipe)),
    ]
    return [axis for axis in found if any(True for _ in axis.options(case.preview))]


def rounding_variants(recipe: Recipe) -> Iterator[Option]:
    """List all combinations of LoRA application and precision: the effect of each can hide that of the other."""
    for application in _applications(recipe) if recipe.lora_files else [Option(label="no LoRA", changes={})]:
        for precision in _precisions(recipe):
            label = f"{application.label}; {precision.label}"
            yield Option(label=label, changes={**application.changes, **precision.changes})


def _seeds(case: Case, recipe: Recipe, other_side: str) -> Iterator[Option]:
    index, seed = case.sample, recipe.seed or 0
    rules = [
        (other_side, case.inference.seed),
        ("the config's seed + prompt index (walk_seed)", seed + index),
        ("the config's seed - prompt index (no walk_seed)", seed - index),
        ("42 + prompt index (the API's default)", 42 + index),
        ("42", 42),
        ("0 (ai-toolkit's default)", 0),
        ("prompt index", index),
        *((f"the seed of prompt {number}", other.seed) for number, other in enumerate(_samples(case))),
    ]
    for rule, value in rules:
        if value is not None and value >= 0:
            yield Option(label=f"{value}: {rule}", changes={"seed": value})


def _loras(case: Case, recipe: Recipe, expert: Expert | None) -> Iterator[Option]:
    """Try other files for one expert, or for the only transformer of a model."""
    if (expert is None) != (recipe.boundary is None):
        return
    if recipe.loras(expert):
        yield Option(label="no LoRA", changes=_with(recipe, expert, ()))
    files = [file for file, _ in case.inference.loras(expert)]
    if case.job is not None:
        for path in sorted(case.job.folder.glob("*.safetensors"), reverse=True)[:_MOST_FILES]:
            if expert is not None and f"_{_OTHER[expert]}_noise" in path.name:
                continue
            try:
                files.append(lora_file(path, expert))
            except ParityError:
                continue  # not a LoRA this engine runs
    scales = (*recipe.loras(expert), *case.inference.loras(expert))
    scale = scales[0][1] if scales else 1.0
    for file in files:
        yield Option(label=str(file), changes=_with(recipe, expert, ((file, scale), *recipe.loras(expert)[1:])))


def _extra_loras(case: Case, recipe: Recipe) -> Iterator[Option]:
    """Try the LoRAs that one side has besides another, where there are some: none of them, and all of them."""
    for side, other in ((case.preview, case.inference), (case.inference, case.preview)):
        if "extra_loras" in differing_factors(side, other):
            taken = take(recipe, "extra_loras", side)
            changes = {"lora_files": taken.lora_files, "lora_scales": taken.lora_scales}
            yield Option(label=show(taken, "extra_loras"), changes=changes)


def _with(recipe: Recipe, expert: Expert | None, loras: tuple[tuple[LoraFile, float], ...]) -> dict[str, Any]:
    """Return the recipe fields that give one expert other LoRAs."""
    changed = with_loras(recipe, loras, expert)
    return {"lora_files": changed.lora_files, "lora_scales": changed.lora_scales}


def _families(recipe: Recipe) -> Iterator[Option]:
    for family in ("unipc", "flow_match_euler"):
        schedule = flow_schedule(family, recipe.scheduler.shift)
        yield Option(label=str(schedule), changes={"scheduler": schedule})


def _shifts(recipe: Recipe) -> Iterator[Option]:
    yield from (_shift(recipe, shift) for shift in _SHIFTS)
    others = {"unipc": ("flow_match_euler",), "flow_match_euler": ("unipc",)}
    for family in others.get(recipe.scheduler.family, ()):
        for shift in _SHIFTS:
            schedule = flow_schedule(family, shift)
            yield Option(label=str(schedule), changes={"scheduler": schedule})


def _shift(recipe: Recipe, shift: float) -> Option:
    given = dict(recipe.scheduler.settings)
    if recipe.scheduler.family == COMFYUI:
        schedule = Scheduler(COMFYUI, tuple(sorted((given | {"shift": shift}).items())))
    else:
        schedule = flow_schedule(recipe.scheduler.family, shift)
    return Option(label=str(schedule), changes={"scheduler": schedule}, number=shift)


def _scales(recipe: Recipe, expert: Expert | None) -> Iterator[Option]:
    if recipe.loras(expert):
        yield from (_scale(recipe, scale, expert) for scale in _SCALES)


def _scale(recipe: Recipe, scale: float, expert: Expert | None) -> Option:
    (file, _), *others = recipe.loras(expert)
    return Option(label=f"{scale:g}", changes=_with(recipe, expert, ((file, scale), *others)), number=scale)


def _boundaries(recipe: Recipe, *, splits: bool) -> Iterator[Option]:
    if recipe.boundary is not None:
        for boundary in _BOUNDARIES:
            yield Option(label=f"{boundary:g}", changes={"boundary": boundary, "split": None})
        if splits and recipe.steps > 1:
            half = recipe.steps // 2  # as in the official templates
            yield Option(label=f"split at {half} of {recipe.steps}", changes={"split": half})


def _conditionings(recipe: Recipe) -> Iterator[Option]:
    if recipe.conditioning is not None:
        for conditioning in _CONDITIONINGS:
            yield Option(label=str(conditioning), changes={"conditioning": conditioning})


def _steps(case: Case, recipe: Recipe) -> Iterator[Option]:
    for steps in sorted({case.inference.steps, *(s.sample_steps for s in _samples(case)), *_STEPS} - {recipe.steps}):
        yield Option(label=str(steps), changes={"steps": steps})


def _images(case: Case, recipe: Recipe) -> Iterator[Option]:
    if recipe.control_image is None:
        return
    images = [case.inference.control_image]
    for sample in _samples(case):
        if sample.ctrl_img is not None and case.job is not None:
            try:
                images.append(load_control_image(sample.ctrl_img, case.job.folder))
            except ParityError:
                continue  # the file no longer exists
    for image in images:
        if image is not None:
            yield Option(label=str(image), changes={"control_image": image})


def _resizes(recipe: Recipe, *, comfyui: bool) -> Iterator[Option]:
    if recipe.resize is not None and comfyui:
        resize = Resize("bilinear_no_antialias", "center")
        yield Option(label=str(resize), changes={"resize": resize})
    if recipe.resize is not None:
        for crop in ("stretch", "center"):
            for name in FILTERS:
                resize = Resize(name, crop)
                yield Option(label=str(resize), changes={"resize": resize})


def _prompts(case: Case, recipe: Recipe, other_side: str) -> Iterator[Option]:
    text, trigger = recipe.prompt, case.trigger
    variants = [(other_side, case.inference.prompt)]
    if trigger:
        bare = " ".join(text.replace(trigger, " ").split())
        variants += [
            ("trigger left as [trigger]", _put(text, trigger, TRIGGER)),
            ("[trigger] replaced", _put(text, TRIGGER, trigger)),
            ("trigger removed", bare.lstrip(", ")),
            ("trigger first", f"{trigger} {bare}"),
            ("trigger and comma first", f"{trigger}, {bare}"),
        ]
    variants += [(f"prompt {n}", sample.prompt) for n, sample in enumerate(_samples(case)[:_MOST_FILES])]
    for variant, value in variants:
        yield Option(label=f"{variant}: {value!r}", changes={"prompt": value})


def _put(text: str, old: str, new: str) -> str:
    """The text with `new` for `old`; unchanged, and so no other prompt, if it would be too long for one."""
    try:
        return replaced(text, old, new)
    except ValueError:
        return text


def _negatives(case: Case, recipe: Recipe) -> Iterator[Option]:
    if recipe.guidance > 1:
        for value in (case.inference.negative_prompt, "", *(sample.neg for sample in _samples(case))):
            if value is not None:
                yield Option(label=repr(value), changes={"negative_prompt": value})


def _guidances(case: Case, recipe: Recipe) -> Iterator[Option]:
    values = {case.inference.guidance_scale, *(s.guidance_scale for s in _samples(case)), *_GUIDANCE}
    yield from (_guidance(recipe, value) for value in sorted(values))


def _guidance(_: Recipe, value: float) -> Option:
    return Option(label=f"{value:g}", changes={"guidance_scale": value}, number=value)


def _applications(recipe: Recipe) -> Iterator[Option]:
    if recipe.lora_files:
        for name in get_args(LoraApplication):
            if any(why_not_applied(file.path, name, file.expert) for file in recipe.lora_files):
                continue  # no way to apply this file
            yield Option(label=name, changes={"lora_application": name})


def _precisions(recipe: Recipe, *, comfyui: bool = False) -> Iterator[Option]:
    half = recipe.precision.dtype if recipe.precision.dtype != "float32" else "bfloat16"
    for precision in (Precision(half, "cast"), Precision(half, "kept"), Precision("float32", "kept")):
        whole = {"float32_steps": False, "vae_dtype": None} if comfyui else {}
        yield Option(label=str(precision), changes={"precision": precision, **whole})
    for dtype in comfyui_axes.DTYPES if comfyui else ():
        precision = Precision(dtype, "cast")
        changes = {"precision": precision, "float32_steps": True, "vae_dtype": "bfloat16"}
        yield Option(label=f"{precision}, float32 outside the transformer, VAE in bfloat16", changes=changes)


def _quantizations(case: Case, recipe: Recipe) -> Iterator[Option]:
    """Try a model's parts by themselves and together, where one side is said to be quantized at all."""
    sides = (recipe.quantization, case.preview.quantization, case.inference.quantization)
    if not any(sides):
        return
    parts = (Quantization(text_encoder=side.text_encoder or side.transformer) for side in sides)
    for quantization in dict.fromkeys((Quantization(), *sides, *parts)):
        if unsupported(quantization) is None:
            yield Option(label=str(quantization), changes={"quantization": quantization})


def _tilings(recipe: Recipe) -> Iterator[Option]:
    if dataclasses.replace(recipe, vae_tiling=True).tiles:
        for tiled in (True, False):
            yield Option(label="tiled" if tiled else "not tiled", changes={"vae_tiling": tiled})


def _residues(case: Case, recipe: Recipe) -> Iterator[Option]:
    """Try none, and the LoRAs of one, two, … steps before the preview's, as far as their files are there."""
    video = parse_video_name(case.video.name)
    if case.job is None or recipe.lora_application != "merged" or not recipe.lora_files or video is None:
        return
    yield Option(label="no preview before", changes={"earlier_merges": ()})
    merges: list[EarlierMerge] = []
    for weights in reversed(step_files(case.job, before=video.step)[-_MOST_MERGES:]):
        try:
            files = tuple(lora_file(path, expert) for path, expert in weights.of_experts(case.job))
        except ParityError:
            return
        merges.insert(0, EarlierMerge(files, recipe.lora_scales[0]))
        label = f"after {', '.join(file.path.name for merge in merges for file in merge.files)}"
        yield Option(label=label, changes={"earlier_merges": tuple(merges)})


def _norms(recipe: Recipe) -> Iterator[Option]:
    if recipe.precision.dtype != "float32":
        yield Option(label="in the VAE's dtype (ai-toolkit before 2026-07-10)", changes={"vae_norm": "vae_dtype"})
        yield Option(label="in float32", changes={"vae_norm": "float32"})


def _samples(case: Case) -> tuple[Sample, ...]:
    return case.job.samples if case.job is not None else ()
