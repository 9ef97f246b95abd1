"""Faults planted between engine and file, by case id. `pytest -p tests.support.faults` puts them in its run."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from parity.diagnosis.lab import Lab
from pipelines.media.video import Frames


def flip_a_bit(frames: Frames) -> Frames:
    frames = frames.copy()
    frames[4, 20, 30, 1] ^= 1
    return frames


def drop_a_frame(frames: Frames) -> Frames:
    return np.delete(frames, 3, axis=0)


def late_by_one(frames: Frames) -> Frames:
    """From frame 3 on, each frame comes one later; the last is lost."""
    return np.concatenate([frames[:3], frames[2:-1]])


def die(_: Frames) -> Frames:
    """End the process like the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


FAULTS = {"flipped": flip_a_bit, "dropped": drop_a_frame, "late": late_by_one, "killed": die}


def install(patch: pytest.MonkeyPatch) -> None:
    """Cases with a fault's id are generated with the fault."""
    draw = Lab.generate

    def faulty(lab: Lab, recipe: Any, label: str, trace: Any = None) -> Frames:
        frames = draw(lab, recipe, label, trace)
        return FAULTS[label](frames) if label in FAULTS else frames

    patch.setattr(Lab, "generate", faulty)


def pytest_configure() -> None:
    install(pytest.MonkeyPatch())
