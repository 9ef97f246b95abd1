"""What the machine is, and which kernels its torch has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from benchmarks.gpu.context import Context
from benchmarks.gpu.measure import timed
from benchmarks.gpu.record import Row


def machine(context: Context) -> Iterator[Row]:
    """Name device and versions, try each attention kernel at the sizes of a real generation, multiply matrices."""
    from parity.results.environment import describe

    found = describe(context.device)
    versions = {name: version for name, version in found["versions"].items() if version is not None}
    named = [str(found.get("gpu", found["cpu"]))]
    if "gpu" in found:
        named += [f"{found['gpu_memory_gib']} GiB", f"CUDA {found['cuda']}", f"cuDNN {found['cudnn']}"]
    yield Row("device", ", ".join(named), f"CPU: {found['cpu']}", found)
    shown = ("torch", "diffusers", "transformers", "peft", "accelerate")
    yield Row("versions", ", ".join(f"{name} {versions.get(name, 'missing')}" for name in shown), found["python"])
    yield from _attention(context)
    yield from _matrices(context)


def _attention(context: Context) -> Iterator[Row]:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from pipelines.engine.torch_setup import ATTENTION

    attention = torch.nn.functional.scaled_dot_product_attention
    device = context.torch_device
    heads, tokens = (2, 64) if context.small else (12, 17160)  # 1.3B, 41 frames of 832x480
    for dtype in (torch.bfloat16, torch.float32):
        usable = {}
        for backend in SDPBackend.__members__.values():
            if backend.name in ("ERROR", "OVERRIDEABLE") or (backend is SDPBackend.MATH and not context.small):
                continue  # plain mathematics would need the whole matrix: 14 GB
            q = torch.randn(1, heads, tokens, 128, device=device, dtype=dtype)
            try:
                with sdpa_kernel([backend]):
                    usable[backend.name] = timed(device, partial(attention, q, q, q))
            except RuntimeError:
                usable[backend.name] = math.nan
        name = str(dtype).removeprefix("torch.")
        can = [f"{backend} {1000 * seconds:.1f} ms" for backend, seconds in usable.items() if math.isfinite(seconds)]
        cannot = [backend for backend, seconds in usable.items() if math.isnan(seconds)]
        first = next((one.name for one in ATTENTION if math.isfinite(usable.get(one.name, math.nan))), "MATH")
        note = f"the engine's: {first}" + (f"; not for this: {', '.join(cannot)}" if cannot else "")
        values = {backend: None if math.isnan(seconds) else seconds for backend, seconds in usable.items()}
        yield Row(f"attention, {name}, {tokens} tokens, {heads} heads", ", ".join(can) or "none", note, values)


def _matrices(context: Context) -> Iterator[Row]:
    import torch

    size = 256 if context.small else 8192
    a = torch.randn(size, size, device=context.torch_device, dtype=torch.bfloat16)
    seconds = timed(context.torch_device, lambda: a @ a, 10)
    rate = 2 * size**3 / seconds / 1e12
    yield Row(f"bfloat16 product of {size}x{size}", f"{rate:.3g} TFLOP/s", values={"tflops": round(rate, 3)})
