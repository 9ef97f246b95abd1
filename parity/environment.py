"""The machine and library versions a run's numbers hold for."""

from __future__ import annotations

import platform
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
    "lpips",
    "imageio-ffmpeg",
)


def describe(device: str) -> dict[str, Any]:
    """Versions, device, CPU and the determinism flags in force while a model runs."""
    import torch
    from PIL import features

    from pipelines.torch_setup import flags, pick_device

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
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **gpu,
        "versions": {name: _version(name) for name in _PACKAGES},
        "libwebp": features.version("webp"),
        "flags": flags(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
