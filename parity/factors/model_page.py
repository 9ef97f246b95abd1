"""The page of a model: quick facts, a minimal request, and what decides whether its output matches a preview.

The page is built from the catalogue, the defaults of both sides and the factors' notes, so that it cannot contradict
the code. `parity models ID` prints it; docs/models/ holds what it prints.
"""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from parity.factors.catalogue import CATALOGUE
from pipelines.aitoolkit.job import SAMPLE_DEFAULTS
from pipelines.aitoolkit.rules import BOUNDARY
from pipelines.catalog import MODELS, Model
from pipelines.drift import LORA_FACTORS, Factor
from pipelines.recipe import Expert
from pipelines.reference.request import LoraItem, PromptItem, Request

_TEMPLATE = Path(__file__).with_name("model_page.md.jinja")
_SHARED = ("width", "height", "num_frames", "fps", "sample_steps", "guidance_scale")
"""Keys that a job's `sample` section and a prompt item have in common."""

CONTROL_IMAGE = "<base64, data URL or http(s) URL>"
"""Placeholder for the image in the page's request."""


def minimal_request(model: Model) -> Request:
    """Build a request that states every default explicitly: a value that is written down cannot drift."""
    d = model.defaults
    item = PromptItem(
        prompt="[trigger] a photo of a person",
        width=d.width,
        height=d.height,
        seed=d.seed,
        sample_steps=d.sample_steps,
        guidance_scale=d.guidance_scale,
        neg=d.neg,
        num_frames=d.num_frames,
        fps=d.fps,
        ctrl_img=CONTROL_IMAGE if model.needs_control_image else None,
    )
    files: dict[Expert | None, str] = {"high": "my_lora_high_noise", "low": "my_lora_low_noise"}
    if model.experts is None:
        files = {None: "my_lora"}
    loras = [
        LoraItem(path=f"my_lora_job/{name}.safetensors", transformer=expert, network_multiplier=d.network_multiplier)
        for expert, name in files.items()
    ]
    return Request(model=model.id, trigger_word="sks", prompts=[item], loras=loras)


def page(model: Model) -> str:
    """Render the page in Markdown. Links are relative to docs/models/."""
    template = jinja2.Template(
        _TEMPLATE.read_text(encoding="utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, of our own values alone
    )
    text: str = template.render(
        model=model,
        facts=model.quick_facts(),
        request=json.dumps(minimal_request(model).model_dump(exclude_none=True), indent=2),
        pipeline=model.pipeline(with_image=model.needs_control_image),
        defaults=[(key, SAMPLE_DEFAULTS[key], getattr(model.defaults, key)) for key in _SHARED],
        experts=model.experts,
        boundary=BOUNDARY,
        server_schedule=_server_schedule(model),
        server_frames="(n - 1) // 4 * 4 + 1" if model.rounds_frames_down else "n // 4 * 4 + 1",
        factors=[factor for name, factor in CATALOGUE.items() if _concerns(name, model)],
        others=[other for other in MODELS.values() if other is not model],
    )
    return text


def _server_schedule(model: Model) -> str:
    shift = model.server_shift
    return "the checkpoint's own: UniPC" if shift is None else f"UniPC, shift {shift:g}"


def _concerns(factor: Factor, model: Model) -> bool:
    if factor in ("control_image", "resize"):
        return model.takes_control_image
    if factor == "clip_image":
        return model.needs_control_image and model.experts is None
    if factor in LORA_FACTORS:
        return (LORA_FACTORS[factor] is None) == (model.experts is None)
    if factor in ("boundary", "compilation"):
        return model.experts is not None
    if factor == "conditioning":
        return model.own_conditioning
    return factor != "vae_tiling" or not model.needs_control_image
