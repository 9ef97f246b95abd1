"""Checks of what surrounds the program: CPU, memory, environment variables, terminal."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator

import psutil

from parity.cost.estimate import sized
from parity.cost.machine import cgroup_limit, ram_free
from parity.doctor.check import Asked, Check, ok, problem, warning
from parity.doctor.redact import SECRET_NAME
from parity.results.environment import cpu_name
from pipelines import cpu_kernels

LEAST_MEMORY = 4_000_000_000
"""Bytes. The demo's tiny checkpoints and torch itself need about 1 GB; any real model more than this."""

_PRINTED = "…→×✓█━"
"""Beside ASCII: what tables, progress and prompts of the demo are printed with."""
_NARROW = 60

_NAMES = re.compile(
    r"(WAN_PARITY|HF|HUGGINGFACE|CUDA|CUBLAS|CUDNN|NVIDIA|PYTORCH|TORCH\w*|ATEN|ONEDNN|DNNL|MKL|OMP|KMP|GOMP|DIFFUSERS|"
    r"TRANSFORMERS|ACCELERATE|IMAGEIO)_\w+|(https?|no|all)_proxy|TMPDIR|XDG_CACHE_HOME|NO_COLOR|PYTHONPATH",
    re.IGNORECASE,
)
"""Variables that change what we, torch or the Hub's library do."""


def environment(asked: Asked) -> Iterator[Check]:
    """Environment variables that change bits or speed: those that are set."""
    found = list(_suspicious(asked))
    yield from found
    shown = {name: value for name, value in sorted(asked.environ.items()) if _NAMES.fullmatch(name)}
    words = ", ".join(f"{name}={'(set)' if SECRET_NAME.search(name) else repr(value)}" for name, value in shown.items())
    yield ok("environment", words or "none of the variables that change what torch or wan-parity do is set")


def _suspicious(asked: Asked) -> Iterator[Check]:
    get = asked.environ.get
    kernels = get(cpu_kernels.VARIABLE)
    if kernels is not None and kernels not in cpu_kernels.MODES:
        modes = " or ".join(cpu_kernels.MODES)
        yield problem(
            "environment", f"{cpu_kernels.VARIABLE}={kernels!r} is no mode", f"unset it, or set it to {modes}"
        )
    if kernels == "native":
        yield warning(
            "environment",
            f"{cpu_kernels.VARIABLE}=native: this CPU's own kernels generate other bits than other machines",
            "unset it, unless that is meant (docs/bits.md)",
        )
    workspace = get("CUBLAS_WORKSPACE_CONFIG")
    if workspace is not None and workspace != ":4096:8":
        yield warning(
            "environment",
            f"CUBLAS_WORKSPACE_CONFIG={workspace!r} instead of ':4096:8': CUDA may generate other bits, or none",
            "unset CUBLAS_WORKSPACE_CONFIG: wan-parity sets it",
        )
    if get("NVIDIA_TF32_OVERRIDE") not in (None, "", "0"):
        yield warning(
            "environment",
            f"NVIDIA_TF32_OVERRIDE={get('NVIDIA_TF32_OVERRIDE')!r}: float32 on CUDA may be computed in TF32",
            "unset NVIDIA_TF32_OVERRIDE",
        )
    if get("CUDA_LAUNCH_BLOCKING") not in (None, "", "0"):
        yield warning(
            "environment", "CUDA_LAUNCH_BLOCKING is set: every CUDA kernel is waited for", "unset CUDA_LAUNCH_BLOCKING"
        )


def terminal(_: Asked) -> Iterator[Check]:
    """Whether output can hold our characters, and its width."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    width = shutil.get_terminal_size().columns
    what = f"terminal of {width} columns" if sys.stdout.isatty() else "no terminal"
    found = f"{what}, {encoding.lower()}"
    lost = "".join(mark for mark in _PRINTED if not _encodes(mark, encoding))
    if lost:
        shown = " ".join(f"U+{ord(mark):04X}" for mark in lost)
        to_do = "set PYTHONUTF8=1" + ("" if sys.platform == "win32" else ", or a UTF-8 locale: export LC_ALL=C.UTF-8")
        yield warning("terminal", f"{found}: cannot print {shown}, nor every prompt", to_do)
    elif sys.stdout.isatty() and width < _NARROW:
        yield warning("terminal", f"{found}: tables are wider", "widen the window")
    else:
        yield ok("terminal", found)


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def cpu(_: Asked) -> Iterator[Check]:
    """The CPU, and whether it has the instructions of portable kernels."""
    architecture = platform.machine().lower()
    found = f"{cpu_name()}, {_cores()}"
    if architecture not in ("x86_64", "amd64"):
        yield ok("cpu", f"{found}, {architecture}: generates the same bits each time, but not those of x86-64")
    elif not cpu_kernels.has_avx2():
        to_do = "use a CPU with AVX2 to compare with baselines and figures of other machines"
        yield warning("cpu", f"{found}, no AVX2: bits are this CPU's own", to_do)
    else:
        yield ok("cpu", f"{found}, AVX2: generates the same bits as other x86-64 CPUs")


def _cores() -> str:
    count = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
    return f"{count} cores" if usable == count else f"{usable} of {count} cores usable"


def memory(_: Asked) -> Iterator[Check]:
    """The memory of this machine, or of the container, which may have less."""
    total, free, limit = psutil.virtual_memory().total, ram_free(), cgroup_limit()
    words = f"{sized(free)} of {sized(total)} free"
    if limit is not None and limit < total:
        words = f"{sized(free)} free, limited to {sized(limit)} by the container (cgroup), of {sized(total)}"
    if free < LEAST_MEMORY:
        to_do = "close other programs, or raise the container's limit; `parity plan CASE` says what a case needs"
        yield warning("memory", f"{words}: enough for the demo at most", to_do)
    else:
        yield ok("memory", words)
