"""Which device is used, and why it is not CUDA."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import torch

from pipelines.engine.torch_setup import deterministic, flags, pick_device, why_no_cuda
from pipelines.errors import UsageError


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"build": False}, f"torch {torch.__version__} is a build without CUDA"),
        ({"build": False}, "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/"),
        ({"build": False, "platform": "darwin"}, "no torch on macOS"),
        ({"visible": ""}, "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        ({"start": "Found no NVIDIA driver on your system. Please check that you"}, "no NVIDIA driver is found"),
        ({"start": "The NVIDIA driver on your system is too old (found version 11040)."}, "it has CUDA 11.4"),
        ({"start": "Unexpected error from cudaGetDeviceCount()"}, "cudaGetDeviceCount"),
    ],
)
def test_why_cuda_is_not_used(found: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without CUDA, a hidden GPU, and a driver that is missing or old are told apart; each says what to do."""

    def start() -> None:
        raise RuntimeError(found.get("start", ""))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "init", start)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: found.get("build", True))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(sys, "platform", found.get("platform", "linux"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if "visible" in found:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", found["visible"])
    with pytest.raises(UsageError) as caught:
        pick_device("cuda")
    assert said in str(caught.value)
    assert why_no_cuda() in str(caught.value)


def test_a_gpu_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert why_no_cuda() == ""
    assert str(pick_device("cuda:1")) == "cuda:1"
    with pytest.raises(UsageError, match="2 CUDA devices; the last is cuda:1"):
        pick_device("cuda:2")


def test_the_settings_recorded_are_those_in_force_while_a_model_runs() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with deterministic():
        in_force = {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cublas_workspace_config": os.environ["CUBLAS_WORKSPACE_CONFIG"],
            "cudnn_deterministic": cudnn.deterministic,
            "cudnn_benchmark": cudnn.benchmark,
            "cudnn_allow_tf32": cudnn.allow_tf32,
            "matmul_allow_tf32": matmul.allow_tf32,
            "threads": torch.get_num_threads(),
        }
    recorded = flags()
    assert {name: recorded[name] for name in in_force} == in_force
    assert recorded.keys() - in_force.keys() == {"attention", "cpu_kernels"}  # tested where they are chosen
