"""Sections at the size of the published models: what a step, a decode and a merge cost, and in which memory."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu.context import Context, demo
from benchmarks.gpu.measure import Clock, cost, decibel, gib, in_words, plain, release
from benchmarks.gpu.record import Row
from benchmarks.gpu.weights import RANK, SHAPES, SMALL, Made, make, read
from pipelines.engine import stages
from pipelines.engine.engine import Engine
from pipelines.offload import OFFLOADS
from pipelines.quantization import Quantization
from pipelines.recipe import EXPERT_PARTS, Asked, LoraApplication, Precision, Recipe
from pipelines.weights import Weights

STEPS = 3


def checkpoint(context: Context, name: str) -> Made:
    """The checkpoint of a shape: made once for all sections, but for those of many gigabytes."""
    import pickle

    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    folder, known = context.work / f"checkpoint-{name}", context.work / f"checkpoint-{name}.pickle"
    if known.is_file():
        made: Made = pickle.loads(known.read_bytes())
        return made
    shutil.rmtree(folder, ignore_errors=True)
    made = make(folder, (SMALL if context.small else SHAPES)[name], context.torch_device, small=context.small)
    known.write_bytes(pickle.dumps(made))
    return made


def recipe_of(context: Context, made: Made, *, applied: LoraApplication, steps: int = STEPS, lora: int = 0) -> Recipe:
    """A video of 41 frames of 832x480 by a checkpoint, with one of its LoRAs."""
    name = "wan22-t2v-guitar-reference" if made.shape.experts else "t2v-guitar-reference"
    width, height, frames = (64, 64, 1) if context.small else (832, 480, 41)
    return dataclasses.replace(
        demo()[name],
        model=made.shape.model,
        weights=Weights(str(made.folder)),
        width=Asked(width, width),
        height=Asked(height, height),
        num_frames=Asked(frames, frames),
        steps=steps,
        precision=Precision("float32" if context.small else "bfloat16", "cast" if applied == "merged" else "kept"),
        lora_files=made.loras[lora],
        lora_scales=(1.0,) * len(made.loras[lora]),
        lora_application=applied,
    )


def small_model(context: Context) -> Iterator[Row]:
    """1.3B: against a bare loop, merged and adapter, each offload mode, two qtypes."""
    made, row = _made(context, "1.3b")
    yield row
    yield from _model(context, made)
    yield from _offloaded(context, made)
    yield from _quantized(context, made)


def large_model(context: Context) -> Iterator[Row]:
    """14B: against a bare loop, merged and adapter."""
    made, row = _made(context, "14b")
    yield row
    try:
        yield from _model(context, made)
    finally:
        _remove(context, "14b")


def experts(context: Context) -> Iterator[Row]:
    """The pair of Wan 2.2: two experts with the same weights."""
    made, row = _made(context, "a14b")
    yield row
    try:
        yield from _engine(context, made, None)
    finally:
        _remove(context, "a14b")


def _made(context: Context, name: str) -> tuple[Made, Row]:
    with cost(context.torch_device) as took:
        made = checkpoint(context, name)
    where = str(context.work).partition("/kit-work")[0]
    kinds = "the transformers' shapes and the VAE's are real; the text encoder is the demo's tiny one"
    twice = ", both experts the same" if made.shape.experts else ""
    figure = f"{made.size / 2 / 1e9:.2f} G parameters in {took.seconds:.1f} s"
    return made, Row("random weights made and written", figure, f"in {where}{twice}; {kinds}", {"bytes": made.size})


def _remove(context: Context, name: str) -> None:
    shutil.rmtree(context.work / f"checkpoint-{name}", ignore_errors=True)
    (context.work / f"checkpoint-{name}.pickle").unlink(missing_ok=True)


def _model(context: Context, made: Made) -> Iterator[Row]:
    bare = {}
    for row in _bare(context, made):
        bare = dict(row.values)
        yield row
    release()
    yield from _engine(context, made, bare)


def _bare(context: Context, made: Made) -> Iterator[Row]:
    """Load, add the LoRA as an adapter, generate and decode with diffusers alone, its own settings untouched."""
    import diffusers

    device, clock = context.torch_device, Clock(context.torch_device)
    recipe = recipe_of(context, made, applied="adapter")
    with cost(device) as whole:
        began = clock.restart()
        pipe: Any = diffusers.WanPipeline.from_pretrained(made.folder, dtype=getattr(torch, recipe.precision.dtype))
        pipe.to(device)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = stages.scheduler(recipe)
        loaded = clock.restart()
        pipe.load_lora_weights(str(recipe.lora_files[0].path))
        fitted = clock.restart()

        def after(_pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            clock.on_step(step)
            return tensors

        pipe(
            recipe.prompt,
            recipe.negative_prompt,
            height=recipe.height.applied,
            width=recipe.width.applied,
            num_frames=recipe.num_frames.applied,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(recipe.seed or 0),
            callback_on_step_end=after,
            output_type="np",
        )
        last, step = clock.steps[-1], clock.step
        ended = clock.restart()
    decode = ended - last
    values = {"step": step, "decode": decode, "peak": whole.peak, "load": loaded - began, "seconds": whole.seconds}
    note = f"loading {loaded - began:.1f} s, LoRA {fitted - loaded:.1f} s, all {whole.seconds:.1f} s"
    yield Row("bare diffusers loop", _figure(step, decode, whole.peak), note, values)
    del pipe


def _figure(step: float, decode: float, peak: int) -> str:
    return f"{step:.3f} s a step, decode {decode:.2f} s, {gib(peak)}"


def _engine(context: Context, made: Made, bare: dict[str, Any] | None) -> Iterator[Row]:
    """Merge, generate, change the LoRA, take it out again, then the adapter, all on one loaded checkpoint."""
    engine, clock = context.engine(), Clock(context.torch_device)
    engine.on_phase = clock.on_phase
    device = context.torch_device
    merged, adapter = (recipe_of(context, made, applied=way) for way in ("merged", "adapter"))
    with cost(device) as loading:
        engine.load(merged)
    yield Row("engine, loading", f"{loading.seconds:.1f} s", "to the CPU", {"seconds": loading.seconds})
    yield from _generated(engine, clock, "engine, LoRA merged", merged, bare, loading.seconds)
    yield from _lora_changes(context, engine, clock, made, merged)
    yield from _generated(engine, clock, "engine, LoRA as adapter", adapter, bare, loading.seconds)
    began = clock.restart()
    engine.close()
    yield Row(
        "engine, closed", f"{clock.restart() - began:.2f} s", "what was merged or added is undone, or thrown away"
    )


def _generated(
    engine: Engine, clock: Clock, name: str, recipe: Recipe, bare: dict[str, Any] | None, loading: float
) -> Iterator[Row]:
    with cost(engine.device) as whole:
        began = clock.restart()
        latents = engine.denoise(recipe, clock.on_step)
        last, step = clock.steps[-1], clock.step
        fitting = clock.before(began) + clock.phase("merge")
        engine.decode(latents, recipe)
        ended = clock.restart()
    decode = ended - last
    values = {"step": step, "decode": decode, "peak": whole.peak, "fitting": fitting, "seconds": whole.seconds}
    note = f"weights placed and LoRA fitted in {fitting:.2f} s"
    if engine.ran is not None:
        kernels = ", ".join(f"{kernel} {calls} times" for kernel, calls in engine.ran.attention_kernels.items())
        note += "; ".join(["", f"attention in the first pass: {kernels}", *engine.ran.not_as_asked])
    if bare:
        ratios = {key: values[key] / bare[key] for key in ("step", "decode", "peak") if bare[key]}
        ratios["all"] = (loading + whole.seconds) / bare["seconds"]
        values |= {f"{key}_ratio": ratio for key, ratio in ratios.items()}
        note += "; of the bare loop: " + ", ".join(f"{key} {ratio:.2f}" for key, ratio in ratios.items())
    yield Row(name, _figure(step, decode, whole.peak), note, values)


def _lora_changes(context: Context, engine: Engine, clock: Clock, made: Made, merged: Recipe) -> Iterator[Row]:
    """Change the merged LoRA, then take it out, and hold the base against its files, bit for bit."""
    few = (128, 128, 5) if not context.small else (64, 64, 1)
    width, height, frames = (Asked(number, number) for number in few)
    quick = dataclasses.replace(merged, steps=1, width=width, height=height, num_frames=frames)
    other = dataclasses.replace(quick, lora_files=made.loras[1])
    began = clock.restart()
    engine.denoise(other)
    seconds = clock.before(began) + clock.phase("merge")
    on = f"rank {RANK} on {10 * made.shape.layers} layers{' of each expert' if made.shape.experts else ''}"
    yield Row("engine, merged LoRA changed", f"{seconds:.2f} s", on, {"seconds": seconds})
    began = clock.restart()
    engine.denoise(dataclasses.replace(quick, lora_files=(), lora_scales=()))
    seconds = clock.before(began)
    unequal = _unequal(engine, made)
    figure = "the base has the bits of its files" if not unequal else f"{len(unequal)} tensors differ: {unequal[0]}"
    yield Row(
        "engine, merged LoRA taken out", figure, f"in {seconds:.2f} s", {"unequal": len(unequal), "seconds": seconds}
    )


def _unequal(engine: Engine, made: Made) -> list[str]:
    """The tensors of the transformers whose bits are not those of the files, cast as they were loaded."""
    pipe = engine._pipe  # what a user cannot see, and a test of bits has to
    found = []
    parts = list(dict.fromkeys(EXPERT_PARTS.values())) if made.shape.experts else ["transformer"]
    ours = {part: dict(getattr(pipe, part).named_parameters()) for part in parts}
    for name, stored in read(made.folder / "transformer"):
        for part in parts:
            parameter = ours[part][name]
            if not torch.equal(stored.to(parameter.device, parameter.dtype), parameter):
                found.append(f"{part}.{name}")
    return found


def _offloaded(context: Context, made: Made) -> Iterator[Row]:
    """Each offload mode at real size: bits, memory, seconds a step."""
    device = context.torch_device
    recipe = recipe_of(context, made, applied="merged", steps=2)
    frames: dict[str, Any] = {}
    for mode in OFFLOADS if device.type == "cuda" else OFFLOADS[:1]:
        engine, clock = context.engine(mode), Clock(device)
        with cost(device) as whole:
            frames[mode] = engine.generate(recipe, clock.on_step)
        step = clock.step
        engine.close()
        psnr = decibel(frames[mode], frames["none"])
        note = f"to --offload none: {in_words(psnr)}; all {whole.seconds:.1f} s"
        values = {"step": step, "peak": whole.peak, "psnr": plain(psnr), "seconds": whole.seconds}
        yield Row(f"--offload {mode}", f"{step:.3f} s a step, {gib(whole.peak)}", note, values)


def _quantized(context: Context, made: Made) -> Iterator[Row]:
    """Two qtypes at real size, and how far their videos are from that in bfloat16."""
    base = recipe_of(context, made, applied="side_path", steps=2)
    plain_frames: Any = None
    for qtype in (None, "qfloat8", "uint4"):
        engine, clock = context.engine(), Clock(context.torch_device)
        recipe = dataclasses.replace(base, quantization=Quantization(qtype))
        with cost(context.torch_device) as loading:
            engine.load(recipe)
        with cost(context.torch_device) as whole:
            frames = engine.generate(recipe, clock.on_step)
        step = clock.step
        engine.close()
        plain_frames = frames if qtype is None else plain_frames
        psnr = decibel(frames, plain_frames)
        note = f"loading {loading.seconds:.1f} s" + ("" if qtype is None else f"; to unquantized: {in_words(psnr)}")
        values = {"step": step, "peak": whole.peak, "loading": loading.seconds, "psnr": plain(psnr)}
        name = f"LoRA as side path, {qtype or 'not quantized'}"
        yield Row(name, f"{step:.3f} s a step, {gib(whole.peak)}", note, values)
