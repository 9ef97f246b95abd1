"""What earlier previews left in the weights: a LoRA merged and taken out again does not give back the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.engine import lora
from pipelines.engine.lora import Undo
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import EarlierMerge

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def replay(pipe: DiffusionPipeline, merges: tuple[EarlierMerge, ...], on_phase: OnPhase = unheard) -> Undo:
    """Merge and unmerge LoRAs one after another, as the trainer did. The returned function undoes it exactly.

    W becomes (W.float() + scale * B @ A) in W's dtype, then likewise with minus the scale's absolute value: merge_out
    of ai-toolkit (network_mixins.py at 27a03a91, and at ab1ee4df^) knows no sign, so that a LoRA of negative scale is
    merged twice. Recorded for both.
    """
    import torch

    originals: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def undo() -> None:
        with torch.no_grad():
            for weight, original in originals.values():
                weight.copy_(original)

    try:
        for merge in merges:
            for file in merge.files:
                on_phase("merge", f"{file.path.name} as for earlier previews")
                for weight, delta in lora.differences(pipe, file):
                    originals.setdefault(id(weight), (weight, weight.detach().to("cpu", copy=True)))
                    for scale in (merge.scale, -abs(merge.scale)):
                        weight.copy_((weight.float() + scale * delta).to(weight.dtype))
    except BaseException:
        undo()
        raise
    return undo
