"""Sections on ways of generating: offload, noise, quantized weights, compiled transformers, another LoRA."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.gpu.context import Context, LeftOutError, demo, reduced
from benchmarks.gpu.measure import Clock, cost, decibel, gib, in_words, plain, sha256
from benchmarks.gpu.record import Row
from pipelines.offload import OFFLOADS
from pipelines.quantization import QTYPES, Quantization
from pipelines.recipe import Precision, Recipe


def offload(context: Context) -> Iterator[Row]:
    """Generate with each offload mode: the bits must be those without."""
    names = ["t2v-guitar-faithful"]
    if not context.small:
        names += ["t2v-guitar-reference", "t2v-mixed-1-faithful", "i2v-waving-faithful", "wan22-t2v-guitar-faithful"]
        names += ["wan22-t2v-guitar-reference", "shapes-frame-count"]
    device = context.torch_device
    modes = OFFLOADS if device.type == "cuda" else OFFLOADS[:1]
    reference: dict[str, Any] = {}
    for mode in modes:
        engine = context.engine(mode)
        equal, failed = [], []
        clock = Clock(device)
        with cost(device) as took:
            for name in names:
                recipe = reduced(context, demo()[name])
                try:
                    frames = engine.generate(recipe, clock.on_step)
                except Exception as error:
                    failed.append(f"{name}: {type(error).__name__}: {error}")
                    continue
                reference.setdefault(name, frames)
                equal.append(np.array_equal(frames, reference[name]))
        engine.close()
        note = f"{took.text}, weights loaded {engine.work.loads} times"
        values = {"equal": sum(equal), "of": len(names), "seconds": took.seconds, "peak": took.peak}
        figure = f"{sum(equal)} of {len(names)} with the same bits as without"
        yield Row(f"--offload {mode}", figure, "; ".join([note, *failed]), values)
    if modes != OFFLOADS:
        yield Row("other modes", "not measured", "weights can only be moved between a GPU and the CPU")


def noise(context: Context) -> Iterator[Row]:
    """Generate a Wan 2.2 I2V video whose image is sampled with the GPU's own generator (`noise: cuda`)."""
    import torch

    device = context.torch_device
    for shape in ((1, 16, 3, 8, 12), (1, 16, 11, 60, 104)):
        numbers = torch.randn(shape, generator=torch.Generator(device).manual_seed(42), device=device)
        size = "x".join(map(str, shape))
        hashed = sha256(numbers.cpu().numpy())
        yield Row(
            f"torch.randn, seed 42, {size}", hashed[:12], "the same on every GPU of this model", {"sha256": hashed}
        )
    recipe = reduced(context, demo()["wan22-i2v-waving-faithful"])
    assert recipe.conditioning is not None
    on_gpu = dataclasses.replace(recipe, conditioning=dataclasses.replace(recipe.conditioning, noise="cuda"))
    frames = []
    for _ in range(1 if context.small else 2):
        engine = context.engine()
        frames.append(engine.generate(on_gpu))
        seeded = engine.generate(recipe)
        engine.close()
    twice = all(np.array_equal(frames[0], other) for other in frames)
    psnr = decibel(frames[0], seeded)
    remark = "" if device.type == "cuda" else "without a GPU the engine takes the seeded generator"
    yield Row("noise: cuda, generated again", "same bits" if twice else "differs", values={"equal": twice})
    yield Row("noise: cuda against noise: seeded", in_words(psnr), remark, {"psnr": plain(psnr)})


def quantized(context: Context) -> Iterator[Row]:
    """Generate with each qtype on the CPU and on the device."""
    base = reduced(context, demo()["shapes-faithful"], 4)
    if not context.small:
        base = dataclasses.replace(base, precision=Precision("bfloat16", "cast"))
    device = context.torch_device
    qtypes = list(dict.fromkeys(Quantization(qtype).effective.transformer for qtype in QTYPES))
    for qtype in qtypes[:1] if context.small else qtypes:
        if qtype is None:
            continue
        recipe = dataclasses.replace(base, quantization=Quantization(qtype), lora_application="side_path")
        frames = []
        for engine in (context.engine(), dataclasses.replace(context, device="cpu").engine()):
            try:
                with cost(engine.device) as took:
                    frames.append((engine.generate(recipe), took))
            except Exception as error:
                yield Row(qtype, f"failed on {engine.device}", f"{type(error).__name__}: {error}")
            finally:
                engine.close()
        if len(frames) == 2:
            psnr, took = decibel(frames[0][0], frames[1][0]), frames[0][1]
            values = {"psnr": plain(psnr), "seconds": took.seconds, "peak": took.peak}
            yield Row(f"{qtype}, GPU to CPU" if device.type == "cuda" else qtype, in_words(psnr), took.text, values)


def compiled(context: Context) -> Iterator[Row]:
    """Compile the transformers as the reference server does for Wan 2.2, on the demo and at the size of 1.3B."""
    device = context.torch_device
    recipe = reduced(context, demo()["wan22-t2v-guitar-reference"])
    yield from _compiled(context, "the demo's Wan 2.2", recipe)
    if device.type == "cuda":
        from benchmarks.gpu.real import checkpoint, recipe_of

        made = checkpoint(context, "1.3b")
        yield from _compiled(context, "1.3B", recipe_of(context, made, applied="adapter", steps=4))


def _compiled(context: Context, name: str, recipe: Recipe) -> Iterator[Row]:
    engine, clock = context.engine(), Clock(context.torch_device)
    eager = engine.generate(recipe, clock.on_step)
    step = clock.step
    began = clock.restart()
    with_compiler = dataclasses.replace(recipe, compiled=True)
    if context.torch_device.type != "cuda":
        engine.close()
        raise LeftOutError("`compiled` needs CUDA")
    frames = engine.generate(with_compiler, clock.on_step)
    blocks = engine.ran.compiled_blocks if engine.ran is not None else None
    first, again = clock.steps[0] - began, clock.step
    began = clock.restart()
    once_more = engine.generate(with_compiler, clock.on_step)
    engine.close()
    psnr = decibel(frames, eager)
    ratio = again / step if step else math.nan
    twice = "generated again: the same bits" if np.array_equal(frames, once_more) else "generated again: it differs"
    note = f"{blocks} blocks; {again:.3f} s a step, {ratio:.2f} of eager; {first:.0f} s until a step was done; {twice}"
    values = {"psnr": plain(psnr), "step": again, "eager_step": step, "first_step": first, "blocks": blocks}
    yield Row(f"{name}, compiled to eager", in_words(psnr), note, values)


def switch(context: Context) -> Iterator[Row]:
    """Change LoRA and scale from generation to generation: the bits must be those of a fresh engine."""
    small = ["t2v-guitar-faithful"] if context.small else []
    names = small or ["t2v-guitar-faithful", "t2v-guitar-reference", "wan22-t2v-guitar-reference"]
    device = context.torch_device
    for name in names:
        recipe = reduced(context, demo()[name])
        half = dataclasses.replace(recipe, lora_scales=tuple(scale / 2 for scale in recipe.lora_scales))
        none = dataclasses.replace(recipe, lora_files=(), lora_scales=())
        engine, clock = context.engine(), Clock(device)
        fresh = engine.generate(recipe)
        engine.on_phase = clock.on_phase
        seconds = []
        for other in (half, none):
            engine.generate(other)
            began = clock.restart()
            back = engine.denoise(recipe)
            seconds.append(clock.before(began) + clock.phase("merge"))
        frames = engine.decode(back, recipe)
        engine.close()
        psnr = decibel(frames, fresh)
        way = f"{recipe.lora_application}{', two experts' if recipe.boundary else ''}"
        note = f"back from half the scale in {seconds[0]:.3f} s, from no LoRA in {seconds[1]:.3f} s"
        values = {"psnr": plain(psnr), "seconds": seconds}
        yield Row(f"{name} ({way}), back to its LoRA", in_words(psnr), note, values)
    if device.type == "cuda":
        yield Row("memory after all engines were closed", gib(_allocated(device)))


def _allocated(device: object) -> int:
    import torch

    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated(device)  # type: ignore[arg-type]
