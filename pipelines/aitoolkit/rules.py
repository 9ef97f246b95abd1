"""The trainer's rules: the sizes, frames, schedules and conditioning of ai-toolkit's previews, by model and version.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pipelines.aitoolkit.job import Job
from pipelines.catalog import Model
from pipelines.graph import FrameRuleName
from pipelines.recipe import Conditioning
from pipelines.scheduler import Scheduler, flow_schedule

BOUNDARY = 0.875
"""The boundary of Wan 2.2, for T2V and I2V (wan22_14b_model.py, since 3413fa53). Wan's own value for I2V is 0.9."""

# Commit ab1ee4df moved Wan previews from UniPC to Euler. It changed 0.9.3 in place; the next version is 0.9.4.
_EULER_SINCE = datetime(2026, 4, 16, 20, 53, 50, tzinfo=UTC)
_EULER_COMMITS = ("ab1ee4df", "27a03a91")
_LAST_UNIPC_VERSION = (0, 9, 3)


def trainer_frame_rule(job: Job, model: Model) -> FrameRuleName:
    """Wan 2.1 T2V under low_vram, and every Wan 2.2 I2V (wan22_14b_i2v_model.py), round the number of frames down."""
    if model.experts is None:
        return "low_vram" if job.low_vram and not model.needs_control_image else "diffusers"
    return "low_vram" if model.needs_control_image else "diffusers"


def floor_size(asked: int, divisor: int) -> int:
    """A size rounded down to a multiple of 8, at least 64, and then, but for Wan 2.1 T2V, to one of 16."""
    return max(64, asked - asked % 8) // divisor * divisor


def scheduler_of(
    toolkit: str | None, generated_at: datetime | None, shift: float = 3.0
) -> tuple[Scheduler, str | None]:
    """The schedule of a toolkit version or commit, and a note if it had to be assumed.

    Wan previews use Euler flow matching since commit ab1ee4df (2026-04-16, inside 0.9.3), whatever the checkpoint's
    config says, with `shift`: 3 for Wan 2.1, 5 for Wan 2.2. Before that UniPC, with flow_shift 3 for both.
    """
    euler, unipc = flow_schedule("flow_match_euler", shift), flow_schedule("unipc", 3.0)
    before = generated_at is not None and generated_at < _EULER_SINCE
    word = (toolkit or "").removeprefix("v")
    if re.fullmatch(r"\d+(\.\d+)+", word):
        version = tuple(int(part) for part in word.split("."))
        if version > _LAST_UNIPC_VERSION:
            return euler, None
        if version < _LAST_UNIPC_VERSION or before:
            return unipc, None
        return (
            euler,
            "0.9.3 used UniPC before commit ab1ee4df (2026-04-16) and Euler since; Euler is assumed",
        )
    if len(word) >= 7 and any(commit.startswith(word[:8]) or word.startswith(commit) for commit in _EULER_COMMITS):
        return euler, None
    if before:
        return unipc, "generated before commit ab1ee4df (2026-04-16), by its file name: UniPC"
    if word:
        return euler, f"toolkit {toolkit!r} is not a known version or commit; Euler (since 0.9.4) is assumed"
    return euler, "ai-toolkit version not given; Euler (since 0.9.4) is assumed"


def trainer_conditioning(model: Model, device: str | None) -> Conditioning | None:
    """The conditioning of a model's I2V previews; None: as in the diffusers pipeline.

    Wan 2.2 (add_first_frame_conditioning in wan_utils.py) samples the posterior with torch's global generator of the
    VAE's device, seeded before each sample. On a CPU that is the generator the latent noise came from. `device`: the
    config's; training on a CPU names it there.
    """
    if model.experts is None or not model.needs_control_image:
        return None
    return Conditioning(latents="sample", noise="seeded" if device == "cpu" else "cuda")
