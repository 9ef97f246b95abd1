"""Fixtures shared by the tests."""

from __future__ import annotations

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported: workers share the cores

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO
from pipelines.engine.engine import Engine
from tests.support.browser import browse, chromium
from tests.support.drawn import Drawn
from tests.support.hub import closed_port, hub
from tests.support.marks import Guard, mark

__all__ = ["browse", "chromium", "closed_port", "hub"]

for _name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
    os.environ.pop(_name, None)  # tests that run in GitHub Actions must not write into its summary
os.environ["WAN_PARITY_CACHE"] = ""  # what a test draws must have been drawn by it
gc.set_threshold(100_000, 20, 20)  # the suite's millions of objects stay: looking at them again and again takes a tenth


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Guard())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items)
    files = {item.path for item in items if item.get_closest_marker("process") or item.get_closest_marker("draws")}
    first = set(sorted(files)[::2])
    slow = [[item for item in items if item.path in half] for half in (first, files - first)]
    fast = [item for item in items if item.path not in files]
    # Each of two workers begins with its half, and takes over from the other's end, where no long test may be left.
    middle = max(0, min(len(fast), len(items) // 2 - len(slow[0])))
    items[:] = [*slow[0], *fast[:middle], *slow[1], *fast[middle:]]


def pytest_collection_finish() -> None:
    gc.freeze()  # modules and tests stay


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """One engine for all tests: going from recipe to recipe is part of what is tested."""
    engine = Engine("cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def drawn(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """The session's generations to compare with: see Drawn."""
    base = tmp_path_factory.getbasetemp()
    return Drawn((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "drawn", engine)


class CaseFiles:
    """Writes case files into a temporary folder, their paths pointing into the demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str = "case", **changes: Any) -> Path:
        """A faithful case of the first T2V sample, with keys replaced (None removes one)."""
        job = DEMO / "jobs" / "t2v_basic"
        keys: dict[str, Any] = {
            "model": "wan21_14b",
            "checkpoint": str(DEMO / "models" / "tiny-wan-t2v"),
            "preview": {
                "config": str(job / "config.yaml"),
                "sample": 0,
                "video": str(sorted((job / "samples").glob("*_0.webp"))[0]),
                "toolkit": "0.12.26",
            },
            "pipeline": "faithful",
        }
        keys |= changes
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
        return path

    def request(self, **prompt: Any) -> dict[str, Any]:
        """The API request equal to that sample, with prompt keys replaced."""
        item = {
            "prompt": "woman playing the guitar, on stage",
            "width": 96,
            "height": 64,
            "seed": 42,
            "sample_steps": 6,
            "guidance_scale": 5,
            "neg": "",
            "num_frames": 9,
            "fps": 15,
        }
        lora = {"path": str(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors"), "network_multiplier": 1.0}
        return {"model": "wan21_14b", "prompts": [item | prompt], "loras": [lora]}


@pytest.fixture
def cases(tmp_path: Path) -> CaseFiles:
    """A writer of case files in the test's folder: see CaseFiles."""
    return CaseFiles(tmp_path)
