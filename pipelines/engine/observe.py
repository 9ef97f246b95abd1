"""Observes a generation while it runs: which kernels, compiled blocks, offloading and LoRA layers took part.

Nothing is computed twice and no bit depends on it: the first pass through each transformer is looked at, by hooks and
by what torch, diffusers and PEFT know of themselves. It holds for torch 2.13.0, diffusers 0.42.1 and PEFT 0.21.2.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pipelines import cpu_kernels
from pipelines.offload import Offload
from pipelines.ran import LoraRan, Ran
from pipelines.recipe import EXPERT_PARTS, Recipe

if TYPE_CHECKING:
    import torch

_PARTS = tuple(dict.fromkeys(EXPERT_PARTS.values()))


class Observed:
    """What has been seen so far of one generation."""

    def __init__(self, pipe: Any, recipe: Recipe, device: torch.device, offload: Offload) -> None:
        self.pipe, self.recipe, self.device, self.offload = pipe, recipe, device, offload
        self.passed: set[str] = set()
        """Transformers that were called."""
        self.backends: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.waiting: list[str] = []
        """Transformers whose weights were elsewhere when they were called."""
        self.adapters: dict[str, Counter[str]] = {part: Counter() for part in _PARTS}
        """The number of layers on which each adapter of a transformer was switched on when it was called."""

    def ran(self, loras: Sequence[LoraRan] = ()) -> Ran:
        """What ran. `loras`: what was seen of each LoRA when it was applied."""
        recipe, on_cpu = self.recipe, self.device.type == "cpu"
        called = {part: getattr(self.pipe, part) for part in _PARTS if part in self.passed}
        compiled = sum(map(_compiled_blocks, called.values())) if recipe.compiled else None
        quantized = {part: _quantized(transformer) for part, transformer in called.items()}
        ran = Ran(
            attention_backend=", ".join(sorted(self.backends)) or None,
            attention_kernels=dict(self.kernels),
            compiled_blocks=compiled,
            offloaded=tuple(self.waiting) if self.offload != "none" else None,
            quantized_layers=quantized if recipe.quantization.effective.transformer is not None else {},
            loras=tuple(self._with_active(loras)),
            cpu_kernels=_cpu_kernels() if on_cpu else None,
        )
        return dataclasses.replace(ran, not_as_asked=tuple(_not_as_asked(ran, self)), notes=tuple(_notes(ran, self)))

    def _with_active(self, loras: Sequence[LoraRan]) -> Iterator[LoraRan]:
        """The LoRAs, those applied as adapters with the layers on which they were switched on."""
        numbers: Counter[str] = Counter()
        for lora in loras:
            part = EXPERT_PARTS[lora.expert]
            adapter = f"lora_{numbers[part]}"
            numbers[part] += 1
            active = self.adapters[part][adapter] if self.recipe.lora_application == "adapter" else None
            yield dataclasses.replace(lora, active=active)


@contextmanager
def observing(pipe: Any, recipe: Recipe, device: torch.device, offload: Offload) -> Iterator[Observed]:
    """Observe the generation inside the `with` block. `pipe` is ready for it."""
    seen = Observed(pipe, recipe, device, offload)
    with ExitStack() as taps:
        for part in _PARTS:
            if getattr(pipe, part, None) is not None:
                _watch(seen, part, taps)
        yield seen


def _watch(seen: Observed, part: str, taps: ExitStack) -> None:
    """Look at a transformer's first pass."""
    transformer = getattr(seen.pipe, part)
    during = ExitStack()
    taps.callback(during.close)

    def before(*_: Any) -> None:
        if part not in seen.passed:
            seen.passed.add(part)
            if any(weight.device.type != seen.device.type for weight in transformer.parameters()):
                seen.waiting.append(part)
            seen.adapters[part] += _active_adapters(transformer)
            if not seen.recipe.compiled and not seen.backends:
                during.enter_context(_counted_attention(seen))

    def after(*_: Any) -> None:
        during.close()

    for handle in (transformer.register_forward_pre_hook(before), transformer.register_forward_hook(after)):
        taps.callback(handle.remove)


@contextmanager
def _counted_attention(seen: Observed) -> Iterator[None]:
    """Count the calls of diffusers' backend, and of the kernels that torch chooses for the tensors of each call.

    `scaled_dot_product_attention` of torch asks `_fused_sdp_choice` itself, so the answer is the kernel that runs.
    """
    import torch
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry
    from torch.nn.attention import SDPBackend

    functional: Any = torch.nn.functional
    registry: Any = _AttentionBackendRegistry
    original, active_backend = functional.scaled_dot_product_attention, vars(registry)["get_active_backend"]
    get_active = registry.get_active_backend

    def attend(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = SDPBackend(torch._fused_sdp_choice(query, key, value, *args, **kwargs))
        seen.kernels[chosen.name.lower()] += 1
        return original(query, key, value, *args, **kwargs)

    def active() -> Any:
        found = get_active()
        seen.backends[str(found[0].value)] += 1
        return found

    functional.scaled_dot_product_attention = attend
    registry.get_active_backend = active
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original
        registry.get_active_backend = active_backend


def _compiled_blocks(transformer: Any) -> int:
    """The number of a transformer's blocks that run as compiled code: told to be compiled, and code of theirs is."""
    from torch._dynamo.eval_frame import _debug_get_cache_entry_list

    blocks = [block for block in transformer.blocks if block._compiled_call_impl is not None]
    codes = {type(block).forward.__code__ for block in blocks}
    return len(blocks) if any(_debug_get_cache_entry_list(code) for code in codes) else 0


def _quantized(transformer: Any) -> int:
    from pipelines.engine.quantized import QuantizedLinear

    return sum(isinstance(module, QuantizedLinear) for module in transformer.modules())


def _cpu_kernels() -> str:
    import torch

    return f"{cpu_kernels.in_force()}, {torch.backends.cpu.get_cpu_capability()}"


def _active_adapters(transformer: Any) -> Counter[str]:
    """The number of layers on which each PEFT adapter is switched on and not merged."""
    if getattr(transformer, "peft_config", None) is None:
        return Counter()
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in transformer.modules() if isinstance(module, BaseTunerLayer)]
    return Counter(name for layer in layers if not layer.disable_adapters for name in layer.active_adapters)


def _not_as_asked(ran: Ran, seen: Observed) -> Iterator[str]:
    """What was asked for and did not run."""
    from pipelines.engine.torch_setup import ATTENTION

    recipe = seen.recipe
    if recipe.compiled and not ran.compiled_blocks:
        yield "`compiled` was asked for, but no transformer block ran as compiled code"
    for part in sorted(seen.passed - set(seen.waiting)) if ran.offloaded is not None else ():
        yield f"--offload {seen.offload} was asked for, but the weights of {part} were on {seen.device} all the time"
    for part, layers in ran.quantized_layers.items():
        if not layers:
            yield f"{recipe.quantization.transformer} was asked for, but no layer of {part} is quantized"
    if not recipe.compiled and seen.passed and set(seen.backends) != {"native"}:
        yield f"torch's own attention was asked for, but {ran.attention_backend or 'another implementation'} was called"
    others = sorted(set(ran.attention_kernels) - {kernel.name.lower() for kernel in ATTENTION})
    if others:
        yield f"the attention kernel {', '.join(others)} was called, which this version switches off"
    for lora in ran.loras:
        if lora.active is not None and lora.active < lora.layers and EXPERT_PARTS[lora.expert] in seen.passed:
            yield f"the adapter of {lora.file} was switched on in {lora.active} of its {lora.layers} layers"
    portable = cpu_kernels.asked() == "portable" and cpu_kernels.has_avx2()
    if portable and ran.cpu_kernels not in (None, "portable, AVX2"):
        yield f"portable CPU kernels were asked for, but torch had chosen its own before: {ran.cpu_kernels}"


def _notes(ran: Ran, seen: Observed) -> Iterator[str]:
    """What ran as asked and did nothing all the same."""
    for lora in ran.loras:
        if EXPERT_PARTS[lora.expert] not in seen.passed:
            yield f"{lora.file} did nothing: no step of this schedule calls the {lora.expert}-noise expert"
        elif not lora.scale:
            yield f"{lora.file} changes nothing: its scale is 0"
        elif lora.layers and lora.empty == lora.layers:
            yield f"{lora.file} changes nothing: the difference of each of its {lora.layers} layers is exactly zero"
        elif lora.changed == 0:
            yield (
                f"{lora.file} changes nothing: merged into {seen.recipe.precision.dtype}, its differences are rounded "
                "away"
            )
