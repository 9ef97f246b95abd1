"""Another LoRA on a loaded checkpoint: ours against the reference server's way, unload and load as an adapter."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.core import Row, Size, duration
from benchmarks.shapes import LONG, TINY, made
from parity.case.load import load_case
from pipelines.lora_files import lora_file
from pipelines.recipe import Recipe


def rows(size: Size) -> Iterator[Row]:
    """Another LoRA of rank 32 on a loaded checkpoint, against the reference server's unload and load.

    Ours is what a generation takes longer after a switch than without one, as nothing else switches.
    """
    shape = dataclasses.replace(TINY if size.small else LONG, steps=1)
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        folder = Path(name)
        made(shape, folder, loras=2)
        files = [folder / "job.safetensors", folder / "other_1.safetensors"]
        theirs = _reference_server(folder, files, size.pairs)
        for base, how in (("faithful", "merged"), ("reference", "adapter")):
            ours = _ours(load_case(folder / base / "0.yaml").inference, files, size.pairs)
            yield Row(
                what=f"switch, {how}, {10 * shape.layers} linears of {shape.name} in {shape.dtype}",
                anchor="unload_lora_weights, load_lora_weights, set_adapters",
                ratio=ours / theirs,
                ours=duration(ours),
                theirs=duration(theirs),
            )


def _ours(recipe: Recipe, files: list[Path], pairs: int) -> float:
    from pipelines.engine.engine import Engine

    recipes = [dataclasses.replace(recipe, lora_files=(lora_file(file),)) for file in files]
    engine = Engine("cpu")
    engine.denoise(recipes[0])
    switching: list[float] = []
    staying: list[float] = []
    for number in range(pairs):
        other = recipes[(number + 1) % 2]
        for found in (switching, staying):
            found.append(_seconds(partial(engine.denoise, other)))
    engine.close()
    return max(0.0, statistics.median(switching) - statistics.median(staying))


def _reference_server(folder: Path, files: list[Path], pairs: int) -> float:
    """As src/pipelines/wan21.py at af4aec1 takes the next request's LoRA."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    pipe: Any = WanPipeline.from_pretrained(folder / "checkpoint", torch_dtype=torch.float32)

    def switch(file: Path) -> None:
        pipe.unload_lora_weights()
        pipe.load_lora_weights(str(file), adapter_name="default")
        pipe.set_adapters(["default"], [1.0])

    switch(files[0])
    return statistics.median(_seconds(partial(switch, files[(number + 1) % 2])) for number in range(pairs))


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
