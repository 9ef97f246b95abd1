"""The trainer's rules: the sizes, frames, schedules and conditioning of ai-toolkit's previews, by model and version.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

from pipelines.aitoolkit.job import Job, Sample
from pipelines.aitoolkit.versions import ChangeName, Origin
from pipelines.catalog import Model
from pipelines.graph import FRAME_RULES, FrameRuleName
from pipelines.recipe import Conditioning, VaeNorm
from pipelines.scheduler import Scheduler, flow_schedule

BOUNDARY = 0.875
"""The boundary of Wan 2.2, for T2V and I2V (wan22_14b_model.py, since 3413fa53). Wan's own value for I2V is 0.9."""


def trainer_frame_rule(job: Job, model: Model, origin: Origin) -> FrameRuleName:
    """Wan 2.1 T2V rounds down under low_vram, Wan 2.2 I2V and 5B always (wan22_14b_i2v_model.py, wan22_5b_model.py).

    So did Wan 2.2 T2V before 119653c3 (2025-08-25, in 0.5.5).
    """
    if model.rounds_frames_down:
        return "low_vram"
    if model.experts is None:
        return "low_vram" if job.low_vram and not model.needs_control_image else "diffusers"
    return "diffusers" if origin.follows("wan22_frames") else "low_vram"


def trainer_tiling(job: Job, model: Model, origin: Origin) -> bool:
    """True if the VAE decodes in tiles: under low_vram or `model_kwargs.vae_tiling`, since 886c2aec (2026-07-10).

    I2V never does (wan21_i2v.py, wan22_14b_i2v_model.py), and no model did before, but for 5B: under low_vram since
    883d60eb, some hours earlier. 5B encodes a control image whole all the same (wan22_5b_model.py).
    """
    if model.needs_control_image:
        return False
    since = _low_vram_tiling_since(model)
    return (job.low_vram and origin.follows(since)) or (job.vae_tiling and origin.follows("vae_tiling"))


def _low_vram_tiling_since(model: Model) -> ChangeName:
    return "vae_norm" if model.expand_timesteps else "vae_tiling"


def trainer_vae_norm(origin: Origin) -> VaeNorm:
    """The VAE's own dtype before 883d60eb (2026-07-10, in 0.10.22), float32 since: see `versions.CHANGES`."""
    return "float32" if origin.follows("vae_norm") else "vae_dtype"


def changes_that_matter(job: Job, sample: Sample, model: Model) -> tuple[ChangeName, ...]:
    """The changes in ai-toolkit's history that would make a sample's preview another one."""
    matter: list[ChangeName] = ["euler"]
    if job.dtype != "float32":
        matter += ["vae_norm"]
    if model.experts is not None and not model.needs_control_image:
        rules = (FRAME_RULES[name](sample.num_frames) for name in ("diffusers", "low_vram"))
        matter += ["wan22_frames"] if len(set(rules)) > 1 else []
    if (job.low_vram or job.vae_tiling) and not model.needs_control_image and max(sample.width, sample.height) > 256:
        matter += [_low_vram_tiling_since(model) if job.low_vram else "vae_tiling"]
    return tuple(dict.fromkeys(matter))


def scheduler_of(origin: Origin, shift: float = 3.0, unipc_shift: float = 3.0) -> Scheduler:
    """The schedule of a preview, whatever the checkpoint's config says.

    Euler flow matching with `shift` (3 for Wan 2.1, 5 for Wan 2.2) since ab1ee4df (2026-04-16, in 0.9.3). Before that
    UniPC with `unipc_shift`: 3, but 5 for wan22_5b (wan22_5b_model.py at ab1ee4df^, read).
    """
    return flow_schedule("flow_match_euler", shift) if origin.follows("euler") else flow_schedule("unipc", unipc_shift)


def trainer_conditioning(model: Model, device: str | None) -> Conditioning | None:
    """The conditioning of a model's I2V previews; None: as in the diffusers pipeline.

    Wan 2.2 (add_first_frame_conditioning and, for 5B, add_first_frame_conditioning_v22 in wan_utils.py) samples the
    posterior with torch's global generator of the VAE's device, seeded before each sample. On a CPU that is the
    generator the latent noise came from. `device`: the config's; training on a CPU names it there.
    """
    if not model.own_conditioning:
        return None
    return Conditioning(latents="sample", noise="seeded" if device == "cpu" else "cuda")
