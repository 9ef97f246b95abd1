"""Recordings of real ComfyUI, and recipes made by hand from their graphs."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from parity.case.load import DEMO
from pipelines.catalog import MODELS
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.recipe import Files, comfyui_graph, comfyui_recipe
from pipelines.lora_files import lora_file
from pipelines.media.control_image import from_bytes
from pipelines.media.video import Frames
from pipelines.quantization import Quantization
from pipelines.recipe import Asked, Codec, ControlImage, Dtype, Expert, LoraFile, Precision, Recipe
from pipelines.scheduler import comfyui_schedule
from pipelines.weights import Weights
from tests.support.paths import DATA

COMFYUI = DATA / "comfyui"
LORAS = {path.name: path for path in (DEMO / "jobs").glob("*/*.safetensors")}


def recorded_latents(name: str, dtype: Dtype = "float32") -> npt.NDArray[np.float32]:
    """Normalised latents (1, 16, 3, 8, 12), float32, before ComfyUI's VAE."""
    with np.load(COMFYUI / name / dtype / "latents.npz") as data:
        latents: npt.NDArray[np.float32] = data["latents"]
    return latents


def recorded_frames(name: str, dtype: Dtype = "float32") -> Frames:
    """Frames (T, H, W, 3), uint8, as ComfyUI's save nodes had them."""
    with np.load(COMFYUI / name / dtype / "frames.npz") as data:
        frames: Frames = data["frames"]
    return frames


def recorded_recipe(name: str, dtype: Dtype = "float32") -> Recipe:
    """The recipe of a recording's graph, by the project's own reader, in the dtype in which ComfyUI was run."""
    settings = read_graph((COMFYUI / name / dtype / "prompt.json").read_text(encoding="utf-8"), filename=None)
    image, kind = settings.image is not None, "i2v" if settings.image is not None else "t2v"
    two = len(settings.stages) == 2
    model = MODELS[f"wan22_14b_{kind}" if two else "wan21_i2v_14b" if image else "wan21_14b"]
    graph = comfyui_graph(
        settings,
        model=model,
        weights=Weights(str(DEMO / "models" / f"{'tiny-wan22' if two else 'shapes'}-{kind}")),
        boundary=0.875 if two else None,
        precision=Precision(dtype, "cast"),
    )
    files = Files(
        folders=tuple({path.parent for path in LORAS.values()}),
        image=_image(settings.image) if settings.image else None,
    )
    return comfyui_recipe(settings, graph, model=model, files=files, fps=8)


def _image(name: str) -> ControlImage:
    """The image of a recorded graph, under the name it had there."""
    job = "wan22_i2v" if name == "ctrl-w22.png" else "shapes_i2v"
    data = (DEMO / "jobs" / job / "ctrl.png").read_bytes()
    if name == "ctrl-shapes-96x64.png":  # made as the trainer resizes
        written = io.BytesIO()
        with Image.open(io.BytesIO(data)) as picture:
            picture.convert("RGB").resize((96, 64), Image.Resampling.LANCZOS).save(written, "PNG")
        data = written.getvalue()
    return from_bytes(data, name)


def decibels(ours: npt.ArrayLike, theirs: npt.ArrayLike, span: float | None = None) -> float:
    """PSNR in dB of the recording's range, or of `span` (255 for frames)."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    error = float(np.sqrt(np.mean((a - b) ** 2)))
    return 20 * float(np.log10((span or b.max() - b.min()) / error)) if error else float("inf")


def t2v_recipe(name: str, dtype: Dtype = "float32", **changes: Any) -> Recipe:
    """The recipe of a recorded text-to-video graph: KSampler, a pair of KSamplerAdvanced, or SamplerCustomAdvanced."""
    nodes = json.loads((COMFYUI / name / dtype / "prompt.json").read_text())
    by_class: dict[str, list[dict[str, Any]]] = {}
    for node in nodes.values():
        by_class.setdefault(node["class_type"], []).append(node["inputs"])
    texts = {place: nodes[node]["inputs"]["text"] for place, node in _texts(nodes).items()}
    asked: dict[str, Any] = {}
    samplers = [each for kind in _SAMPLING for each in by_class.get(kind, [])]
    for inputs in reversed(samplers):
        asked |= inputs
    experts = "KSamplerAdvanced" in by_class
    size = by_class["EmptyHunyuanLatentVideo"][0]
    loras = [each for kind in ("LoraLoaderModelOnly", "LoraLoader") for each in by_class.get(kind, [])]
    shift = by_class["ModelSamplingSD3"][0]["shift"] if "ModelSamplingSD3" in by_class else 8.0
    fields: dict[str, Any] = {
        "model": "wan22_14b_t2v" if experts else "wan21_14b",
        "pipeline": "WanPipeline",
        "weights": Weights(str(DEMO / "models" / ("tiny-wan22-t2v" if experts else "shapes-t2v"))),
        "prompt": texts["positive"],
        "negative_prompt": texts["negative"],
        "width": Asked(size["width"], size["width"]),
        "height": Asked(size["height"], size["height"]),
        "num_frames": Asked(size["length"], size["length"]),
        "steps": asked["steps"],
        "guidance_scale": asked["cfg"],
        "seed": asked.get("seed", asked.get("noise_seed")),
        "scheduler": comfyui_schedule(
            asked["sampler_name"], asked["scheduler"], shift, basic="BasicScheduler" in by_class
        ),
        "lora_files": tuple(_lora(each["lora_name"]) for each in loras),
        "lora_scales": tuple(each["strength_model"] for each in loras),
        "lora_application": "merged",
        "precision": Precision(dtype, "cast"),
        "control_image": None,
        "resize": None,
        "vae_tiling": False,
        "quantization": Quantization(),
        "codec": Codec(),
        "fps": 8,
        "boundary": 0.875 if experts else None,
        "split": samplers[0]["end_at_step"] if experts else None,
        "text_encoding": "comfyui",
        "float32_steps": True,
        "vae_dtype": "float32" if dtype == "float32" else "bfloat16",
        "vae_norm": "vae_dtype",
        "eight_bit": "truncated",
    }  # fmt: skip
    return Recipe(**fields | changes)


_SAMPLING = ("KSampler", "KSamplerAdvanced", "RandomNoise", "CFGGuider", "KSamplerSelect", "BasicScheduler")


def _texts(nodes: dict[str, Any]) -> dict[str, str]:
    for node in nodes.values():
        inputs = node["inputs"]
        if "positive" in inputs and "negative" in inputs:
            return {place: inputs[place][0] for place in ("positive", "negative")}
    raise AssertionError("no sampler with two prompts")


def _lora(name: str) -> LoraFile:
    expert: Expert | None = "high" if "high_noise" in name else "low" if "low_noise" in name else None
    return lora_file(LORAS[name], expert)
