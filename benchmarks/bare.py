"""What people write without us: load with diffusers, load the LoRA, generate and decode each prompt.

    python -m benchmarks.bare FOLDER WIDTH HEIGHT FRAMES STEPS DTYPE

In a process of its own, as the anchor of `runs`. Imports nothing of wan-parity but a repair of torchvision's CPU build.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path, width: int, height: int, frames: int, steps: int, dtype: str) -> None:
    """Generate the three prompts of a job that `shapes.make_job` made."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanPipeline

    from benchmarks.shapes import PROMPTS

    pipe = WanPipeline.from_pretrained(folder / "checkpoint", torch_dtype=getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(folder / "job.safetensors"))
    for number, prompt in enumerate(PROMPTS):
        video = pipe(
            prompt=prompt,
            negative_prompt="",
            width=width,
            height=height,
            num_frames=frames,
            num_inference_steps=steps,
            guidance_scale=5.0,
            generator=torch.Generator().manual_seed(42 + number),
            output_type="np",
        ).frames[0]
        assert video.shape == (frames, height, width, 3), video.shape


if __name__ == "__main__":
    folder, width, height, frames, steps, dtype = sys.argv[1:]
    main(Path(folder), int(width), int(height), int(frames), int(steps), dtype)
