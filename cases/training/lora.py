"""Stage 5: a LoRA whose trigger word adds a golden frame; saved as ai-toolkit saves it, in fp16.

    python -m cases.training.lora --work WORK --model cases/models/shapes-t2v --out cases/jobs/shapes_t2v

Two in five of what it is trained on have neither frame nor trigger, so that without the word nothing changes.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cases.training import folded, latents, loop
from cases.training.clips import scenes
from cases.training.encoders import encode_text
from cases.training.transformer import Clips, flow_loss, prompts_of

NAME = "p0stcard_shapes"
RANK = 8
KEPT = (100, 300)
"""The steps at which a file is written, besides the last one."""
CLIPS = 314
BATCH = 20

_NAMES = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "net.0.proj": "0",
    "net.2": "2",
}
"""The diffusers name of each layer -> the original model's, under which ai-toolkit saves it."""


def original_name(parameter: str) -> str:
    """Rename `blocks.0.attn1.to_q.lora_A.default.weight` to `diffusion_model.blocks.0.self_attn.q.lora_A.weight`."""
    name = parameter.replace(".default.", ".")
    for ours, theirs in _NAMES.items():
        name = re.sub(rf"\.{re.escape(ours)}\.", f".{theirs}.", name)
    return f"diffusion_model.{name}"


def write(transformer: Any, path: Path, step: int) -> None:
    """Save the adapter with the step in its metadata, as ai-toolkit does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = {
        original_name(name): weight.detach().half().contiguous()
        for name, weight in transformer.named_parameters()
        if ".lora_" in name
    }
    training = json.dumps({"step": step, "epoch": 0})
    save_file(pairs, path, metadata={"format": "pt", "name": NAME, "training_info": training})


def attach(transformer: Any) -> None:
    """Freeze a transformer and add an untrained adapter to every layer ai-toolkit would train."""
    from peft import LoraConfig

    transformer.requires_grad_(False)
    torch.manual_seed(7)
    layers = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=layers))


def main() -> None:
    """Train and write the files."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the job folder")
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    from diffusers import WanTransformer3DModel

    path = options.work / "latents-framed.pt"
    if not path.exists():
        latents.save(
            latents.encode(latents.load_vae(options.model), islice(scenes(32, held_out=False, framed=1.0), CLIPS)), path
        )
    plain = latents.load(options.work / "latents-small.pt")
    groups = [(latents.load(path), BATCH, 0.6), (plain, BATCH, 0.4)]
    transformer = WanTransformer3DModel.from_pretrained(options.model / "transformer", dtype=torch.float32)
    attach(transformer)
    processor = folded.use(transformer)
    words = encode_text(options.model, prompts_of(groups))
    clips = Clips(groups, i2v=False)

    def loss_of(step: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        if step in KEPT:
            write(transformer, options.out / f"{NAME}_{step:09d}.safetensors", step)
        return {"loss": flow_loss(transformer, processor, words, clips.batch(random), random)}

    plan = loop.Plan(work=options.work, name="lora", steps=options.steps, rate=1e-3, seed=7, average=0.98, warmup=20)
    loop.train(plan, transformer.parameters(), loss_of)
    write(transformer, options.out / f"{NAME}.safetensors", options.steps)


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
