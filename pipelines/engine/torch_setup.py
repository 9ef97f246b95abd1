"""Importing torch, diffusers and friends so that they work, and running them so that runs repeat.

Heavy: import it only where a model runs.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# cuBLAS reads this when its first handle is made; without it matmuls on CUDA may differ from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from pipelines import cpu_kernels
from pipelines.files.words import plural, sentence, shorten
from pipelines.large_imports import uncollected

with uncollected():
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""Scaled-dot-product kernels in the order tried. cuDNN's is left out: which of them wins would depend on the build."""

_schemas: list[torch.library.Library] = []


def declare_missing_torchvision_operators() -> None:
    """Let a torchvision built for CUDA import beside a CPU build of torch.

    Its C++ library then fails to load, and its Python part, torchvision 0.28.0, stops at registering fakes for two
    operators that were never declared, taking diffusers and transformers down with it. Neither operator (box
    suppression) is used here.
    """
    spec = importlib.util.find_spec("torchvision")
    if _schemas or spec is None or spec.origin is None:
        return
    try:
        torch.ops.load_library(str(Path(spec.origin).parent / "_C.so"))  # type: ignore[no-untyped-call]
    except OSError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        _schemas.append(library)


def quiet_loading() -> None:
    """No loading bars from the libraries: the command shows progress of its own."""
    with uncollected():
        import diffusers
        import transformers

    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


_SWITCHES = {
    "cudnn_deterministic": True,
    "cudnn_benchmark": False,
    "cudnn_allow_tf32": False,
    "matmul_allow_tf32": False,
}
"""Torch's own switches, as `deterministic()` sets them, in its order."""


@contextmanager
def deterministic() -> Iterator[None]:
    """Every switch that makes torch repeat itself, set on entry and put back on exit."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.allow_tf32,
        matmul.allow_tf32,
    )
    declare_missing_torchvision_operators()
    with uncollected():
        from diffusers.models.attention_dispatch import attention_backend

    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = _SWITCHES.values()
    try:
        # diffusers' own choice of backend could come from an environment variable: "native" is torch's, fixed above.
        with attention_backend("native"), sdpa_kernel(list(ATTENTION), set_priority=True):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before[2:]


def flags() -> dict[str, object]:
    """The settings that `deterministic()` puts in force, for the record in results.json.

    They are not read from torch, because setting them imports diffusers and torch's compiler, which a run whose frames
    are cached does not need.
    """
    return {
        "deterministic_algorithms": True,
        "cublas_workspace_config": os.environ["CUBLAS_WORKSPACE_CONFIG"],
        **_SWITCHES,
        "attention": ["native", *(backend.name.lower() for backend in ATTENTION)],
        "cpu_kernels": cpu_kernels.in_force(),
        "threads": torch.get_num_threads(),
    }


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:n` as a device that is there. Raises UsageError if it is not."""
    from pipelines.errors import UsageError

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:n")
    count = torch.cuda.device_count()
    if not count:
        raise UsageError(f"--device {name}: {why_no_cuda()}")
    if int(number or 0) >= count:
        raise UsageError(
            f"--device {name}: this machine has {plural(count, 'CUDA device')}; the last is cuda:{count - 1}"
        )
    return torch.device("cuda", int(number or 0))


_CUDA_WHEELS = "https://download.pytorch.org/whl/cuNNN"


def why_no_cuda() -> str:
    """The reason why this torch has no CUDA device, and what to do; an empty string if it has one.

    Tells apart a build without CUDA, GPUs that CUDA_VISIBLE_DEVICES hides, and a driver that is missing or too old.
    """
    if torch.cuda.device_count():
        return ""
    build = f"torch {torch.__version__}"
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        if sys.platform == "darwin":
            return f"{build} has no CUDA, as no torch on macOS has; use --device cpu"
        return (
            f"{build} is a build without CUDA; for an NVIDIA GPU: pip install --force-reinstall torch torchvision "
            f"--index-url {_CUDA_WHEELS}, with the cuNNN that https://pytorch.org/get-started/locally gives"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "none"):
        return f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU; unset it or name one, e.g. CUDA_VISIBLE_DEVICES=0"
    return f"{build} is built for CUDA {torch.version.cuda}, but {_from_driver()}"


def _from_driver() -> str:
    """What CUDA's start says without a device, as a clause with what to do."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "no GPU is found"
    except Exception as error:  # torch raises RuntimeError and AssertionError here
        reason = sentence(error)
    if "no NVIDIA driver" in reason:
        return "no NVIDIA driver is found; install one (`nvidia-smi` must list the GPU; in a container: --gpus all)"
    if "too old" in reason:
        found = re.search(r"found version (\d+)", reason)
        has = f" (it has CUDA {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10})" if found else ""
        return (
            f"the NVIDIA driver is too old for it{has}; update the driver, or install a torch of an older CUDA: "
            f"pip install --force-reinstall torch torchvision --index-url {_CUDA_WHEELS}"
        )
    return f"no GPU can be used ({shorten(reason, 160)}); `nvidia-smi` must list one"
