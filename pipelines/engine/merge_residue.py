"""What earlier previews left in the weights: a LoRA merged and taken out again does not give back the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.engine import lora
from pipelines.engine.lora import Undo
from pipelines.engine.merging import Merger
from pipelines.engine.originals import Originals
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import EXPERT_PARTS, EarlierMerge

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def replay(
    pipe: DiffusionPipeline,
    merges: tuple[EarlierMerge, ...],
    on_phase: OnPhase = unheard,
    originals: Originals | None = None,
) -> Undo:
    """Merge and unmerge LoRAs one after another, as the trainer did. The returned function undoes it exactly.

    W becomes (W.float() + scale * B @ A) in W's dtype, then likewise with minus the scale's absolute value: merge_out
    of ai-toolkit (network_mixins.py at 27a03a91, and at ab1ee4df^) knows no sign, so that a LoRA of negative scale is
    merged twice. Recorded for both. `originals` are as for `lora.apply`. Quantized weights stay as they are: what is
    merged into them is not stored.
    """
    from pipelines.engine.quantized import QuantizedLinear

    kept = Originals() if originals is None else originals
    merger = Merger()

    def undo() -> None:
        kept.restore(pipe)

    try:
        for merge in merges:
            for file in merge.files:
                on_phase("merge", f"{file.path.name} as for earlier previews")
                part = EXPERT_PARTS[file.expert]
                for name, layer in lora.mergeable_layers(pipe, file).items():
                    module: Any = getattr(pipe, part).get_submodule(name)
                    if isinstance(module, QuantizedLinear):
                        continue
                    kept.will_change(part, f"{name}.weight", module.weight)
                    delta = merger.delta(layer, module.weight)
                    for scale in (merge.scale, -abs(merge.scale)):
                        merger.add(module.weight, [(delta, scale)])
    except BaseException:
        undo()
        raise
    return undo
