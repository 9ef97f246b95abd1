"""What of a run's environment may reach the bits, and in what two environments differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERSIONS = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "numpy", "pillow")
"""Libraries between a recipe and its file. wan-parity is not among them: its code is what a baseline tests."""

_KEYS = ("cpu_capability", "libwebp", "offload")
_GPU_KEYS = ("gpu", "compute_capability", "cuda", "cudnn")


def reaching_the_bits(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of results.json's `environment` that two runs with equal bits need in common.

    The CPU's name counts where it draws: MKL and oneDNN choose kernels by maker and model, not by instruction set
    alone. On a GPU the instruction set still counts, because noise is drawn on the CPU. Threads count: they cut sums.
    Python, kernel, host, folders and the number of a GPU do not.
    """
    on_gpu = str(environment.get("device", "")).startswith("cuda")
    keys = (*_KEYS, *(_GPU_KEYS if on_gpu else ("cpu",)))
    versions, flags = environment.get("versions"), environment.get("flags")
    return {
        "device": "cuda" if on_gpu else environment.get("device"),
        **{key: environment.get(key) for key in keys},
        "versions": {name: versions.get(name) for name in _VERSIONS} if isinstance(versions, Mapping) else {},
        "flags": dict(flags) if isinstance(flags, Mapping) else {},
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """`torch 2.13.0 -> 2.14.0`, one for each thing in which two environments differ; none: bits must be equal."""
    old, new = _leaves(before), _leaves(after)
    return tuple(
        f"{name} {_word(old.get(name))} -> {_word(new.get(name))}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    )


def _leaves(environment: Mapping[str, Any]) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in environment.items():
        if isinstance(value, Mapping):
            leaves |= {str(key): item for key, item in value.items()}
        else:
            leaves[name] = value
    return leaves


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
