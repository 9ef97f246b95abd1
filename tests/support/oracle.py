"""Ground truth from the real systems, recorded with portable CPU kernels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.case.load import DEMO
from parity.selftest.workshop import tiny_checkpoint
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import Model, find_model
from pipelines.engine.checkpoint import folders, load_pipeline
from pipelines.engine.encoders import Encoders
from pipelines.engine.encodings import Encodings
from pipelines.engine.engine import Engine
from pipelines.engine.stages import Work
from pipelines.media.video import Frames
from pipelines.phases import unheard
from pipelines.recipe import Recipe
from tests.support.paths import DATA

ORACLE = DATA / "oracle"
JOBS = {
    "t2v_basic": "wan21_14b",
    "t2v_mixed_scale": "wan21_1b",
    "i2v_basic": "wan21_i2v_14b",
    "wan22_t2v": "wan22_14b_t2v",
    "wan22_i2v": "wan22_14b_i2v",
}
SAMPLES = [(job, index) for job in JOBS for index in (0, 1)]
JOBS_5B = {"wan22_5b_t2v": "wan22_5b", "wan22_5b_i2v": "wan22_5b"}
SAMPLES_5B = [*(("wan22_5b_t2v", index) for index in (0, 1)), *(("wan22_5b_i2v", index) for index in (0, 1, 2))]
"""Samples 0 and 1 of the second job have a control image, sample 2 has none."""


def recorded_frames(side: str, job: str, index: int) -> Frames:
    """Raw frames (T, H, W, 3), uint8, as the real system had them before encoding. `side`: a folder of the oracle."""
    with np.load(ORACLE / side / job / f"{index}.npz") as data:
        frames: Frames = data["frames"]
    return frames


def recorded(side: str, job: str, index: int) -> tuple[Frames, bytes]:
    """Raw frames and the file that the real system wrote."""
    return recorded_frames(side, job, index), (ORACLE / side / job / f"{index}.webp").read_bytes()


def assert_recorded(frames: Frames, side: str, job: str, index: int) -> None:
    """Demand the recorded bits, on every CPU; a failure says how far off the frames are."""
    expected = recorded_frames(side, job, index)
    assert frames.shape == expected.shape
    assert np.array_equal(frames, expected), f"{psnr(frames, expected):.2f} dB from what the real system generated"


def psnr(a: Frames, b: Frames) -> float:
    """Over the whole video, in dB."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def whole_pipeline(recipe: Recipe) -> Any:
    """The engine's pipeline of a recipe, with the text encoder that the engine loads only to encode."""
    pipe, found = load_pipeline(recipe), folders(recipe)
    encoders = Encoders(pipe, found, Encodings(), Work(), torch.device("cpu"), "none")
    pipe.text_encoder = encoders.encoder("text_encoder", recipe, unheard)
    return pipe


def sample_recipe(job: str, index: int, toolkit: str = "0.12.26") -> Recipe:
    """The preview recipe of a recorded sample."""
    return preview_recipe(read_job(DEMO / "jobs" / job / "config.yaml"), index, model=model_of(job), toolkit=toolkit)


def checkpoint_of(job: str) -> Path:
    """The tiny checkpoint a job was trained on."""
    return tiny_checkpoint(model_of(job))


def model_of(job: str) -> Model:
    return find_model((JOBS | JOBS_5B)[job])


def seeded(engine: Engine, recipe: Recipe, seed: int) -> Frames:
    """A drawing for which torch's global generator is seeded, once LoRA layers took from it what they throw away."""
    import torch

    engine.denoise(dataclasses.replace(recipe, steps=1))
    torch.manual_seed(seed)
    return engine.generate(recipe)
