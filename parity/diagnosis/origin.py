"""Where two generations diverge: noise, conditioning, schedule, weights and decode, compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parity.results.diagnosis import Origin, StageGap
from pipelines.engine.stages import Trace

if TYPE_CHECKING:
    import torch

_CONDITIONING = ("prompt", "negative_prompt", "image", "image_latents")
_STAGE_NAMES = {
    "prompt": "prompt embeddings",
    "negative_prompt": "negative prompt embeddings",
    "image": "image embeddings",
    "image_latents": "the control image's latents",
}


def find_origin(preview: Trace, inference: Trace, decode: StageGap) -> Origin:
    """Compare two traces. `decode` is the caller's comparison of the same latents decoded both ways."""
    assert preview.noise is not None
    assert inference.noise is not None
    noise = tensor_gap("noise", preview.noise, inference.noise)
    conditioning = [
        _optional_gap(name, preview.conditioning.get(name), inference.conditioning.get(name))
        for name in _CONDITIONING
        if name in preview.conditioning or name in inference.conditioning
    ]
    sigmas = _sequence_gap("sigmas", preview.sigmas, inference.sigmas)
    timesteps = _sequence_gap("timesteps", preview.timesteps, inference.timesteps)
    prediction = _optional_gap("first_prediction", preview.first_prediction, inference.first_prediction)
    gaps: list[float] = []
    if len(preview.latents) == len(inference.latents) and noise.equal is not None:
        pairs = zip(preview.latents, inference.latents, strict=True)
        gaps = [squared_gap(first, second) for first, second in pairs]
    return Origin(
        sentence=_sentence(noise, conditioning, sigmas, timesteps, prediction, decode, preview, inference),
        stages=(noise, *conditioning, sigmas, timesteps, prediction, decode),
        sigmas={"preview": preview.sigmas, "inference": inference.sigmas},
        first_step=next((number for number, gap in enumerate(gaps, 1) if gap), None),
        latent_gaps=tuple(gaps),
    )


def squared_gap(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the squared difference relative to the size of `first`: 0 if equal, about 2 for unrelated noise."""
    first, second = first.double(), second.double()
    return float(((first - second) ** 2).sum() / max(float((first**2).sum()), 1e-30))


def tensor_gap(stage: str, first: torch.Tensor, second: torch.Tensor) -> StageGap:
    """Compare the tensors of one stage."""
    if first.shape != second.shape:
        note = f"{'x'.join(map(str, first.shape))} against {'x'.join(map(str, second.shape))}"
        return StageGap(stage=stage, equal=None, note=note)
    gap = squared_gap(first, second)
    return StageGap(stage=stage, equal=gap == 0, gap=gap)


def _optional_gap(stage: str, first: torch.Tensor | None, second: torch.Tensor | None) -> StageGap:
    if first is None or second is None:
        return StageGap(stage=stage, equal=None, note=f"only the {'preview' if second is None else 'inference'} has it")
    return tensor_gap(stage, first, second)


def _sequence_gap(stage: str, first: Sequence[float], second: Sequence[float]) -> StageGap:
    if len(first) != len(second):
        return StageGap(stage=stage, equal=None, note=f"{len(first)} against {len(second)} values")
    unequal = [number for number, (a, b) in enumerate(zip(first, second, strict=True), 1) if a != b]
    if not unequal:
        return StageGap(stage=stage, equal=True, gap=0.0)
    step = unequal[0]
    gap = sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / sum(a**2 for a in first)
    note = f"first at step {step}: {first[step - 1]:.6g} against {second[step - 1]:.6g}"
    return StageGap(stage=stage, equal=False, gap=gap, note=note)


def _sentence(
    noise: StageGap,
    conditioning: Sequence[StageGap],
    sigmas: StageGap,
    timesteps: StageGap,
    prediction: StageGap,
    decode: StageGap,
    preview: Trace,
    inference: Trace,
) -> str:
    """Say what the stages prove, in the order in which a generation passes through them."""
    if noise.equal is None:
        return f"The latents have different shapes ({noise.note}): frame size or number of frames differs."
    parts = ["They start from different noise" if not noise.equal else "The noise is equal"]
    moved = [_STAGE_NAMES[gap.stage] for gap in conditioning if not gap.equal]
    if conditioning:
        parts.append(f"different {' and '.join(moved)}" if moved else "the conditioning is equal")
    unequal = [gap for gap in (sigmas, timesteps) if not gap.equal]
    if unequal:
        parts.append("the schedules differ (" + "; ".join(f"{gap.stage} {gap.note}" for gap in unequal) + ")")
    else:
        parts.append("the schedules are equal")
    same_inputs = noise.equal and not moved and preview.timesteps[:1] == inference.timesteps[:1]
    if prediction.equal is False and same_inputs:
        parts.append("from equal inputs the first prediction differs: weights or guidance differ")
    elif prediction.equal is False:
        parts.append("the first prediction differs because its inputs do")
    else:
        parts.append("the first prediction is equal")
    if decode.equal is False:
        parts.append("the same latents decode differently")
    return "; ".join(parts) + "."
