"""Job configs with every key that the trainer's own UI writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

UI_JOBS: dict[str, dict[str, Any]] = {
    "wan21:1b": {"quantize": False},
    "wan21:14b": {},
    "wan21_i2v:14b": {},
    "wan21_i2v:14b480p": {},
    "wan22_14b:t2v": {"low_vram": True, "model_kwargs": {"train_high_noise": True, "train_low_noise": True}},
    "wan22_14b_i2v": {"low_vram": True, "model_kwargs": {"train_high_noise": True, "train_low_noise": True}},
    "wan22_5b": {"low_vram": True},
}
"""What the UI's seven presets for Wan set in `model`, besides what all of them have."""


def config_of_the_ui(arch: str, image: Path) -> dict[str, Any]:
    """A config with every key that the UI writes (jobConfig.ts and options.tsx at 27a03a91)."""
    item: dict[str, Any] = {"prompt": "a boat", **({"ctrl_img": str(image)} if "i2v" in arch else {})}
    train = (
        "batch_size=1 bypass_guidance_embedding=true steps=3000 gradient_accumulation=1 train_unet=true "
        "train_text_encoder=false gradient_checkpointing=true noise_scheduler=flowmatch optimizer=adamw8bit "
        "timestep_type=weighted content_or_style=balanced unload_text_encoder=false cache_text_embeddings=false "
        "lr=0.0001 skip_first_sample=false force_first_sample=false disable_sampling=false dtype=bf16 "
        "diff_output_preservation=false diff_output_preservation_multiplier=1.0 diff_output_preservation_class=person "
        "switch_boundary_every=1 loss_type=mse"
    )
    sample = (
        "sampler=flowmatch sample_every=250 sample_start_step=0 width=768 height=768 seed=42 walk_seed=true "
        "guidance_scale=4 sample_steps=25 num_frames=41 fps=16"
    )
    process: dict[str, Any] = {
        **pairs("type=diffusion_trainer training_folder=output sqlite_db_path=a.db device=cuda trigger_word=null"),
        "performance_log_every": 10,
        "network": {
            **pairs("type=lora linear=32 linear_alpha=32 conv=16 conv_alpha=16 lokr_full_rank=true lokr_factor=-1"),
            "network_kwargs": {"ignore_if_contains": []},
        },
        "save": pairs("dtype=bf16 save_every=250 max_step_saves_to_keep=4 save_format=diffusers push_to_hub=false"),
        "datasets": [{"folder_path": "/data", "num_frames": 41, "fps": 16}],
        "train": {
            **pairs(train),
            "optimizer_params": {"weight_decay": 1e-4},
            "ema_config": {"use_ema": False, "ema_decay": 0.99},
        },
        "logging": {"log_every": 1, "use_ui_logger": True},
        "model": {
            **pairs("quantize=true qtype=qfloat8 quantize_te=true qtype_te=qfloat8 low_vram=false compile=false"),
            "name_or_path": "Wan-AI/Some-Diffusers",
            "arch": arch,
            "model_kwargs": {},
            **UI_JOBS[arch],
        },
        "sample": {**pairs(sample), "neg": "", "samples": [item]},
    }
    meta = {"name": "[name]", "version": "1.0"}
    return {"job": "extension", "config": {"name": "mine", "process": [process]}, "meta": meta}


def pairs(text: str) -> dict[str, Any]:
    return {key: yaml.safe_load(value) for key, value in (word.split("=") for word in text.split())}
