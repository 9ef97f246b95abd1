"""A small job config on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from pipelines.aitoolkit.job import Job, read_job

TRAINED = 1_795_289_016_732
"""A time in a preview's name, in milliseconds."""


def config(**changes: dict[str, Any]) -> dict[str, Any]:
    """A job config, with keys of its sections added or replaced; `process` is the section around them."""
    process: dict[str, Any] = {
        "type": "diffusion_trainer",
        "network": {"type": "lora", "linear": 4},
        "train": {"dtype": "bf16"},
        "model": {"name_or_path": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "arch": "wan21:1b"},
        "sample": {"prompts": ["a boat"], "neg": "", "width": 96, "height": 64, "num_frames": 9},
    }
    for section, keys in changes.items():
        (process if section == "process" else process[section]).update(keys)
    return {"job": "extension", "config": {"name": "mine", "process": [process]}}


def job(folder: Path, **changes: dict[str, Any]) -> Job:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(**changes)))
    return read_job(path)


def preview(folder: Path, minute: int, step: int, index: int, *, kept: bool = True) -> None:
    """An empty file with a preview's name; `kept`: with the time of its name, as the trainer left it."""
    (folder / "samples").mkdir(exist_ok=True)
    ms = TRAINED + minute * 60_000
    path = folder / "samples" / f"{ms}__{step:09d}_{index}.webp"
    path.touch()
    if kept:
        os.utime(path, (ms / 1000, ms / 1000))
