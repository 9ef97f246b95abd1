"""Applies LoRA files as ai-toolkit saves them to a pipeline, in three ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.lora_files import check_coverage, expert_keys, module_name, read_header
from pipelines.recipe import EXPERT_PARTS, LoraFile, Recipe

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

Undo = Callable[[], None]


_HOTSWAP_RANK = 32
"""The server pads Wan 2.2 adapters to this rank for swapping (enable_lora_hotswap), and fails on larger ones."""


def apply(pipe: DiffusionPipeline, recipe: Recipe) -> Undo:
    """Apply a recipe's LoRAs to a pipeline whose weights are plain tensors. The returned function undoes it exactly."""
    undos: list[Undo] = []

    def undo() -> None:
        while undos:
            undos.pop()()

    try:
        _apply_all(pipe, recipe, undos)
    except BaseException:
        undo()
        raise
    return undo


def _apply_all(pipe: DiffusionPipeline, recipe: Recipe, undos: list[Undo]) -> None:
    for number, (file, scale) in enumerate(zip(recipe.lora_files, recipe.lora_scales, strict=True)):
        transformer = getattr(pipe, EXPERT_PARTS[file.expert])
        modules = {name: module for name, module in transformer.named_modules() if hasattr(module, "weight")}
        weights = {name: tuple(module.weight.shape) for name, module in modules.items() if module.weight is not None}
        shapes = read_header(file.path).shapes
        keys = expert_keys(shapes, file.expert)
        check_coverage(file.path, {key: shapes[name] for key, name in keys.items()}, weights)
        if recipe.lora_application == "adapter":
            undos.append(_load_adapter(pipe, file, scale, f"lora_{number}"))
            continue
        attach = _merge if recipe.lora_application == "merged" else _side_path
        for name, (down, up) in _read_pairs(file).items():
            undos.append(attach(modules[name], down, up, scale))


def _read(file: LoraFile) -> dict[str, torch.Tensor]:
    """Read the weights for the file's expert, with the keys that a file for this expert alone would have."""
    from safetensors.torch import load_file

    weights = load_file(file.path)
    return {key: weights[name] for key, name in expert_keys(weights, file.expert).items()}


def _read_pairs(file: LoraFile) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Map module names to (down, up) in float32, as the trainer stores them."""
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in _read(file).items():
        found = module_name(key)
        assert found is not None  # check_coverage saw every key
        sides.setdefault(found[0], {})[found[1]] = tensor.float()
    return {name: (pair["A"], pair["B"]) for name, pair in sides.items()}


def _merge(module: torch.nn.Module, down: torch.Tensor, up: torch.Tensor, scale: float) -> Undo:
    """Merge: W.float() + scale * B @ A, cast back to W's dtype (ai-toolkit, network_mixins.py at 27a03a91).

    LoRA files contain no alpha: alpha equals the rank, so there is no further factor.
    """
    import torch

    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    original = weight.detach().to("cpu", copy=True)
    with torch.no_grad():
        delta = up.to(weight.device) @ down.to(weight.device)
        weight.copy_((weight.float() + scale * delta).to(weight.dtype))

    def undo() -> None:
        with torch.no_grad():
            weight.copy_(original)

    return undo


def _side_path(module: torch.nn.Module, down: torch.Tensor, up: torch.Tensor, scale: float) -> Undo:
    """Add a side path: y + (B(A(x.float())) * scale).to(y.dtype) (ai-toolkit, network_mixins.py at 27a03a91)."""
    import torch

    def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        nonlocal down, up
        x = inputs[0].float()
        down, up = down.to(x.device), up.to(x.device)
        side = torch.nn.functional.linear(torch.nn.functional.linear(x, down), up)
        return output + (side * scale).to(output.dtype)

    return module.register_forward_hook(add).remove


def _load_adapter(pipe: Any, file: LoraFile, scale: float, adapter: str) -> Undo:
    """Load a PEFT adapter as the reference server does (src/pipelines/wan21.py, wan22_t2v.py at af4aec1).

    If a Wan 2.2 request lacks the LoRA of one expert, the server loads the other file there at scale 0, which changes
    nothing.
    """
    part = EXPERT_PARTS[file.expert]
    weights = _read(file)
    rank = max(tensor.shape[0] for key, tensor in weights.items() if ".lora_A." in key)
    if file.expert is not None and rank <= _HOTSWAP_RANK:
        getattr(pipe, part).enable_lora_hotswap(target_rank=_HOTSWAP_RANK)
    pipe.load_lora_weights(weights, adapter_name=adapter, load_into_transformer_2=part == "transformer_2")
    transformer = getattr(pipe, part)
    transformer.set_adapters([adapter], [scale])

    def undo() -> None:
        transformer.unload_lora()

    return undo
