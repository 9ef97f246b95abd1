"""Layers with quantized weights, and how a model gets them: at loading, a tensor at a time, or afterwards in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.functional import linear

from pipelines.engine.lora_layers import Layer, LowRank, make_layers, to_device
from pipelines.engine.originals import read_tensor
from pipelines.engine.qtypes import Codes, Rounding, rounding_of
from pipelines.errors import WeightsError
from pipelines.lora_files import check_coverage, expert_keys, read_header
from pipelines.phases import OnPhase, unheard
from pipelines.quantization import Quantization
from pipelines.recipe import Expert, Precision
from pipelines.weight_files import weight_files


class QuantizedLinear(torch.nn.Linear):
    """A linear layer that stores its weight in fewer bits.

    The codes are parameters, so that offloading moves them. `weight` computes the plain weight whenever it is read.
    """

    def __init__(self, w: torch.Tensor, bias: torch.nn.Parameter | None, rounding: Rounding, *, plain: bool) -> None:
        """`w`: (out, in). `plain`: the layer multiplies with its plain weight, as ai-toolkit does under an adapter."""
        torch.nn.Module.__init__(self)
        self.out_features, self.in_features = w.shape
        self.dtype = w.dtype
        self.rounding, self.plain = rounding, plain
        self.merged: list[tuple[Layer, float]] = []
        """LoRAs, with their scales, merged into the plain weight, of which nothing is stored."""
        self.register_parameter("bias", bias)  # the first parameter: diffusers takes a module's dtype from it
        codes = rounding.encode(w.detach())
        self._names = tuple(codes)
        for name, code in codes.items():
            self.register_parameter(f"quantized_{name}", torch.nn.Parameter(code, requires_grad=False))

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The plain weight (out, in) in its dtype before quantization, with merged LoRAs."""
        w = self.rounding.weight(self._codes(), (self.out_features, self.in_features), self.dtype)
        merged = w.float() if self.merged else w
        for layer, scale in self.merged:
            merged = merged + scale * to_device(layer, w.device).delta()
        return merged.to(w.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output for x (…, in), as the qtype computes it."""
        if self.plain:
            return linear(x, self.weight.to(x.dtype), self.bias)
        if self.merged:
            return self.rounding.product(x, self.weight.to(x.dtype), self.bias)
        shape = (self.out_features, self.in_features)
        return self.rounding.forward(self._codes(), shape, self.dtype, x, self.bias)

    def _codes(self) -> Codes:
        return {name: getattr(self, f"quantized_{name}") for name in self._names}


def quantize(model: torch.nn.Module, qtype: str) -> None:
    """Quantize all linear layers of a loaded model, one after the other."""
    rounding = rounding_of(qtype)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and rounding.takes(module.out_features, module.in_features):
            _replace(model, name, QuantizedLinear(module.weight, module.bias, rounding, plain=False))


def load_transformer(
    folder: Path,
    precision: Precision,
    quantization: Quantization,
    expert: Expert | None,
    on_phase: OnPhase = unheard,
    blocks: Collection[int] | None = None,
) -> Any:
    """Load a transformer and quantize it on the way, so that the whole of it is never in memory unquantized.

    `folder` holds it in diffusers layout. `blocks`: only these of its blocks are loaded, and nothing needs to be
    quantized. Raises WeightsError.
    """
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        model: Any = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(folder))
    if blocks is not None:
        keep_blocks(model, blocks)
    config = model.config  # the rotary embedding is no weight: it is computed
    model.rope = type(model.rope)(config.attention_head_dim, config.patch_size, config.rope_max_seq_len)
    dtype_of = _dtypes(model, precision)
    adapter = _Adapter(model, quantization, expert) if quantization.adapter is not None else None
    rounding = rounding_of(quantization.transformer) if quantization.transformer is not None else None

    def is_quantized(name: str, module: torch.nn.Module) -> bool:
        if rounding is None:
            return False
        chosen = adapter.names(name) if adapter is not None else not name.startswith(quantization.kept or "\0")
        return chosen and isinstance(module, torch.nn.Linear) and rounding.takes(*_shape(module))

    modules = dict(model.named_modules())
    chosen = {name: module for name, module in modules.items() if is_quantized(name, module)}
    done = 0
    for key, read in tensors_of(folder):
        name, _, leaf = key.rpartition(".")
        if name not in modules or modules[name]._parameters.get(leaf) is None:
            continue  # as from_pretrained does
        tensor = read().to(dtype_of(key))
        expected = modules[name]._parameters[leaf]
        if expected is None or tensor.shape != expected.shape:
            raise WeightsError(f"{folder}: {key} has the shape {tuple(tensor.shape)}, which the config does not have")
        if rounding is not None and name in chosen and leaf == "weight":
            chosen[name]._parameters["weight"] = None
            done += 1
            on_phase("quantize", f"{folder.name}, layer {done} of {len(chosen)}")
            layer = QuantizedLinear(tensor, chosen[name].bias, rounding, plain=adapter is not None)
            modules[name] = layer
            _replace(model, name, layer)
        else:  # a copy: the file stays mapped as long as one of its tensors lives
            modules[name]._parameters[leaf] = torch.nn.Parameter(tensor.clone(), requires_grad=False)
    if adapter is not None:
        adapter.attach(model)
    return model.eval()


def keep_blocks(transformer: Any, blocks: Collection[int]) -> None:
    """Let a transformer without weights pass through all blocks but these, which keep their names."""

    class PassThrough(torch.nn.Module):
        """Stands where a block is left out."""

        def forward(self, hidden_states: torch.Tensor, *_: Any) -> torch.Tensor:
            """Return the tokens (1, tokens, width) as they are."""
            return hidden_states

    for number in range(len(transformer.blocks)):
        if number not in blocks:
            transformer.blocks[number] = PassThrough()


class _Adapter:
    """An accuracy recovery adapter: the layers that it names, and its side path on each of them."""

    def __init__(self, model: torch.nn.Module, quantization: Quantization, expert: Expert | None) -> None:
        assert quantization.adapter is not None
        path = quantization.adapter.path
        header = read_header(path).shapes
        self._path, self._keys = path, expert_keys(header, expert)
        linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        self._found = check_coverage(
            path,
            {key: header[stored] for key, stored in self._keys.items()},
            {name: _shape(module) for name, module in linears.items()},
            {name: (module.out_features,) for name, module in linears.items() if module.bias is not None},
        )

    def names(self, module: str) -> bool:
        return module in self._found.layers

    def attach(self, model: torch.nn.Module) -> None:
        """Add y + B(A(x)), wholly in the dtype of training; it stays for as long as the model lives."""
        stored = load_file(self._path)
        tensors = {key: stored[name] for key, name in self._keys.items()}
        for name, layer in make_layers(self._found, tensors).items():
            assert isinstance(layer, LowRank)  # `unsupported` names others
            module = model.get_submodule(name)
            dtype: Any = module.dtype if isinstance(module, QuantizedLinear) else module.weight.dtype
            module.register_forward_hook(_side_path(layer.down.to(dtype), layer.up.to(dtype)))


def _side_path(down: torch.Tensor, up: torch.Tensor) -> Callable[..., torch.Tensor]:
    def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        nonlocal down, up
        down, up = down.to(output.device), up.to(output.device)
        return output + linear(linear(inputs[0].to(down.dtype), down), up).to(output.dtype)

    return add


def _dtypes(model: Any, precision: Precision) -> Callable[[str], torch.dtype]:
    """The dtype of each parameter: diffusers keeps some modules in float32, ai-toolkit casts them too."""
    dtype: torch.dtype = getattr(torch, precision.dtype)
    kept = () if precision.fp32_modules == "cast" else tuple(model._keep_in_fp32_modules or ())
    return lambda key: torch.float32 if any(part in kept for part in key.split(".")) else dtype


def tensors_of(folder: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """The tensors of a model's folder, each with its reader, which maps no more of a file than it reads."""
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        for name in names:
            yield name, lambda path=path, name=name: read_tensor(path, name)  # type: ignore[misc]


def _shape(module: torch.nn.Module) -> tuple[int, int]:
    assert isinstance(module, torch.nn.Linear)
    return module.out_features, module.in_features


def _replace(model: torch.nn.Module, name: str, layer: torch.nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
