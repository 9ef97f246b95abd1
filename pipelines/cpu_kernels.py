"""Which kernels a CPU computes with: the same on every x86-64 CPU, or the fastest this one has. Imports no torch.

Three libraries under torch choose kernels by the CPU they find, and kernels round differently: ATen, oneDNN and MKL.
Each reads environment variables when it first computes. Measured with torch 2.13.0: under the first three of `PORTABLE`
an Intel Xeon with AVX-512 and two AMD EPYC, with AVX2 and with AVX-512, give the same bits in bfloat16; under any two
of them they do not. In float32 the number of threads moves MKL's last bits besides (90 to 97 dB on the tiny
checkpoints): with the fourth, 1, 2, 4 and 8 threads give the same.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from pathlib import Path

from pipelines.errors import UsageError

VARIABLE = "WAN_PARITY_CPU_KERNELS"
MODES = ("portable", "native")

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_DOMAIN_NUM_THREADS": "MKL_DOMAIN_BLAS=1",
}
"""ATen and oneDNN use no instructions beyond AVX2; MKL takes the code path that it has for CPUs of any maker, and one
thread for a float32 matrix product. A call of `torch.set_num_threads` undoes the last."""


def choose(mode: str | None) -> None:
    """Take a mode from a command line, for this process and those it starts; None: leave what the variable says."""
    if mode is not None:
        os.environ[VARIABLE] = mode


def apply() -> None:
    """Choose kernels for this process and those it starts, before torch computes. Called when the engine is imported.

    `$WAN_PARITY_CPU_KERNELS` says `portable` (the default) or `native`. Portable kernels replace whatever the
    variables held. Warns where torch was imported first: then it may have made its choice. Raises UsageError for
    another mode.
    """
    mode = asked()
    if mode not in MODES:
        raise UsageError(f"${VARIABLE} is {mode!r}; use {' or '.join(MODES)}")
    if mode == "native" or not has_avx2() or os.environ.items() >= PORTABLE.items():
        return
    if "torch" in sys.modules:
        assignments = " ".join(f"{name}={value}" for name, value in PORTABLE.items())
        warnings.warn(
            "torch was imported before wan-parity, so its CPU kernels are this CPU's own and generate other bits than "
            f"on other machines; import torch after the first run, or start the program with {assignments}",
            stacklevel=2,
        )
        return
    os.environ.update(PORTABLE)


def asked() -> str:
    """The mode that is asked for: `portable` or `native`."""
    return os.environ.get(VARIABLE, MODES[0])


def in_force() -> str:
    """`portable`, or `native` with the architecture of this CPU."""
    if os.environ.get(VARIABLE) != "native" and has_avx2() and os.environ.items() >= PORTABLE.items():
        return "portable"
    return f"native ({platform.machine().lower()})"


def has_avx2() -> bool:
    """Every x86-64 CPU since 2015; ATen does not check before it uses what it was told to."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:  # macOS, Windows: CPUs of the last ten years
        return True
