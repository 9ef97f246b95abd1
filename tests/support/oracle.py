"""Ground truth from the real systems, recorded on two kinds of CPU."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.case.load import DEMO
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import Model, find_model
from pipelines.media.video import Frames
from pipelines.recipe import Recipe
from tests.support.paths import DATA

ORACLE = DATA / "oracle"
RECORDINGS = ("avx512", "avx2")
JOBS = {
    "t2v_basic": "wan21_14b",
    "t2v_mixed_scale": "wan21_1b",
    "i2v_basic": "wan21_i2v_14b",
    "wan22_t2v": "wan22_14b_t2v",
    "wan22_i2v": "wan22_14b_i2v",
}
SAMPLES = [(job, index) for job in JOBS for index in (0, 1)]

OTHER_CPU_DB = 46.0
"""What a right recipe reaches on a CPU that rounds otherwise: measured 47.5 to 49.5 dB between three kinds of CPU.
bfloat16 decoding alone moves a pixel by about one level of 255 (48.1 dB), so no recipe can promise 50 dB.
A wrong scheduler is at 38 dB."""

OTHER_CPU_FLOAT32_DB = 70.0
"""The same in float32, where rounding weighs less: measured 92.5 dB and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A recording that our frames agree with: to the bit, or as far as another CPU can."""

    recording: str
    exact: bool


def fingerprint() -> str:
    """How this machine rounds: hash of a short plain diffusers run in bfloat16, no code of ours in it."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanPipeline

    pipe: Any = WanPipeline.from_pretrained(DEMO / "models" / "tiny-wan-t2v", dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    video = pipe(
        prompt="a", height=64, width=96, num_frames=5, num_inference_steps=3, output_type="np",
        generator=torch.Generator("cpu").manual_seed(1),
    ).frames  # fmt: skip
    return hashlib.sha256(np.ascontiguousarray(video, dtype=np.float32).tobytes()).hexdigest()


def recorded_fingerprints() -> dict[str, str]:
    """Recording -> fingerprint, where one was taken."""
    stored: dict[str, str] = json.loads((ORACLE / "kernels.json").read_text())
    return stored


def recorded_frames(recording: str, side: str, job: str, index: int) -> Frames:
    """Raw frames, as the real system had them before encoding."""
    with np.load(ORACLE / recording / side / job / f"{index}.npz") as data:
        frames: Frames = data["frames"]
    return frames


def recorded(recording: str, side: str, job: str, index: int) -> tuple[Frames, bytes]:
    """Raw frames and the file, of `preview` or `inference`."""
    file = ORACLE / recording / side / job / f"{index}.webp"
    return recorded_frames(recording, side, job, index), file.read_bytes()


def match(frames: Frames, side: str, job: str, index: int, machine: str, otherwise_db: float = OTHER_CPU_DB) -> Match:
    """Hold frames against all recordings. Bits are demanded where the machine rounds as a recording one did.

    Elsewhere this warns, and asks for `otherwise_db`.
    """
    best, closest = 0.0, ""
    for recording in RECORDINGS:
        if not (ORACLE / recording / side / job).is_dir():
            continue
        expected = recorded_frames(recording, side, job, index)
        assert frames.shape == expected.shape
        if np.array_equal(frames, expected):
            return Match(recording=recording, exact=True)
        assert recorded_fingerprints().get(recording) != machine, (
            f"this CPU rounds as {recording} did, yet the frames differ from {psnr(frames, expected):.2f} dB"
        )
        if psnr(frames, expected) > best:
            best, closest = psnr(frames, expected), recording
    warnings.warn(f"this CPU rounds like none of the recording ones; {best:.2f} dB from {closest}", stacklevel=2)
    assert best >= otherwise_db
    return Match(recording=closest, exact=False)


def psnr(a: Frames, b: Frames) -> float:
    """Over the whole video, in dB."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def sample_recipe(job: str, index: int) -> Recipe:
    """The preview recipe of a recorded sample."""
    return preview_recipe(read_job(DEMO / "jobs" / job / "config.yaml"), index, model=model_of(job), toolkit="0.12.26")


def checkpoint_of(job: str) -> Path:
    """The tiny checkpoint a job was trained on."""
    return DEMO / "models" / f"tiny-{'wan22' if job.startswith('wan22') else 'wan'}-{model_of(job).kind}"


def model_of(job: str) -> Model:
    return find_model(JOBS[job])
