"""Checks of torch and the devices it can compute on."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from parity.cost.estimate import sized
from parity.doctor.check import Asked, Check, ok, problem, skipped, warning
from pipelines import cpu_kernels
from pipelines.errors import UsageError
from pipelines.files.words import plural, words_of

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""PCI: NVIDIA's number, and the class of display controllers."""


class TorchBrokenError(Exception):
    """torch cannot be imported; the check `torch` says why."""


_WITHOUT = "report, baseline, plan, import, explain, models and schema work, nothing is generated or compared"


def torch_build(_: Asked) -> Iterator[Check]:
    """Whether torch can be imported, and what it was built for."""
    if find_spec("torch") is None:
        yield problem("torch", f"not installed: {_WITHOUT}", "pip install wan-parity, with all that it requires")
        return
    try:
        torch = _torch()
    except TorchBrokenError as error:
        to_do = "pip install --force-reinstall torch torchvision (versions that fit together: constraints.txt)"
        yield problem("torch", f"cannot be imported: {error}", to_do)
        return
    if torch.version.hip:
        yield warning(
            "torch", f"{torch.__version__}, built for ROCm {torch.version.hip}", "nothing; AMD GPUs were never tested"
        )
        return
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    threads, kernels = plural(torch.get_num_threads(), "CPU thread"), cpu_kernels.in_force()
    yield ok("torch", f"{torch.__version__}, {build}, {threads}, {kernels} CPU kernels")


def cuda(asked: Asked) -> Iterator[Check]:
    """Why CUDA is not used, or each GPU: name, memory, compute capability, bfloat16."""
    if asked.device == "cpu":
        yield skipped("cuda", "not looked at (--device cpu)")
        return
    torch = _torch()
    from pipelines.engine.torch_setup import pick_device, why_no_cuda

    with warnings.catch_warnings():  # torch warns of a driver that is too old, and why_no_cuda says it
        warnings.simplefilter("ignore")
        reason = why_no_cuda()
    if reason:
        yield _unused(reason, demanded=asked.device != "auto")
        return
    if asked.device != "auto":
        try:
            pick_device(asked.device)
        except UsageError as error:
            yield problem("cuda", str(error), "name a device that is there")
            return
    driver = nvidia_driver()
    yield ok("cuda", f"used, driver {driver or 'of unknown version'}, cuDNN {torch.backends.cudnn.version()}")
    for number in range(torch.cuda.device_count()):
        yield _gpu(torch, number)


def _unused(reason: str, *, demanded: bool) -> Check:
    """Say that no GPU is used: a problem if one was asked for or is in this machine."""
    found, _, to_do = reason.partition("; ")
    cards = nvidia_cards()
    if cards:
        found = f"this machine has an NVIDIA GPU that is not used: {found}"
        return problem("cuda", found, f"{to_do}; if the CPU is meant: --device cpu")
    if demanded:
        return problem("cuda", found, to_do)
    return warning("cuda", f"the CPU is used, which is slow beyond the tiny demo: {found}", to_do)


def nvidia_cards(devices: Path = Path("/sys/bus/pci/devices")) -> int:
    """The number of NVIDIA GPUs that Linux sees on the bus, with or without a driver; 0 where it cannot be known."""
    found = 0
    for device in devices.glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        found += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return found


def nvidia_driver(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of NVIDIA's driver, as Linux tells it; None where it does not."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", file.read_text())
    except OSError:
        return None
    return None if found is None else found[1]


def _gpu(torch: Any, number: int) -> Check:
    name = f"cuda:{number}"
    properties = torch.cuda.get_device_properties(number)
    capability = f"{properties.major}.{properties.minor}"
    found = f"{properties.name}, compute capability {capability}"
    if (unbuilt := _not_built_for(torch, properties)) is not None:
        to_do = "install a torch that is built for it: https://pytorch.org/get-started/locally"
        return problem(name, f"{found}: {unbuilt}", to_do)
    try:
        free, total = torch.cuda.mem_get_info(number)
    except Exception as error:  # of CUDA's, of many types: memory is full, another process has it, it is broken
        to_do = "nvidia-smi shows who uses it, and its errors; CUDA_VISIBLE_DEVICES leaves it out"
        return problem(name, f"{found}: cannot be used: {words_of(error)}", to_do)
    found += f", {sized(free)} of {sized(total)} free"
    if properties.major < 8:
        to_do = "expect slow generations; a GPU of 2020 or later (compute capability 8.0) computes in bfloat16"
        return warning(name, f"{found}: no bfloat16 of its own", to_do)
    if free < total / 2:
        to_do = "end the program that uses it (nvidia-smi lists them), or see --offload"
        return warning(name, f"{found}, bfloat16: another program uses the rest", to_do)
    return ok(name, f"{found}, bfloat16")


def _not_built_for(torch: Any, properties: Any) -> str | None:
    """Why torch's kernels do not run on a GPU; None: they do, or it cannot be known."""
    built = [name for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    lowest = min((int("".join(filter(str.isdigit, name))) for name in built), default=0)
    if properties.major * 10 + properties.minor >= lowest:
        return None
    return f"too old for this torch, which is built for {', '.join(built)}"


def mps(_: Asked) -> Iterator[Check]:
    """Apple's GPU, which is not supported yet."""
    if _torch().backends.mps.is_available():
        yield warning("mps", "Apple's GPU is not supported yet: the CPU is used", "nothing; the demo runs on the CPU")


def usable_gpus() -> list[str]:
    """`cuda:n` of every GPU that this torch computes on."""
    torch = _torch()
    gpus = [(number, torch.cuda.get_device_properties(number)) for number in range(torch.cuda.device_count())]
    return [f"cuda:{number}" for number, properties in gpus if _not_built_for(torch, properties) is None]


def _torch() -> Any:
    """Import torch as the engine does, with the CPU kernels it chooses. Raises TorchBrokenError."""
    try:
        with contextlib.suppress(UsageError):  # a mode of CPU kernels that there is not: `environment` says it
            from pipelines import engine  # noqa: F401
        import torch
    except Exception as error:
        raise TorchBrokenError(words_of(error)) from None
    return torch
