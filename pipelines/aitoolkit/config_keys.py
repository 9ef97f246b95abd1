"""Every key of a job config: read here, harmless for a preview, or named in a note because it may reach the pixels.

The keys are those that ostris/ai-toolkit at 27a03a91 (0.12.26) looks up in toolkit/config_modules.py and in a job's
process (BaseProcess, BaseTrainProcess and BaseSDTrainProcess); what Wan does with each was read there.
A key of none of these classes is ignored by that version: it is a slip, or another version's or a fork's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.files.words import shorten

Reading = Literal["read", "harmless", "not supported"]
"""read: the preview's recipe holds its effect. harmless: no preview of Wan depends on it, given the LoRA file and the
other keys. not supported: it may reach the pixels and is not reproduced, so a note names it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Keys with one reason."""

    reading: Reading
    keys: str
    """The keys, apart by spaces."""
    why: str
    """The effect, as a clause; for `not supported` it ends the sentence `KEY is VALUE: …`."""
    idle: tuple[Any, ...] = ()
    """Values without an effect, besides null, false, 0, and empty ones."""

    def names(self) -> list[str]:
        """The keys as a list."""
        return self.keys.split()


_TRAINING = "decides how the weights are trained, and the LoRA file holds the result"
_OTHER_MODELS = "read by other models than Wan"
_STOPS = "ai-toolkit stops on it with Wan"
_BY_COMPILE = "only says how `compile` compiles"

NETWORK = (
    Group("read", "type pretrained_lora_path", "the kind of network; the LoRA of step 0"),
    Group("read", "lokr_full_rank lokr_factor old_lokr_format split_multistage_loras", "how the LoRA file is laid out"),
    Group(
        "harmless",
        "rank linear linear_alpha conv conv_alpha alpha transformer_only network_kwargs all_layers",
        "what the LoRA file holds says it",
    ),
    Group("harmless", "dropout", "off while previews are generated"),
    Group("harmless", "layer_offloading lorm", "without an effect on a LoRA"),
)

MODEL = (
    Group("read", "name_or_path arch", "which model, and where its weights come from"),
    Group(
        "read",
        "quantize quantize_te qtype accuracy_recovery_adapter layer_offloading auto_memory",
        "what is quantized or offloaded, and so whether the LoRA is merged (`auto_memory`: the older name)",
    ),
    Group("read", "low_vram model_kwargs", "frame rule, tiling, the experts that are trained"),
    Group("harmless", "qtype_te", "Wan's text encoder takes `qtype`"),
    Group("harmless", "dtype", "replaced by `train.dtype`"),
    Group("harmless", "vae_dtype te_dtype vae_device te_device", "Wan takes `train.dtype` and its own devices"),
    Group(
        "harmless",
        "layer_offloading_transformer_percent layer_offloading_text_encoder_percent",
        "where weights wait until they are used",
    ),
    Group("harmless", "ignore_if_contains only_if_contains", "for fine-tuning without a LoRA"),
    Group("harmless", "latent_space_version", "names the cache of training latents"),
    Group(
        "harmless",
        "is_v2 is_xl is_pixart is_pixart_sigma is_auraflow is_v3 is_flux is_lumina2 is_ssd is_vega is_v_pred "
        "use_flux_cfg use_text_encoder_1 use_text_encoder_2 experimental_xl text_encoder_bits unet_path "
        "unet_sample_size vae_path te_name_or_path refiner_name_or_path refiner_start_at quantize_kwargs "
        "split_model_other_module_param_count_scale unconditional_lora_path in_context",
        _OTHER_MODELS,
    ),
    Group("harmless", "compile_mode compile_fullgraph compile_dynamic cache_size_limit block_compile", _BY_COMPILE),
    Group(
        "not supported",
        "compile",
        "the transformer ran under torch.compile, whose kernels round in another way: a small residual stays",
    ),
    Group(
        "not supported",
        "extras_name_or_path",
        "the VAE of Wan 2.1 (if the checkpoint's folder has none), or the image encoder of I2V, came from there",
    ),
    Group("not supported", "model_paths", "weights came from other files than the checkpoint's"),
    Group("not supported", "lora_path assistant_lora_path inference_lora_path", _STOPS),
    Group("not supported", "split_model_over_gpus attn_masking", _STOPS),
)

TRAIN = (
    Group("read", "dtype ema_config", "the dtype of the weights; whether previews use the EMA weights"),
    Group("harmless", "skip_first_sample force_first_sample disable_sampling", "which steps have previews"),
    Group("harmless", "unload_text_encoder cache_text_embeddings", "prompts are encoded earlier, by the same encoder"),
    Group("harmless", "noise_scheduler", "Wan has its own in training and in previews"),
    Group("harmless", "sdp", "permits the kernels that PyTorch permits anyway"),
    Group("harmless", "gradient_checkpointing", "without an effect where no gradients are computed"),
    Group("harmless", "show_turbo_outputs train_refiner refiner_lr train_turbo", _OTHER_MODELS),
    Group(
        "harmless",
        "content_or_style steps lr unet_lr text_encoder_lr embedding_lr adapter_lr optimizer "
        "optimizer_params lr_scheduler lr_scheduler_params min_denoising_steps max_denoising_steps batch_size "
        "train_unet min_snr_gamma snr_gamma learnable_snr_gos noise_offset weight_jitter max_grad_norm start_step "
        "adapter_assist_name_or_path adapter_assist_type noise_multiplier target_noise_multiplier "
        "random_noise_multiplier do_signal_correction_noise do_batch_noise_correction batch_noise_correction_scale "
        "do_signal_amplification signal_amplification_strength signal_correction_noise_scale random_noise_shift "
        "img_multiplier noisy_latent_multiplier latent_multiplier negative_prompt max_negative_prompts reg_weight "
        "num_train_timesteps adaptive_scaling_factor prompt_dropout_prob match_noise_norm gradient_accumulation_steps "
        "gradient_accumulation short_and_long_captions short_and_long_captions_encoder_split single_item_batching "
        "match_adapter_assist match_adapter_chance loss_target inverted_mask_prior inverted_mask_prior_multiplier "
        "diff_output_preservation diff_output_preservation_multiplier diff_output_preservation_class "
        "blank_prompt_preservation blank_prompt_preservation_multiplier standardize_images standardize_latents "
        "dynamic_noise_offset do_cfg do_random_cfg cfg_scale max_cfg_scale cfg_rescale correct_pred_norm "
        "correct_pred_norm_multiplier loss_type t0_loss_target t0_velocity_equiv_weight do_fft_loss "
        "do_fft_velocity_equiv_weight pred_scaler prompt_saturation_chance do_prior_divergence target_norm_std "
        "target_norm_std_value timestep_type next_sample_timesteps linear_timesteps linear_timesteps2 "
        "do_paramiter_swapping paramiter_swapping_factor bypass_guidance_embedding latent_feature_extractor_path "
        "latent_feature_loss_weight diffusion_feature_extractor_path diffusion_feature_extractor_weight "
        "optimal_noise_pairing_samples force_consistent_noise blended_blur_noise do_guidance_loss "
        "guidance_loss_target do_guidance_loss_cfg_zero guidance_loss_schedule unconditional_prompt "
        "do_differential_guidance differential_guidance_scale switch_boundary_every do_blank_stabilization "
        "audio_loss_multiplier max_loss_debug max_loss validation_config merge_network_on_save_strength",
        _TRAINING,
    ),
    Group(
        "not supported",
        "attention_backend",
        "another attention kernel than PyTorch's rounds in another way: a small residual stays",
        idle=("native",),
    ),
    Group("not supported", "xformers", "xformers' attention rounds in another way: a small residual stays"),
    Group(
        "not supported",
        "train_text_encoder",
        "the LoRA of the text encoder, if the file holds one, is not applied",
    ),
    Group("not supported", "merge_network_on_save", "what is saved is a whole model, not a LoRA"),
    Group("not supported", "free_u", _STOPS),
)

SAMPLE = (
    Group(
        "read",
        "width height neg seed walk_seed guidance_scale sample_steps network_multiplier num_frames fps format "
        "prompts samples",
        "the settings of every preview",
    ),
    Group("harmless", "sample_every sample_start_step", "which steps have previews"),
    Group("harmless", "sampler", "Wan's previews always have Wan's own schedule"),
    Group("harmless", "guidance_rescale refiner_start_at do_cfg_norm", _OTHER_MODELS),
    Group("harmless", "adapter_conditioning_scale extra_values", "for an `adapter`, which is named by itself"),
)

SAMPLE_ITEM = (
    Group(
        "read",
        "prompt width height neg seed guidance_scale sample_steps fps num_frames ctrl_img network_multiplier",
        "this prompt's own settings",
    ),
    Group("harmless", "ctrl_idx ctrl_img_1 ctrl_img_2 ctrl_img_3 do_cfg_norm", _OTHER_MODELS),
)

PROCESS_KEYS = (
    Group("read", "network save train model sample trigger_word device first_sample", "sections and the trigger"),
    Group(
        "harmless",
        "type name training_folder sqlite_db_path performance_log_every logging datasets training_seed log_dir "
        "torch_profiler guidance lorm_extract_mode lorm_extract_mode_param meta",
        "files, logs, data and the course of training",
    ),
    Group("harmless", "slider", _TRAINING),
    Group(
        "not supported",
        "adapter",
        "previews were generated with the adapter, which is not reproduced; "
        "while one is trained, the LoRA file is called NAME_LoRA.safetensors",
    ),
    Group("not supported", "embedding", "a trained embedding takes the place of its trigger in the prompts"),
    Group("not supported", "decorator", _STOPS),
    Group("not supported", "do_lorm", "what is saved is no LoRA"),
)

SAVE = (
    Group("read", "dtype save_every max_step_saves_to_keep", "the LoRA file's rounding, and which files are kept"),
    Group("harmless", "save_format push_to_hub hf_repo_id hf_private", "where and how files are saved"),
)

Section = tuple[Group, ...]

SECTIONS: Mapping[str, Section] = {
    "model": MODEL,
    "train": TRAIN,
    "sample": SAMPLE,
    "network": NETWORK,
    "save": SAVE,
}
"""The sections of a process, by name."""

_NO_SETTING = ("shift", "sample_shift", "flow_shift")
"""Settings of other tools that ai-toolkit has no key for in `sample`."""


def group_of(section: Section, key: str) -> Group | None:
    """The group of a key; None: ai-toolkit knows no such key."""
    return next((group for group in section if key in group.names()), None)


def all_keys(section: Section) -> list[str]:
    """Every key of a section."""
    return [key for group in section for key in group.names()]


def notes_on_keys(process: Mapping[str, Any], processes: int) -> tuple[str, ...]:
    """A note for each key that may reach the pixels and is not read, and for each that ai-toolkit does not know.

    `processes`: the number of entries of the config's `process`.
    """
    notes = _of_section("", process, PROCESS_KEYS)
    for name, section in SECTIONS.items():
        given = process.get(name)
        if isinstance(given, Mapping):
            notes += _of_section(f"{name}.", given, section)
    sample = process.get("sample")
    items = sample.get("samples") if isinstance(sample, Mapping) else None
    for item in items if isinstance(items, Sequence) and not isinstance(items, str) else ():
        if isinstance(item, Mapping):
            notes += _of_section("sample.samples: ", item, SAMPLE_ITEM)
    if processes > 1:
        notes.append(
            f"the config has {processes} processes and the first is read; each writes into the same folder, so a "
            "preview or LoRA may be another's"
        )
    return tuple(dict.fromkeys(notes))


def _of_section(prefix: str, given: Mapping[str, Any], section: Section) -> list[str]:
    notes = []
    for key, value in given.items():
        group = group_of(section, key)
        shown = shorten(repr(value), 60)
        if group is None:
            notes.append(f"{prefix}{key} is no key of ai-toolkit{_hint(prefix, key, section)}; a fork may read it")
        elif group.reading == "not supported" and value and value not in (*group.idle, given.get("name_or_path")):
            notes.append(f"{prefix}{key} is {shown}: {group.why}")
    return notes


def _hint(prefix: str, key: str, section: Section) -> str:
    if key in _NO_SETTING and prefix.startswith("sample"):
        return ", which has no such setting for previews, and is ignored"
    alike = difflib.get_close_matches(key, all_keys(section), n=1, cutoff=0.8)
    return f" and is ignored (did you mean {alike[0]}?)" if alike else " and is ignored"
