"""The tables of docs/hardware.md, computed from the published models: `python -m parity.cost.table` prints them."""

from __future__ import annotations

from collections.abc import Sequence

from parity.cost.downloads import needs_of, published_bytes
from parity.cost.estimate import sized
from parity.cost.memory import Held, held
from pipelines.catalog import MODELS, Model
from pipelines.offload import OFFLOADS
from pipelines.quantization import Quantization
from pipelines.recipe import Asked, Codec, Precision, Recipe
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights

GPUS = (8, 12, 16, 24, 32, 48, 80, 141)
"""Memory of common GPUs, in GiB."""
_SHARE = 0.8
"""The share of a GPU that weights may take in the table; the rest is for what is computed with them."""

PRECISIONS = {
    "bfloat16": Quantization(),
    "qfloat8": Quantization("qfloat8", "qfloat8"),
    "uint4": Quantization("uint4", "qfloat8"),
}
"""The quantizations of the table: of all layers, the text encoder of the last one in eight bits."""


def recipe_of(model: Model, quantization: Quantization = PRECISIONS["bfloat16"]) -> Recipe:
    """A recipe of a model as the reference server loads it, in bfloat16 and without a LoRA."""
    experts = model.experts
    weights = Weights(model.base_checkpoint)
    if experts is not None:
        parts = {"text_encoder": experts.text_encoder, "transformers": experts.transformers, "vae": experts.vae}
        weights = Weights(model.base_checkpoint, **parts)
    return Recipe(
        model=model.id,
        pipeline=model.pipeline(with_image=model.needs_control_image),
        weights=weights,
        prompt="",
        negative_prompt="",
        width=Asked(0, 0),
        height=Asked(0, 0),
        num_frames=Asked(0, 0),
        steps=0,
        guidance_scale=1.0,
        seed=0,
        scheduler=flow_schedule("unipc", 3.0),
        lora_files=(),
        lora_scales=(),
        lora_application="adapter",
        precision=Precision("bfloat16", "kept"),
        control_image=None,
        resize=None,
        vae_tiling=False,
        quantization=quantization,
        codec=Codec(),
        fps=16,
        boundary=None if experts is None else 0.9,
    )


def weights_table() -> str:
    """Download, and weights in memory by offload mode and precision, a row for each model and precision."""
    rows = [("model", "download", "weights", *(f"`--offload {mode}`" for mode in OFFLOADS))]
    for model in MODELS.values():
        for number, (name, quantization) in enumerate(PRECISIONS.items()):
            weights = held(recipe_of(model, quantization))
            first = (f"`{model.id}`", sized(_download(model))) if number == 0 else ("", "")
            rows.append((*first, name, *(sized(weights.on_gpu(mode)) for mode in OFFLOADS)))
    return _markdown(rows)


def gpu_table() -> str:
    """The first offload mode that leaves a share of each GPU free, a row for each model and precision."""
    rows = [("model", "weights", *(f"{size} GiB" for size in GPUS))]
    for model in MODELS.values():
        for number, (name, quantization) in enumerate(PRECISIONS.items()):
            weights = held(recipe_of(model, quantization))
            first = f"`{model.id}`" if number == 0 else ""
            rows.append((first, name, *(_mode(weights, size << 30) for size in GPUS)))
    return _markdown(rows)


def _mode(weights: Held, gpu: int) -> str:
    return next((mode for mode in OFFLOADS if weights.on_gpu(mode) <= _SHARE * gpu), "-")


def _download(model: Model) -> int:
    return sum(published_bytes(need) for need in needs_of([(recipe_of(model), None)]))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    print(f"{weights_table()}\n\n{gpu_table()}")
