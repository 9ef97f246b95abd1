"""The nodes that are understood: their inputs, in the order of the browser's widgets, and their outputs.

Names, order, defaults and ranges are those of ComfyUI 0.3.64 (2025-10-12; `tests/data/comfyui/nodes.json` is what it
said of itself). The primitives, the switch and the expression are of 0.38.1 (2026), VHS_VideoCombine is of
ComfyUI-VideoHelperSuite (2026-05-13): both known from graphs alone, so with the inputs that graphs have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Scalar = bool | int | float | str
"""The value of a widget."""

Kind = Literal["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "LINK"]

CONTROLS = ("fixed", "increment", "decrement", "randomize")
"""What the browser's widget after a seed may say: what becomes of the seed once the graph was queued."""

_SEED_MOST = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node: a link to another node, or a widget, whose value may also come through a link."""

    name: str
    kind: Kind
    default: Scalar | None = None
    least: float = -math.inf
    most: float = math.inf
    options: tuple[str, ...] = ()
    """The values that a COMBO may have; none given: any text, such as a file."""
    optional: bool = False
    """It may be absent from a graph; then `default` applies."""
    controlled: bool = False
    """The browser keeps a widget behind it that says how a seed changes."""

    def check(self, value: object) -> Scalar:
        """Return a value of this input's type, a whole float as an int. Raises ValueError that says what it must be."""
        if self.kind == "BOOLEAN":
            if not isinstance(value, bool):
                raise ValueError("true or false")
            return value
        if self.kind in ("STRING", "COMBO"):
            if not isinstance(value, str):
                raise ValueError("text")
            if self.options and value not in self.options:
                raise ValueError(" or ".join(self.options))
            return value
        return self._number(value)

    def _number(self, value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a finite number")
        if self.kind == "INT" and value != int(value):
            raise ValueError("a whole number")
        if not self.least <= value <= self.most:
            raise ValueError(f"from {_bound(self.least)} to {_bound(self.most)}")
        return int(value) if self.kind == "INT" else float(value)


@dataclass(frozen=True, slots=True)
class Node:
    """A class of nodes."""

    outputs: tuple[str, ...]
    """The types of its outputs."""
    inputs: tuple[Input, ...]

    def input(self, name: str) -> Input | None:
        """The input of that name."""
        return next((entry for entry in self.inputs if entry.name == name), None)

    @property
    def widgets(self) -> tuple[Input, ...]:
        """The inputs that have a widget, in the browser's order."""
        return tuple(entry for entry in self.inputs if entry.kind != "LINK")


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _links(*names: str) -> tuple[Input, ...]:
    return tuple(Input(name, "LINK") for name in names)


def _file(name: str) -> Input:
    return Input(name, "COMBO")


def _combo(name: str, *options: str, default: str | None = None, optional: bool = False) -> Input:
    return Input(name, "COMBO", default, options=options, optional=optional)


def _int(name: str, default: int, least: float, most: float) -> Input:
    return Input(name, "INT", default, least, most)


def _float(name: str, default: float, least: float, most: float) -> Input:
    return Input(name, "FLOAT", default, least, most)


def _seed(name: str) -> Input:
    return Input(name, "INT", 0, 0, _SEED_MOST, controlled=True)


_SIZE = (
    _int("width", 832, 16, 16384),
    _int("height", 480, 16, 16384),
    _int("length", 81, 1, 16384),
    _int("batch_size", 1, 1, 4096),
)
_PREFIX = Input("filename_prefix", "STRING", "ComfyUI")
_FPS = _float("fps", 6.0, 0.01, 1000.0)
_STEPS, _CFG, _DENOISE = _int("steps", 20, 1, 10000), _float("cfg", 8.0, 0.0, 100.0), _float("denoise", 1.0, 0.0, 1.0)
_SAMPLER, _SCHEDULER = _combo("sampler_name"), _combo("scheduler")

SAVING: Mapping[str, Node] = {
    "SaveVideo": Node(
        (),
        (
            *_links("video"),
            Input("filename_prefix", "STRING", "video/ComfyUI"),
            Input("format", "COMBO", "auto", optional=True),
            Input("codec", "COMBO", "auto", optional=True),
        ),
    ),
    "SaveAnimatedWEBP": Node(
        (),
        (
            *_links("images"),
            _PREFIX,
            _FPS,
            Input("lossless", "BOOLEAN", True),
            _int("quality", 80, 0, 100),
            _combo("method", "default", "fastest", "slowest"),
        ),
    ),
    "SaveWEBM": Node(
        (),
        (
            *_links("images"),
            _PREFIX,
            _combo("codec", "vp9", "av1"),
            _float("fps", 24.0, 0.01, 1000.0),
            _float("crf", 32.0, 0, 63.0),
        ),
    ),
    "SaveAnimatedPNG": Node((), (*_links("images"), _PREFIX, _FPS, _int("compress_level", 4, 0, 9))),
    "VHS_VideoCombine": Node(
        ("VHS_FILENAMES",),
        (
            *_links("images"),
            _float("frame_rate", 8.0, 0.01, 1000.0),
            Input("loop_count", "INT", 0, optional=True),
            Input("filename_prefix", "STRING", "AnimateDiff"),
            Input("format", "COMBO"),
            Input("pingpong", "BOOLEAN", False, optional=True),
            Input("save_output", "BOOLEAN", True, optional=True),
            Input("crf", "INT", 19, 0, 100, optional=True),
        ),
    ),
    "SaveImage": Node((), (*_links("images"), _PREFIX)),
    "PreviewImage": Node((), _links("images")),
}
"""The nodes at which a graph ends, those that write a video first."""

NODES: Mapping[str, Node] = {
    **SAVING,
    "UNETLoader": Node(
        ("MODEL",),
        (
            _file("unet_name"),
            _combo("weight_dtype", "default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
        ),
    ),
    "CheckpointLoaderSimple": Node(("MODEL", "CLIP", "VAE"), (_file("ckpt_name"),)),
    "CLIPLoader": Node(
        ("CLIP",),
        (
            _file("clip_name"),
            _combo("type", "wan"),
            _combo("device", "default", "cpu", default="default", optional=True),
        ),
    ),
    "VAELoader": Node(("VAE",), (_file("vae_name"),)),
    "CLIPVisionLoader": Node(("CLIP_VISION",), (_file("clip_name"),)),
    "LoraLoaderModelOnly": Node(
        ("MODEL",), (*_links("model"), _file("lora_name"), _float("strength_model", 1.0, -100.0, 100.0))
    ),
    "LoraLoader": Node(
        ("MODEL", "CLIP"),
        (
            *_links("model", "clip"),
            _file("lora_name"),
            _float("strength_model", 1.0, -100.0, 100.0),
            _float("strength_clip", 1.0, -100.0, 100.0),
        ),
    ),
    "ModelSamplingSD3": Node(("MODEL",), (*_links("model"), _float("shift", 3.0, 0.0, 100.0))),
    "CLIPTextEncode": Node(("CONDITIONING",), (Input("text", "STRING"), *_links("clip"))),
    "EmptyHunyuanLatentVideo": Node(
        ("LATENT",), (_int("width", 848, 16, 16384), _SIZE[1], _int("length", 25, 1, 16384), _SIZE[3])
    ),
    "WanImageToVideo": Node(
        ("CONDITIONING", "CONDITIONING", "LATENT"),
        (*_links("positive", "negative", "vae"), *_SIZE, *_links("clip_vision_output", "start_image")),
    ),
    "LoadImage": Node(("IMAGE", "MASK"), (_file("image"),)),
    "CLIPVisionEncode": Node(
        ("CLIP_VISION_OUTPUT",), (*_links("clip_vision", "image"), _combo("crop", "center", "none"))
    ),
    "KSampler": Node(
        ("LATENT",),
        (
            *_links("model"),
            _seed("seed"),
            _STEPS,
            _CFG,
            _SAMPLER,
            _SCHEDULER,
            *_links("positive", "negative", "latent_image"),
            _DENOISE,
        ),
    ),
    "KSamplerAdvanced": Node(
        ("LATENT",),
        (
            *_links("model"),
            _combo("add_noise", "enable", "disable"),
            _seed("noise_seed"),
            _STEPS,
            _CFG,
            _SAMPLER,
            _SCHEDULER,
            *_links("positive", "negative", "latent_image"),
            _int("start_at_step", 0, 0, 10000),
            _int("end_at_step", 10000, 0, 10000),
            _combo("return_with_leftover_noise", "disable", "enable"),
        ),
    ),
    "SamplerCustom": Node(
        ("LATENT", "LATENT"),
        (
            *_links("model"),
            Input("add_noise", "BOOLEAN", True),
            _seed("noise_seed"),
            _CFG,
            *_links("positive", "negative", "sampler", "sigmas", "latent_image"),
        ),
    ),
    "SamplerCustomAdvanced": Node(("LATENT", "LATENT"), _links("noise", "guider", "sampler", "sigmas", "latent_image")),
    "KSamplerSelect": Node(("SAMPLER",), (_SAMPLER,)),
    "BasicScheduler": Node(("SIGMAS",), (*_links("model"), _SCHEDULER, _STEPS, _DENOISE)),
    "RandomNoise": Node(("NOISE",), (_seed("noise_seed"),)),
    "CFGGuider": Node(("GUIDER",), (*_links("model", "positive", "negative"), _CFG)),
    "BasicGuider": Node(("GUIDER",), _links("model", "conditioning")),
    "VAEDecode": Node(("IMAGE",), _links("samples", "vae")),
    "VAEDecodeTiled": Node(
        ("IMAGE",),
        (
            *_links("samples", "vae"),
            _int("tile_size", 512, 64, 4096),
            _int("overlap", 64, 0, 4096),
            Input("temporal_size", "INT", 64, 8, 4096, optional=True),
            Input("temporal_overlap", "INT", 8, 4, 4096, optional=True),
        ),
    ),
    "CreateVideo": Node(("VIDEO",), (*_links("images"), _float("fps", 30.0, 1.0, 120.0), *_links("audio"))),
    "PrimitiveInt": Node(("INT",), (Input("value", "INT", controlled=True),)),
    "PrimitiveFloat": Node(("FLOAT",), (Input("value", "FLOAT"),)),
    "PrimitiveBoolean": Node(("BOOLEAN",), (Input("value", "BOOLEAN"),)),
    "PrimitiveString": Node(("STRING",), (Input("value", "STRING"),)),
    "PrimitiveStringMultiline": Node(("STRING",), (Input("value", "STRING"),)),
    "ComfyMathExpression": Node(("FLOAT", "INT", "BOOLEAN"), (Input("expression", "STRING"),)),
    "ComfySwitchNode": Node(("*",), (Input("switch", "BOOLEAN"), *_links("on_false", "on_true"))),
    "Reroute": Node(("*",), ()),
}

IGNORED: Mapping[str, tuple[str, ...]] = {
    "CreateVideo": ("audio",),
    "LoadImage": ("upload",),
    "VHS_VideoCombine": ("audio", "save_metadata", "trim_to_audio", "videopreview"),
}
"""Further inputs that cannot reach the pixels: what is linked there is not looked at."""

LATER: Mapping[str, Mapping[str, tuple[Scalar, ...]]] = {
    "CreateVideo": {"bit_depth": (8, "auto"), "color_space": ("sRGB",)},
    "SaveVideo": {"format.codec": ("auto", "h264")},
    "VHS_VideoCombine": {"pix_fmt": ("yuv420p",)},
}
"""Inputs that came after 0.3.64, in the order of their widgets, with the values that leave everything as it was."""
