"""Applies LoRA files to a pipeline, in three ways."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from pipelines.engine.lora_effect import effect_of, sample
from pipelines.engine.lora_layers import Layer, make_layers, to_device
from pipelines.engine.originals import Originals
from pipelines.errors import UnreproducibleError, WeightsError
from pipelines.files.words import sentence
from pipelines.lora_files import check_coverage, expert_keys, read_header, why_not_applied
from pipelines.lora_keys import LoraKeys
from pipelines.phases import OnPhase, unheard
from pipelines.ran import LoraRan
from pipelines.recipe import EXPERT_PARTS, LoraFile, Recipe

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from pipelines.engine.quantized import QuantizedLinear

Undo = Callable[[], None]


_HOTSWAP_RANK = 32
"""The server pads Wan 2.2 adapters to this rank for swapping (enable_lora_hotswap), and fails on larger ones."""


def apply(
    pipe: DiffusionPipeline,
    recipe: Recipe,
    on_phase: OnPhase = unheard,
    originals: Originals | None = None,
    effects: list[LoraRan] | None = None,
) -> Undo:
    """Apply a recipe's LoRAs to a pipeline whose weights are plain tensors. The returned function undoes it exactly.

    What is merged is undone by restoring all `originals`, also from what was merged before; without them, copies of
    the weights are kept. Undoing raises WeightsError if a file that must be read again has changed. `effects` receives
    what each file did.
    """
    undos: list[Undo] = []

    def undo() -> None:
        while undos:
            undos.pop()()

    try:
        done = _apply_all(pipe, recipe, undos, on_phase, Originals() if originals is None else originals)
    except BaseException:
        undo()
        raise
    if effects is not None:
        effects[:] = done
    return undo


def _apply_all(
    pipe: DiffusionPipeline, recipe: Recipe, undos: list[Undo], on_phase: OnPhase, originals: Originals
) -> list[LoraRan]:
    """Apply all files, and return what each did."""
    effects: list[LoraRan] = []
    for expert in dict.fromkeys(file.expert for file in recipe.lora_files):
        loras = recipe.loras(expert)
        part = EXPERT_PARTS[expert]
        layers: dict[str, list[tuple[Layer, float]]] = {}
        named: list[Set[str]] = []
        for number, (file, scale) in enumerate(loras):
            on_phase("merge", file.path.name)
            reason = why_not_applied(file.path, recipe.lora_application, file.expert)
            if reason is not None:
                raise UnreproducibleError(reason)
            found, tensors = _matched(pipe, file), _read(file)
            effects.append(effect_of(file, scale, found, tensors))
            if recipe.lora_application == "adapter":
                undos.append(_load_adapter(pipe, file, scale, number, found, tensors, alone=len(loras) == 1))
                continue
            named.append(found.layers.keys())
            for name, layer in make_layers(found, tensors).items():
                layers.setdefault(name, []).append((layer, scale))
            del tensors
        if recipe.lora_application == "adapter":
            names = [_adapter_name(number) for number in range(len(loras))]
            getattr(pipe, part).set_adapters(names, [scale for _, scale in loras])
        elif recipe.lora_application == "merged":
            undos.append(lambda: originals.restore(pipe))
            changed = _merge(pipe, part, layers, undos, originals)
            counts = [None if changed is None else len(changed & names) for names in named]
            merged = zip(effects[-len(loras) :], counts, strict=True)
            effects[-len(loras) :] = [dataclasses.replace(effect, changed=count) for effect, count in merged]
        else:
            for name, several in layers.items():
                undos.append(_side_paths(getattr(pipe, part).get_submodule(name), several))
    return effects


def _bias(module: Any) -> Any:
    return getattr(module, "bias", None)


def _matched(pipe: DiffusionPipeline, file: LoraFile) -> LoraKeys:
    """Return the file's keys by the modules of its transformer, which have weights that they fit."""
    modules = dict(getattr(pipe, EXPERT_PARTS[file.expert]).named_modules())
    shapes = read_header(file.path).shapes
    keys = expert_keys(shapes, file.expert)
    return check_coverage(
        file.path,
        {key: shapes[name] for key, name in keys.items()},
        {name: shape for name, module in modules.items() if (shape := _weight_shape(module)) is not None},
        {name: tuple(module.bias.shape) for name, module in modules.items() if _bias(module) is not None},
    )


def mergeable_layers(pipe: DiffusionPipeline, file: LoraFile) -> dict[str, Layer]:
    """Return what a file changes when it is merged, by the names of modules in its transformer.

    Raises UnreproducibleError for a file that cannot be merged, and WeightsError.
    """
    reason = why_not_applied(file.path, "merged", file.expert)
    if reason is not None:
        raise UnreproducibleError(reason)
    return make_layers(_matched(pipe, file), _read(file))


def _weight_shape(module: torch.nn.Module) -> tuple[int, ...] | None:
    """The shape of a module's weight, without computing that of a quantized one."""
    from pipelines.engine.quantized import QuantizedLinear

    if isinstance(module, QuantizedLinear):
        return module.out_features, module.in_features
    weight = getattr(module, "weight", None)
    return None if weight is None else tuple(weight.shape)


def _read(file: LoraFile) -> dict[str, torch.Tensor]:
    """Read the weights for the file's expert, with the keys that a file for this expert alone would have."""
    from safetensors.torch import load_file

    weights = load_file(file.path)
    return {key: weights[name] for key, name in expert_keys(weights, file.expert).items()}


def _merge(
    pipe: DiffusionPipeline,
    part: str,
    layers: Mapping[str, Sequence[tuple[Layer, float]]],
    undos: list[Undo],
    originals: Originals,
) -> Set[str] | None:
    """Merge: W.float() + scale * difference, cast back to W's dtype (ai-toolkit, network_mixins.py and lokr.py at
    27a03a91, and in every version before). Several LoRAs are added up in float32 and cast back once (ComfyUI 0.3.64).
    A bias likewise; ai-toolkit trains none.

    Returns the names of the modules of which a sample of the weight, or the bias, changed; None: all are quantized.
    """
    import torch

    from pipelines.engine.merging import Merger
    from pipelines.engine.quantized import QuantizedLinear

    merger = Merger()
    changed: set[str] = set()
    stored = False
    for name, several in layers.items():
        module: Any = getattr(pipe, part).get_submodule(name)
        if isinstance(module, QuantizedLinear):  # no preview has this; it is for what-if experiments
            undos.append(_merge_quantized(module, several))
        else:
            originals.will_change(part, f"{name}.weight", module.weight)
            before, stored = sample(module.weight), True
            merger.add(module.weight, ((merger.delta(layer, module.weight), scale) for layer, scale in several))
            changed |= set() if torch.equal(before, sample(module.weight)) else {name}
        biases = [(layer.bias.to(module.bias.device), scale) for layer, scale in several if layer.bias is not None]
        if biases:
            originals.will_change(part, f"{name}.bias", module.bias)
            merger.add(module.bias, biases)
            changed |= {name} if any(scale and bool(bias.any()) for bias, scale in biases) else set()
    return changed if stored else None


def _merge_quantized(module: QuantizedLinear, layers: Sequence[tuple[Layer, float]]) -> Undo:
    """Merge into the plain weight, which is computed whenever it is read: nothing is stored."""
    module.merged += layers

    def undo() -> None:
        del module.merged[-len(layers) :]

    return undo


def _side_paths(module: torch.nn.Module, layers: Sequence[tuple[Layer, float]]) -> Undo:
    """Add the layers' side paths to the module's output, one after another. Scale 0 skips one, as in ai-toolkit."""
    hooks = [_side_path(module, layer, scale) for layer, scale in layers if scale]

    def undo() -> None:
        for remove in hooks:
            remove()

    return undo


def _side_path(module: torch.nn.Module, layer: Layer, scale: float) -> Undo:
    def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        nonlocal layer
        layer = to_device(layer, inputs[0].device)
        return layer.side(inputs[0], output, scale)

    return module.register_forward_hook(add).remove


def nothing() -> None:
    """Undo nothing."""


def _adapter_name(number: int) -> str:
    return f"lora_{number}"


def _load_adapter(
    pipe: Any,
    file: LoraFile,
    scale: float,
    number: int,
    found: LoraKeys,
    weights: dict[str, torch.Tensor],
    *,
    alone: bool,
) -> Undo:
    """Load a PEFT adapter as the reference server does (src/pipelines/wan21.py, wan22_t2v.py at af4aec1).

    If a Wan 2.2 request lacks the LoRA of one expert, the server loads the other file there at scale 0, which changes
    nothing. It never loads two for one transformer; `alone`: neither is this. Raises WeightsError with the reason of a
    loader that refuses the file.
    """
    import torch

    part, adapter = EXPERT_PARTS[file.expert], _adapter_name(number)
    rank = max(weights[parts["down"]].shape[0] for parts in found.layers.values() if "down" in parts)
    if file.expert is not None and rank <= _HOTSWAP_RANK and alone:
        getattr(pipe, part).enable_lora_hotswap(target_rank=_HOTSWAP_RANK)
    transformer = getattr(pipe, part)
    try:
        with warnings.catch_warnings():  # PEFT warns of a second adapter, which is meant
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            pipe.load_lora_weights(weights, adapter_name=adapter, load_into_transformer_2=part == "transformer_2")
        transformer.set_adapters([adapter], [scale])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever diffusers and PEFT raise for a file that they do not take
        reason = sentence(error, 200)
        raise WeightsError(
            f"{file.path}: diffusers cannot load it as an adapter ({type(error).__name__}: {reason}); "
            "`lora_application: merged` reads it"
        ) from None

    def undo() -> None:
        if number == 0:  # the last one to be undone unloads all
            transformer.unload_lora()

    return undo
