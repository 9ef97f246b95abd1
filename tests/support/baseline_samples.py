"""Small handmade results and baselines, for the tests of baselines."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.baselines.check import check_case
from parity.baselines.file import Accepted, Baseline, from_result, from_text, to_text
from parity.case.load import DEMO, load_cases
from parity.cli.main import main
from parity.comparison.metrics import summarize
from parity.results.case import BaselineResult, CaseResult, Run, Status, VideoResult
from parity.results.json_text import to_json
from pipelines.recipe import to_dict

ENVIRONMENT: dict[str, Any] = {
    "python": "3.12.1",
    "platform": "Linux-6.1",
    "device": "cpu",
    "cpu": "AMD EPYC",
    "cpu_capability": "AVX2",
    "versions": {"wan-parity": "0.1.0", "torch": "2.13.0", "diffusers": "0.42.1", "pillow": "13.0.0"},
    "libwebp": "1.6.0",
    "flags": {"deterministic_algorithms": True, "threads": 1},
    "offload": "none",
}
OTHER = ENVIRONMENT | {"versions": ENVIRONMENT["versions"] | {"torch": "2.14.0"}}
ACCEPTED = Accepted(at="2026-11-22T02:00:00+00:00", run_started="2026-11-22T01:00:00+00:00", status="passed")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def video(frames: str = "abcdefghi", **changes: Any) -> VideoResult:
    """A video whose frames are letters."""
    values: dict[str, Any] = {
        "frames": len(frames),
        "width": 96,
        "height": 64,
        "fps": 16.129,
        "sha256": sha("file" + frames),
        "raw_sha256": sha(frames),
        "frame_sha256": tuple(sha(letter)[:16] for letter in frames),
    }
    return VideoResult(**values | changes)


@functools.cache
def demo_recipe() -> str:
    return json.dumps(to_dict(load_cases([DEMO / "t2v-guitar-reference.yaml"])[0].inference))


def recipe(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(demo_recipe())
    return values | changes


def result(
    case_id: str = "guitar",
    frames: str = "abcdefghi",
    psnr: list[float] | None = None,
    ssim: list[float] | None = None,
    status: Status = "passed",
    **changes: Any,
) -> CaseResult:
    values: dict[str, Any] = {
        "id": case_id,
        "status": status,
        "model": "wan21_14b",
        "verdict": "as it should be",
        "case_file": f"/home/somebody/cases/{case_id}.yaml",
        "preview": video("ABCDEFGHI", raw_sha256=None, frame_sha256=()),
        "output": video(frames),
        "metrics": {
            "psnr": summarize("psnr", psnr or [40.0] * 9),
            "ssim": summarize("ssim", ssim or [0.98] * 9),
        },
        "codec_floor": {"psnr": 30.0, "ssim": 0.9},
        "recipes": {"inference": recipe()},
    }
    return CaseResult(**values | changes)


def no_output(case_id: str = "guitar", status: Status = "error") -> CaseResult:
    return result(case_id, status=status, output=None, preview=None, metrics={}, verdict="could not be run: no weights")


def run_of(*cases: CaseResult, environment: Mapping[str, Any] = ENVIRONMENT, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "started": "2026-11-22T01:00:00+00:00",
        "finished": "2026-11-22T01:10:00+00:00",
        "command": ("parity", "run"),
        "environment": environment,
        "cases": cases,
    }
    return Run(**values | changes)


def baseline_of(case: CaseResult, environment: Mapping[str, Any] = ENVIRONMENT) -> Baseline:
    return from_text(to_text(from_result(case, environment, ACCEPTED)))


def checked(
    new: CaseResult, old: CaseResult | None = None, environment: Mapping[str, Any] = ENVIRONMENT
) -> BaselineResult:
    return check_case(new, environment, baseline_of(old or result()))


IDENTICAL = result(psnr=[math.inf] * 9, ssim=[1.0] * 9)


def write_run(*cases: CaseResult, name: str = "now", **changes: Any) -> Path:
    folder = Path("reports/out") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(to_json(run_of(*cases, **changes)), encoding="utf-8")
    return folder / "results.json"


def state(folder: str = "baselines") -> dict[str, str]:
    """File -> text of the baselines, hidden files left out."""
    return {path.name: path.read_text() for path in sorted(Path(folder).glob("*.json"))}


def accept_all(*cases: CaseResult, **changes: Any) -> None:
    write_run(*cases, **changes)
    main(["baseline", "accept", *(case.id for case in cases)])
