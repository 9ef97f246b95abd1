"""The Wan models of the API: every "Quick facts" row of the reference pages, as data.

Source: the model pages of runcomfy-com/ai-toolkit-inference and its pipeline classes, at af4aec1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.errors import CaseError
from pipelines.files.words import did_you_mean

PipelineName = Literal["WanPipeline", "WanImageToVideoPipeline"]

ControlImageUse = Literal["none", "optional", "required"]
"""Whether a model takes a control image. optional: with one it is an I2V model, without one a T2V model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values of the keys that a prompt item omits; the same for every Wan model of the API."""

    sample_steps: int = 25
    guidance_scale: float = 4.0
    seed: int = 42
    """The seed of the first prompt; prompt i without a seed of its own gets `seed + i`."""
    num_frames: int = 41
    fps: int = 16
    width: int = 1024
    height: int = 1024
    neg: str = ""
    network_multiplier: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Settings that only Wan 2.2 has, from src/pipelines/wan22_t2v.py and wan22_i2v.py of the server."""

    transformers: str | None = None
    """The Hub id of both transformers; None means those of the base checkpoint."""
    text_encoder: str | None = None
    """The Hub id of the text encoder; None means that of the base checkpoint."""
    vae: str | None = None
    """The Hub id of the VAE; None means that of the base checkpoint."""
    boundary: float | None = None
    """The server's own boundary; None means that it uses the base checkpoint's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One API model id."""

    id: str
    slug: str
    """The page's URL slug."""
    title: str
    base_checkpoint: str
    """The Hub id of the weights in diffusers layout."""
    arch: str
    """The `model.arch` of ai-toolkit for LoRAs of this model."""
    control_image: ControlImageUse = "none"
    defaults: Defaults = Defaults()
    size_divisor: int = 16
    """The server floors width and height to a multiple of this."""
    server_shift: float | None = None
    """The shift of the server's own UniPC schedule; None means that it uses the base checkpoint's schedule."""
    pipeline_file: str = "src/pipelines/wan21.py"
    """The file of the reference server that implements the model."""
    lora_scale: str = "dynamic via adapters (set_adapters), set per request by loras[].network_multiplier"
    needs_ai_toolkit: bool = False
    trainer_shift: float = 3.0
    """The shift of the trainer's Euler flow matching."""
    trainer_unipc_shift: float = 3.0
    """The shift of the UniPC schedule that the trainer had before it."""
    trainer_size_divisor: int = 16
    """The trainer floors width and height to a multiple of this, after flooring them to 8."""
    rounds_frames_down: bool = False
    """True if trainer and server always make (n - 1) // 4 * 4 + 1 frames of n."""
    expand_timesteps: bool = False
    """True if each token has a timestep of its own: 0 for those of the control image. Else it has channels of its own.
    """
    experts: Experts | None = None
    """The settings of Wan 2.2 14B; None for a model with one transformer."""

    @property
    def kind(self) -> Literal["t2v", "i2v", "ti2v"]:
        kinds: dict[ControlImageUse, Literal["t2v", "i2v", "ti2v"]]
        kinds = {"none": "t2v", "optional": "ti2v", "required": "i2v"}
        return kinds[self.control_image]

    @property
    def takes_control_image(self) -> bool:
        return self.control_image != "none"

    @property
    def needs_control_image(self) -> bool:
        return self.control_image == "required"

    @property
    def own_conditioning(self) -> bool:
        """True if trainer and server compute a video's start from its image themselves, not as diffusers does."""
        return self.takes_control_image and (self.experts is not None or self.expand_timesteps)

    def pipeline(self, *, with_image: bool) -> PipelineName:
        """The diffusers class that runs the model. The server runs Wan 2.2 I2V and 5B with a class of ai-toolkit."""
        if self.needs_control_image or (with_image and self.takes_control_image):
            return "WanImageToVideoPipeline"
        return "WanPipeline"

    def quick_facts(self) -> dict[str, str]:
        """Return the rows of the page's "Quick facts" table."""
        d = self.defaults
        return {
            "Pipeline": f"{self.pipeline_file} of the reference server",
            "Base checkpoint": self.base_checkpoint,
            "Defaults": f"sample_steps={d.sample_steps}, guidance_scale={d.guidance_scale}, seed={d.seed}",
            "Resolution snapping": f"floors width/height to a multiple of {self.size_divisor}",
            "Control image": _CONTROL_IMAGE[self.control_image],
            "Video": f"yes (num_frames={d.num_frames}, fps={d.fps} by default)",
            "LoRA scale behavior": self.lora_scale,
            "Needs AI Toolkit": "yes" if self.needs_ai_toolkit else "no",
        }


_CONTROL_IMAGE: dict[ControlImageUse, str] = {
    "none": "no",
    "optional": "optional (ctrl_img: the video's first frame)",
    "required": "required (ctrl_img)",
}

_SCALE_PER_EXPERT = "one LoRA for each of transformer and transformer_2, set for each by loras[].network_multiplier"

MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model(
            id="wan21_14b",
            slug="wan21-14b",
            title="Wan 2.1 T2V 14B",
            base_checkpoint="Wan-AI/Wan2.1-T2V-14B-Diffusers",
            arch="wan21",
            trainer_size_divisor=8,
        ),
        Model(
            id="wan21_1b",
            slug="wan21-1b",
            title="Wan 2.1 T2V 1.3B",
            base_checkpoint="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            arch="wan21",
            trainer_size_divisor=8,
        ),
        Model(
            id="wan21_i2v_14b",
            slug="wan21-i2v-14b",
            title="Wan 2.1 I2V 14B (720P)",
            control_image="required",
            base_checkpoint="Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
            arch="wan21_i2v",
        ),
        Model(
            id="wan21_i2v_14b480p",
            slug="wan21-i2v-14b-480p",
            title="Wan 2.1 I2V 14B (480P)",
            control_image="required",
            base_checkpoint="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
            arch="wan21_i2v",
        ),
        Model(
            id="wan22_14b_t2v",
            slug="wan22-14b-t2v",
            title="Wan 2.2 T2V A14B (14B)",
            base_checkpoint="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
            arch="wan22_14b",
            size_divisor=32,
            pipeline_file="src/pipelines/wan22_t2v.py",
            lora_scale=_SCALE_PER_EXPERT,
            trainer_shift=5.0,
            experts=Experts(transformers="ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16"),
        ),
        Model(
            id="wan22_14b_i2v",
            slug="wan22-14b-i2v",
            title="Wan 2.2 I2V A14B (14B)",
            control_image="required",
            base_checkpoint="ai-toolkit/Wan2.2-I2V-A14B-Diffusers-bf16",
            arch="wan22_14b_i2v",
            pipeline_file="src/pipelines/wan22_i2v.py",
            lora_scale=_SCALE_PER_EXPERT,
            needs_ai_toolkit=True,
            trainer_shift=5.0,
            server_shift=3.0,
            rounds_frames_down=True,
            experts=Experts(text_encoder="ai-toolkit/umt5_xxl_encoder", vae="ai-toolkit/wan2.1-vae", boundary=0.9),
        ),
        Model(
            id="wan22_5b",
            slug="wan22-5b",
            title="Wan 2.2 TI2V 5B",
            base_checkpoint="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
            arch="wan22_5b",
            control_image="optional",
            size_divisor=32,
            pipeline_file="src/pipelines/wan22_5b.py",
            needs_ai_toolkit=True,
            server_shift=5.0,
            trainer_shift=5.0,
            trainer_unipc_shift=5.0,
            trainer_size_divisor=32,
            rounds_frames_down=True,
            expand_timesteps=True,
        ),
    )
}


def find_model(model_id: str) -> Model:
    """Return the model of an API id. Raises CaseError, which names the nearest id (the server's MODEL_NOT_FOUND)."""
    if model_id not in MODELS:
        raise CaseError(f"model {model_id!r} is not supported{did_you_mean(model_id, list(MODELS))}")
    return MODELS[model_id]


def models_of_job(arch: str | None, variant: str | None, checkpoint: str) -> list[Model]:
    """Return the models that an ai-toolkit job can have trained: one if it is certain, none if the arch is unsupported.

    `variant` is what the UI adds to the arch (ui/src/app/jobs/new/options.tsx at 27a03a91): `wan21:1b`,
    `wan21_i2v:14b480p`. `checkpoint` is `model.name_or_path`, whose last part may be the name of a base checkpoint.
    """
    models = [model for model in MODELS.values() if arch in (None, model.arch)]
    named = [model for model in models if model.id == f"{arch}_{variant}"]
    name = checkpoint.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
    named = named or [model for model in models if model.base_checkpoint.rpartition("/")[2].lower() == name]
    return named or models


def published() -> frozenset[str]:
    """The Hub ids that the models are loaded from."""
    experts = [model.experts for model in MODELS.values() if model.experts is not None]
    parts = {place for each in experts for place in (each.transformers, each.text_encoder, each.vae) if place}
    return frozenset(parts | {model.base_checkpoint for model in MODELS.values()})
