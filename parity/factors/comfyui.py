"""What to set in ComfyUI for a case's preview, and what to change in the case's own graph if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from parity.case.load import Case
from parity.results.comfyui import ComfyAdvice, ComfySetting
from pipelines.comfyui.advice import advise
from pipelines.comfyui.changes import NodeSetting, changes, node_settings
from pipelines.files.words import capital, plural, together


def comfy_advice(case: Case) -> ComfyAdvice:
    """What to set in ComfyUI for a case's preview. Reads the headers of its LoRA files."""
    advice = advise(case.preview)
    found: tuple[NodeSetting, ...] = ()
    answer = advice.answer if advice.short is None else f"{advice.answer} {advice.short}"
    if advice.settings is not None and case.comfyui is not None:
        found = changes(case.comfyui, advice.settings, same=_same(case))
        answer = f"{_about_graph(found)} {answer}"
    return ComfyAdvice(
        answer=answer,
        settings=() if advice.settings is None else _rows(node_settings(advice.settings)),
        changes=_rows(found),
        missing=tuple(f"{capital(each.what)}: {each.why}" for each in advice.missing if advice.settings is not None),
        first=advice.first,
        rounding=advice.rounding,
    )


def _same(case: Case) -> list[str]:
    """What is known to be the same on both sides, whatever its files are called."""
    preview, graph = case.preview, case.inference
    image = graph.control_image
    fits = image is not None and (image.width, image.height) == (preview.width.applied, preview.height.applied)
    equal = preview.lora_files == graph.lora_files and preview.lora_scales == graph.lora_scales
    return [name for name, known in (("loras", equal), ("image", fits)) if known]


def _about_graph(found: Sequence[NodeSetting]) -> str:
    if not found:
        return "The graph's settings are those of the preview already."
    names = together(list(dict.fromkeys(change.name for change in found)))
    return f"The graph differs from the preview in {plural(len(found), 'setting')}: {names}."


def _rows(settings: Sequence[NodeSetting]) -> tuple[ComfySetting, ...]:
    return tuple(ComfySetting(**asdict(setting)) for setting in settings)
