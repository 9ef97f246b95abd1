"""Drift planted on purpose: for each factor what to break, alone and in combinations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.lora_files import lora_file
from pipelines.media.control_image import load as load_control_image
from pipelines.recipe import Asked, Conditioning, EarlierMerge, Expert, Precision, Resize
from pipelines.scheduler import flow_schedule

Kind = Literal["t2v", "i2v", "wan22-t2v", "wan22-i2v", "wan22-5b", "wan22-5b-i2v"]
"""wan22-5b-i2v: the same model as wan22-5b, with a control image."""
KINDS: tuple[Kind, ...] = get_args(Kind)
WAN21: tuple[Kind, ...] = ("t2v", "i2v")
WAN22: tuple[Kind, ...] = ("wan22-t2v", "wan22-i2v")
WAN22_5B: tuple[Kind, ...] = ("wan22-5b", "wan22-5b-i2v")
I2V: tuple[Kind, ...] = ("i2v", "wan22-i2v", "wan22-5b-i2v")
Shape = Literal["normal", "wide", "still", "lokr"]
"""wide: above 256 pixels, so that the VAE tiles; one frame, as WebP. still: one frame, as PNG. lokr: normal,
and the job trains a LoKr network."""

MODELS: dict[Kind, str] = {
    "t2v": "wan21_14b",
    "i2v": "wan21_i2v_14b",
    "wan22-t2v": "wan22_14b_t2v",
    "wan22-i2v": "wan22_14b_i2v",
    "wan22-5b": "wan22_5b",
    "wan22-5b-i2v": "wan22_5b",
}
EXPERTS: tuple[Expert, ...] = get_args(Expert)
NAME = "planted"
LORA = "planted.safetensors"
OTHER_LORA = "planted_000000250.safetensors"


def lora_name(expert: Expert, *, other: bool = False) -> str:
    """The LoRA file of one Wan 2.2 expert, from the preview's step or from the other one."""
    return f"{NAME}{'_000000250' if other else ''}_{expert}_noise.safetensors"


SIZES: dict[Shape, tuple[int, int, int]] = {
    "normal": (64, 64, 5),
    "wide": (288, 64, 1),
    "still": (64, 64, 1),
    "lokr": (64, 64, 5),
}

SAMPLE_INDEX = 1
"""A sample other than the first, for which the seed rules differ."""

SAMPLE: dict[str, Any] = {"guidance_scale": 5, "sample_steps": 6, "seed": 42, "neg": "", "fps": 16}
PROMPT = "[trigger] playing the guitar, on stage"
OTHER_PROMPT = "woman in a blue field --n blurry"
TRIGGER = "p3r5on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One factor broken on the request's side."""

    factor: str
    value: str
    """The planted value, as shown to people."""
    prompt: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the request's prompt item; None removes one."""
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the profile."""
    schedule: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the trainer's schedule, told by ComfyUI's names."""
    lora: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the request's LoRA item; without a path: no item."""
    expert: Expert | None = None
    """The expert whose LoRA item is changed; None: all."""
    checkpoint: str | None = None
    kinds: tuple[Kind, ...] = WAN21
    """The kinds to plant it in. Wan 2.2 shares much with Wan 2.1, so not every plant is repeated there."""
    shape: Shape = "normal"


PLANTS: tuple[Plant, ...] = (
    Plant(factor="checkpoint", value="other weights", checkpoint="other-{kind}"),
    Plant(factor="prompt", value="no trigger", prompt={"prompt": "playing the guitar, on stage"}),
    Plant(factor="negative_prompt", value="blurry", prompt={"neg": "blurry, low quality"}),
    Plant(factor="snapping", value="height 80", prompt={"height": 80}),
    Plant(factor="snapping", value="height 96", prompt={"height": 96}, kinds=WAN22_5B),
    Plant(factor="frame_count", value="9 frames", prompt={"num_frames": 9}, kinds=(*WAN21, *WAN22_5B)),
    Plant(factor="steps", value="12 steps", prompt={"sample_steps": 12}),
    Plant(factor="guidance", value="guidance 1", prompt={"guidance_scale": 1}),
    Plant(factor="guidance", value="guidance 3.5", prompt={"guidance_scale": 3.5}),
    Plant(factor="seed", value="seed 43", prompt={"seed": 43}, kinds=KINDS),
    Plant(factor="scheduler", value="UniPC", pipeline={"scheduler": {"family": "unipc", "shift": 3.0}}, kinds=KINDS),
    Plant(
        factor="scheduler",
        value="shift 3",
        pipeline={"scheduler": {"family": "flow_match_euler", "shift": 3.0}},
        kinds=(*WAN22, *WAN22_5B),
    ),
    Plant(factor="boundary", value="0.9", pipeline={"boundary": 0.9}, kinds=WAN22),
    Plant(factor="boundary", value="0.5", pipeline={"boundary": 0.5}, kinds=WAN22),
    Plant(factor="scheduler", value="shift 5", pipeline={"scheduler": {"family": "flow_match_euler", "shift": 5.0}}),
    Plant(factor="lora_file", value="other step", lora={"path": OTHER_LORA}, kinds=(*WAN21, *WAN22_5B)),
    Plant(factor="lora_scale", value="0.5", lora={"network_multiplier": 0.5}, kinds=(*WAN21, *WAN22_5B)),
    *(
        plant
        for expert in EXPERTS
        for plant in (
            Plant(
                factor=f"lora_file_{expert}",
                value="other step",
                lora={"path": lora_name(expert, other=True)},
                expert=expert,
                kinds=WAN22,
            ),
            Plant(factor=f"lora_file_{expert}", value="absent", lora={"path": None}, expert=expert, kinds=WAN22),
            Plant(
                factor=f"lora_scale_{expert}",
                value="0.5",
                lora={"network_multiplier": 0.5},
                expert=expert,
                kinds=WAN22,
            ),
        )
    ),
    Plant(
        factor="extra_loras",
        value="a second LoRA",
        pipeline={"extra_loras": [{"path": OTHER_LORA, "network_multiplier": 0.5}]},
        kinds=(*WAN21, *WAN22_5B),
    ),
    Plant(
        factor="extra_loras",
        value="a second LoRA on the low-noise expert",
        pipeline={"extra_loras": [{"path": lora_name("low", other=True), "transformer": "low"}]},
        kinds=WAN22,
    ),
    Plant(factor="sampler", value="dpmpp_2m", schedule={"sampler": "dpmpp_2m"}),
    Plant(factor="sampler", value="uni_pc", schedule={"sampler": "uni_pc"}),
    Plant(factor="schedule", value="simple", schedule={"schedule": "simple"}),
    Plant(factor="schedule", value="sgm_uniform", schedule={"schedule": "sgm_uniform"}, kinds=WAN22),
    Plant(factor="schedule", value="beta", schedule={"schedule": "beta"}),
    Plant(factor="shift", value="8", schedule={"shift": 8.0}, kinds=(*WAN21, *WAN22)),
    Plant(factor="boundary", value="split at 1", pipeline={"split": 1}, kinds=WAN22),
    Plant(factor="text_encoding", value="ComfyUI's", pipeline={"text_encoding": "comfyui"}, kinds=KINDS),
    Plant(factor="clip_image", value="stretched", pipeline={"clip_image": "original_stretched"}, kinds=("i2v",)),
    Plant(factor="precision", value="float32 steps", pipeline={"float32_steps": True}, kinds=("t2v", "wan22-t2v")),
    Plant(factor="precision", value="VAE in float32", pipeline={"vae_dtype": "float32"}),
    Plant(factor="eight_bit", value="truncated", pipeline={"eight_bit": "truncated"}, kinds=KINDS),
    Plant(factor="lora_application", value="adapter", pipeline={"lora_application": "adapter"}, kinds=KINDS),
    Plant(factor="lora_application", value="side path", pipeline={"lora_application": "side_path"}, kinds=KINDS),
    Plant(factor="precision", value="float32 modules", pipeline={"precision": {"dtype": "bfloat16"}}, kinds=KINDS),
    Plant(factor="precision", value="float32", pipeline={"precision": {"dtype": "float32"}}),
    *(
        Plant(factor="quantization", value=str(value), pipeline={"quantization": value})
        for value in (
            *({"transformer": qtype} for qtype in ("qfloat8", "qint8", "float8", "int8", "uint4", "nvfp4")),
            *({"transformer": qtype} for qtype in ("convrot8", "convrot4", "convrotbitnet")),
            {"text_encoder": "qfloat8"},
            {"transformer": "float8", "adapter": OTHER_LORA},
        )
    ),
    Plant(
        factor="quantization",
        value="both parts qfloat8",
        pipeline={"quantization": {"transformer": "qfloat8", "text_encoder": "qfloat8"}},
        kinds=tuple(kind for kind in KINDS if kind != "t2v"),
    ),
    Plant(factor="vae_tiling", value="tiled", pipeline={"vae_tiling": True}, kinds=(*WAN21, "wan22-5b"), shape="wide"),
    Plant(factor="vae_norm", value="own dtype", pipeline={"vae_norm": "vae_dtype"}, kinds=KINDS),
    Plant(factor="merge_residue", value="one merge before", pipeline={"earlier_loras": [OTHER_LORA]}),
    Plant(factor="codec", value="webp for png", shape="still"),
    Plant(factor="fps", value="fps 12", prompt={"fps": 12}),
    Plant(factor="control_image", value="turned", prompt={"ctrl_img": "other.png"}, kinds=I2V),
    Plant(factor="control_image", value="absent", prompt={"ctrl_img": None}, kinds=("wan22-5b-i2v",)),
    Plant(factor="control_image", value="given", prompt={"ctrl_img": "ctrl.png"}, kinds=("wan22-5b",)),
    Plant(factor="resize", value="bicubic", pipeline={"resize": {"filter": "bicubic"}}, kinds=("i2v", "wan22-5b-i2v")),
    Plant(factor="resize", value="center crop", pipeline={"resize": {"crop": "center"}}, kinds=("i2v", "wan22-5b-i2v")),
    Plant(
        factor="conditioning",
        value="mode",
        pipeline={"conditioning": {"latents": "mode", "rounded": False}},
        kinds=("wan22-i2v", "wan22-5b-i2v"),
    ),
    Plant(
        factor="conditioning",
        value="float32 noise",
        pipeline={"conditioning": {"latents": "sample", "rounded": False}},
        kinds=("wan22-i2v", "wan22-5b-i2v"),
    ),
)
"""Every factor but compilation, which needs a GPU."""


LOKR_PLANTS: tuple[Plant, ...] = (
    Plant(factor="lora_file", value="LoKr of another step", lora={"path": OTHER_LORA}, kinds=("t2v",), shape="lokr"),
    Plant(factor="lora_scale", value="LoKr at 0.5", lora={"network_multiplier": 0.5}, kinds=("t2v",), shape="lokr"),
    Plant(
        factor="lora_application",
        value="LoKr as side path",
        pipeline={"lora_application": "side_path"},
        kinds=("t2v",),
        shape="lokr",
    ),
)
"""What is planted in a job with LoKr, alone: combinations would only repeat those of LoRA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """One setting of a preview that is missing from its config."""

    setting: str
    """The setting, as a search names it."""
    value: str
    changes: Mapping[str, Callable[[Path], Any]]
    """The preview's recipe fields, each made from the job's folder."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the config's sample section."""
    kinds: tuple[Kind, ...] = WAN21
    shape: Shape = "normal"


def _fixed(**changes: Any) -> dict[str, Callable[[Path], Any]]:
    def always(value: Any) -> Callable[[Path], Any]:
        return lambda _: value

    return {name: always(value) for name, value in changes.items()}


HIDDEN: tuple[Hidden, ...] = (
    Hidden(setting="scheduler", value="UniPC", changes=_fixed(scheduler=flow_schedule("unipc", 3.0)), kinds=KINDS),
    Hidden(
        setting="shift",
        value="3",
        changes=_fixed(scheduler=flow_schedule("flow_match_euler", 3.0)),
        kinds=(*WAN22, *WAN22_5B),
    ),
    Hidden(setting="boundary", value="0.9", changes=_fixed(boundary=0.9), kinds=WAN22),
    Hidden(
        setting="conditioning",
        value="mode",
        changes=_fixed(conditioning=Conditioning(latents="mode", rounded=False)),
        kinds=("wan22-i2v", "wan22-5b-i2v"),
    ),
    Hidden(
        setting="lora_file_low",
        value="absent",
        changes={"lora_files": lambda job: (lora_file(job / lora_name("high"), "high"),), **_fixed(lora_scales=(1.0,))},
        kinds=WAN22,
    ),
    # Known to fail for wan22-i2v: "likely", nothing changed. Why is not known.
    Hidden(setting="lora_scale_high", value="0.8", changes=_fixed(lora_scales=(0.8, 1.0)), kinds=WAN22),
    Hidden(setting="shift", value="5", changes=_fixed(scheduler=flow_schedule("flow_match_euler", 5.0))),
    Hidden(setting="seed", value="walk_seed", changes=_fixed(seed=SAMPLE["seed"] + SAMPLE_INDEX)),
    # Known to fail for wan22-5b-i2v, which ends at another resize. Why is not known.
    Hidden(setting="lora_scale", value="0.8", changes=_fixed(lora_scales=(0.8,)), kinds=(*WAN21, *WAN22_5B)),
    Hidden(setting="lora_file", value="absent", changes=_fixed(lora_files=(), lora_scales=())),
    Hidden(
        setting="lora_file",
        value="other step",
        changes={"lora_files": lambda job: (lora_file(job / OTHER_LORA),)},
    ),
    Hidden(setting="lora_application", value="side path", changes=_fixed(lora_application="side_path")),
    Hidden(setting="lora_application", value="adapter", changes=_fixed(lora_application="adapter")),
    Hidden(setting="precision", value="float32 modules", changes=_fixed(precision=Precision("bfloat16", "kept"))),
    Hidden(setting="precision", value="float32", changes=_fixed(precision=Precision("float32", "kept"))),
    Hidden(setting="resize", value="bicubic", changes=_fixed(resize=Resize("bicubic")), kinds=("i2v",)),
    Hidden(setting="resize", value="center crop", changes=_fixed(resize=Resize(crop="center")), kinds=("i2v",)),
    Hidden(
        setting="control_image",
        value="that of another prompt",
        changes={"control_image": lambda job: load_control_image("other.png", job)},
        kinds=("i2v", "wan22-5b-i2v"),
    ),
    Hidden(
        setting="frames",
        value="low_vram rule",
        config={"num_frames": 8},
        changes=_fixed(num_frames=Asked(8, 5)),
    ),
    Hidden(setting="size", value="64x80", changes=_fixed(height=Asked(80, 80))),
    Hidden(setting="fps", value="12", changes=_fixed(fps=12)),
    Hidden(setting="steps", value="8", changes=_fixed(steps=8)),
    Hidden(setting="guidance", value="3.5", changes=_fixed(guidance_scale=3.5)),
    Hidden(setting="prompt", value="no trigger", changes=_fixed(prompt="playing the guitar, on stage")),
    Hidden(setting="negative_prompt", value="blurry", changes=_fixed(negative_prompt="blurry")),
    Hidden(setting="vae_norm", value="own dtype", changes=_fixed(vae_norm="vae_dtype"), kinds=KINDS),
    Hidden(
        setting="merge_residue",
        value="one merge before",
        changes={"earlier_merges": lambda job: (EarlierMerge((lora_file(job / OTHER_LORA),), 1.0),)},
        kinds=("t2v",),
    ),
    Hidden(setting="vae_tiling", value="tiled", changes=_fixed(vae_tiling=True), shape="wide"),
)
"""Every setting a search varies or reads off the file. Not searched: checkpoint, quantization and codec, of which
there are too many to guess."""


def singles(kind: Kind) -> list[tuple[Plant, ...]]:
    """Every plant of a kind, alone."""
    return [(plant,) for plant in (*PLANTS, *LOKR_PLANTS) if kind in plant.kinds]


def combinations(kind: Kind, count: int, seed: int = 2026) -> list[tuple[Plant, ...]]:
    """`count` random combinations of 2 to 5 factors, the same every time."""
    source = random.Random(f"{seed} {kind}")
    factors = sorted({plant.factor for plant in PLANTS if kind in plant.kinds})
    found: list[tuple[Plant, ...]] = []
    while len(found) < count:
        names = source.sample(factors, source.randint(2, 5))
        plants = [source.choice([p for p in PLANTS if p.factor == name and kind in p.kinds]) for name in names]
        if _possible(plants) and plants not in [list(known) for known in found]:
            found.append(tuple(plants))
    return found


def _possible(plants: Sequence[Plant]) -> bool:
    """Return whether each of the factors still reaches the file beside the others."""
    factors = {plant.factor for plant in plants}
    if {"vae_tiling", "codec"} <= factors:
        return False  # a wide still tests nothing new
    if factors & {"conditioning", "resize"} and any(plant.prompt.get("ctrl_img", "") is None for plant in plants):
        return False  # without an image neither is a factor
    if factors & {"codec", "vae_tiling"} and "fps" in factors and "frame_count" not in factors:
        return False  # a still has no frame rate
    if "scheduler" in factors and any(plant.schedule for plant in plants):
        return False  # one whole schedule, or parts of one
    in_float32 = any(
        "float32" in (plant.pipeline.get("precision", {}).get("dtype"), plant.pipeline.get("vae_dtype"))
        for plant in plants
    )
    if in_float32 and "vae_norm" in factors:
        return False  # in float32 there is one way to normalize
    absent = {plant.expert for plant in plants if plant.lora.get("path", "") is None}
    if any(plant.factor.startswith("lora_scale") and plant.expert in absent for plant in plants):
        return False  # without a file there is no scale
    if "low" in absent and "extra_loras" in factors:
        return False  # the second LoRA would be the only one
    if absent == set(EXPERTS):
        return False  # the API refuses a request without a LoRA
    unguided = any(plant.prompt.get("guidance_scale") == 1 for plant in plants)
    return not (unguided and "negative_prompt" in factors and len(plants) < 3)
