"""Baselines: the file, accepting, the gate's judgement, undo. Runs no model; see test_baseline_gate for real runs."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.approvals import read_approvals
from parity.baselines.check import CaseCheck, check_case
from parity.baselines.environment import differences, reaching_the_bits
from parity.baselines.file import Accepted, Baseline, file_name, from_result, from_text, to_text
from parity.baselines.frames import describe_frames
from parity.baselines.noise import Noise
from parity.baselines.recipes import compare_recipes, without_paths
from parity.baselines.sources import last_results
from parity.baselines.store import Store
from parity.case import DEMO, find_case_files, load_cases
from parity.cli import main
from parity.metrics import summarize
from parity.result import CaseResult, Run, Status, VideoResult, to_json
from pipelines.errors import UsageError
from pipelines.recipe import FACTORS, to_dict

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


def checked(new: CaseResult, old: CaseResult | None = None, environment: Mapping[str, Any] = ENVIRONMENT) -> CaseCheck:
    return check_case(new, environment, baseline_of(old or result()))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_run(*cases: CaseResult, name: str = "now", **changes: Any) -> Path:
    folder = Path("reports/out") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(to_json(run_of(*cases, **changes)), encoding="utf-8")
    return folder / "results.json"


def state(folder: str = "baselines") -> dict[str, str]:
    """File -> text of the baselines, hidden files left out."""
    return {path.name: path.read_text() for path in sorted(Path(folder).glob("*.json"))}


# --- the file


def test_the_file_is_sorted_compact_and_reads_back() -> None:
    baseline = baseline_of(result(psnr=[math.inf, *[36.123456] * 8]))
    text = to_text(baseline)
    assert from_text(text) == baseline
    data = json.loads(text)
    assert json.dumps(data, sort_keys=True) == json.dumps(data)
    assert (data["schema_version"], data["kind"]) == (1, "wan-parity baseline")
    assert data["metrics"]["psnr"]["per_frame"] == [None, *[36.123] * 8]
    assert sum("per_frame" in line and line.endswith("],") for line in text.splitlines()) == 2
    assert len(text.splitlines()) < 120
    assert text.endswith("}\n")


def test_the_file_names_no_folder_of_the_machine() -> None:
    text = to_text(from_result(result(), ENVIRONMENT, ACCEPTED))
    assert str(DEMO) not in text
    assert "somebody" not in text
    assert '"path": "tiny_t2v.safetensors"' in text
    assert '"checkpoint": "tiny-wan-t2v"' in text
    assert without_paths({"source": "https://x.org/a/ctrl.png?sig=secret"}) == {"source": "ctrl.png"}
    kept = {"checkpoint": "Wan-AI/Wan2.1-T2V-14B-Diffusers", "prompt": "/imagine a/b", "text_encoder": r"C:\te\umt5"}
    assert without_paths(kept) == kept | {"text_encoder": "umt5"}


def broken(**changes: Any) -> str:
    return json.dumps(json.loads(to_text(baseline_of(result()))) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (broken(schema_version=2), "schema_version is 2, this wan-parity reads 1: a newer wan-parity wrote it; update"),
        (
            broken(schema_version=0),
            "schema_version is 0, this wan-parity reads 1: an older wan-parity wrote it; accept",
        ),
        (broken(schema_version="1"), "is no baseline of wan-parity"),
        (broken(kind="results"), "is no baseline of wan-parity"),
        (broken()[:-40], "is no whole JSON: line 1"),
        ("", "is no whole JSON"),
        ("<<<<<<< HEAD\n{}", "is no whole JSON: line 1"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "is no baseline of wan-parity"),
        (broken(output={"frames": 9}), "output.width: Field required"),
        (broken(metrics={"psnr": 3}), "metrics.psnr"),
        (broken(preview_sha256=None), "preview_sha256: Input should be a valid string"),
        (broken(tolerance=3), "tolerance: Unexpected keyword argument"),
        (broken(accepted={"at": 3, "run_started": "", "status": "passed"}), "accepted.at"),
        (broken(accepted={"at": "", "run_started": "", "status": "fine"}), "accepted.status"),
        (broken().replace("40.0", '"40.0"'), "metrics.psnr"),
        (broken().replace("40.0", "NaN"), "metrics.psnr"),
    ],
)
def test_what_is_no_baseline_is_one_message(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines").mkdir()
    Path("baselines/guitar.json").write_text(text)
    for command in ("check", "show"):
        assert main(["baseline", command]) == 2
        error = capsys.readouterr().err
        assert error.startswith("parity: baselines/guitar.json: ")
        assert said in error
        assert len(error.splitlines()) == 1
    assert main(["baseline", "accept", "guitar"]) == 0  # as the message says
    assert "replaces a file that cannot be read" in capsys.readouterr().out
    assert main(["baseline", "check"]) == 0


def test_a_file_of_another_case(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines").mkdir()
    Path("baselines/piano.json").write_text(to_text(baseline_of(result())))
    assert main(["baseline", "check"]) == 2
    assert "is the baseline of guitar, which belongs in guitar.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case_id", "name"),
    [
        ("t2v-guitar.1", "t2v-guitar.1.json"),
        ("../../etc/x", "%2E.%2F..%2Fetc%2Fx.json"),
        (".hidden", "%2Ehidden.json"),
        ("a b:c\\d", "a%20b%3Ac%5Cd.json"),
        ("größe", "gr%C3%B6%C3%9Fe.json"),
    ],
)
def test_any_id_is_a_safe_file_name(case_id: str, name: str) -> None:
    assert file_name(case_id) == name
    write_run(result(case_id))
    assert main(["baseline", "accept", "--all"]) == 0
    assert list(state()) == [name]
    assert main(["baseline", "check"]) == 0


def test_ids_that_are_one_file_on_some_systems(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("guitar"), result("Guitar"))
    assert main(["baseline", "accept", "--all"]) == 2
    assert "guitar.json and Guitar.json are one file on some systems" in capsys.readouterr().err
    assert state() == {}


# --- frames, recipes, environments


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("abcdefghi", ""),
        ("abcdXfghi", "frame 4 changed"),
        ("abXYefgZi", "frames 2-3 changed; frame 7 changed"),
        ("QRSTUVWXY", "all 9 frames changed"),
        ("abcefghi", "8 frames instead of 9: frame 3 is missing"),
        ("abcdefgh", "8 frames instead of 9: frame 8 is missing"),
        ("cdefghi", "7 frames instead of 9: frames 0-1 are missing"),
        ("abcdefghij", "10 frames instead of 9: frame 9 is new"),
        ("abcddefghi", "10 frames instead of 9: frame 3 is new, equal to frame 4"),
        ("aabcdefgh", "frame 0 is new, equal to frame 1; off by one: frames 1-8 are the baseline's 0-7"),
        ("bcdefghij", "off by one: frames 0-7 are the baseline's 1-8"),
        ("ABCDE", "5 frames instead of 9: no frame is as it was"),
    ],
)
def test_frames_are_named(after: str, said: str) -> None:
    words = describe_frames("abcdefghi", after)
    assert said in words if said else words == ""


def change(before: dict[str, Any], after: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    changes = compare_recipes(without_paths(before), without_paths(after))
    return changes.drawing, changes.words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_scales": [0.98]}, "lora_scale 1.0 -> 0.98"),
        ({"steps": 7}, "steps 6 -> 7"),
        ({"guidance_scale": 4.5}, "guidance 5.0 -> 4.5"),
        ({"seed": 43}, "seed 42 -> 43"),
        ({"width": {"asked": 100, "applied": 112}}, "width 96 -> 112 (asked 100)"),
        ({"num_frames": {"asked": 5, "applied": 5}}, "frame_count 9 -> 5"),
        ({"precision": {"dtype": "float16", "fp32_modules": "kept"}}, "precision.dtype bfloat16 -> float16"),
        ({"codec": {"format": "webp", "quality": 90}}, "codec.quality 80 -> 90"),
        ({"lora_application": "merged"}, "lora_application adapter -> merged"),
        ({"checkpoint": "/elsewhere/wan"}, "checkpoint tiny-wan-t2v -> wan"),
        ({"pipeline": "WanImageToVideoPipeline"}, "pipeline WanPipeline -> WanImageToVideoPipeline"),
        ({"prompt": "woman playing the guitar, off stage"}, "prompt woman playing the guitar, on stage -> woman"),
        ({"boundary": 0.875}, "boundary none -> 0.875"),
    ],
)
def test_a_changed_recipe_is_named(changes: dict[str, Any], said: str) -> None:
    drawing, words = change(recipe(), recipe(**changes))
    assert len(drawing) == 1
    assert drawing[0].startswith(said)
    assert words == ()


def test_a_changed_schedule_is_named_once() -> None:
    settings = {"flow_shift": 3.1, "prediction_type": "flow_prediction", "use_flow_sigmas": True}
    other = recipe(scheduler={"family": "unipc", "shift": 3.1, "settings": settings})
    assert change(recipe(), other) == (("scheduler.shift 3.0 -> 3.1",), ())


def test_two_scheduler_families_and_two_settings() -> None:
    euler = recipe(scheduler={"family": "flow_match_euler", "shift": 3.0, "settings": {"shift": 3.0}})
    assert change(recipe(), euler) == (("scheduler.family unipc -> flow_match_euler",), ())
    settings = {"flow_shift": 3.1, "prediction_type": "flow_prediction", "solver_order": 3, "use_flow_sigmas": True}
    both = recipe(scheduler={"family": "unipc", "shift": 3.1, "settings": settings})
    assert change(recipe(), both)[0] == ("scheduler.shift 3.0 -> 3.1", "scheduler.settings.solver_order none -> 3")


def test_the_expert_a_file_is_for() -> None:
    other = recipe()
    other["lora_files"][0]["expert"] = "transformer_2"
    assert change(recipe(), other)[0] == ("lora_file sha256 9ab63b3f8fba -> sha256 9ab63b3f8fba on transformer_2",)


def test_files_count_by_content_alone() -> None:
    moved, other = recipe(), recipe()
    moved["lora_files"][0]["path"] = "/elsewhere/renamed.safetensors"
    assert change(recipe(), moved) == ((), ())
    other["lora_files"][0]["sha256"] = "ab" * 32
    assert change(recipe(), other) == (("lora_file sha256 9ab63b3f8fba -> sha256 abababababab",), ())


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"width": {"asked": 100, "applied": 96}}, "width 96 -> 96 (asked 100)"),
        ({}, {"prompt": "woman  playing the guitar, on stage"}, "prompt"),
        ({}, {"vae_tiling": True}, "vae_tiling False -> True"),  # below 257 pixels
        ({"guidance_scale": 1.0}, {"guidance_scale": 1.0, "negative_prompt": "blur"}, 'negative_prompt "" -> blur'),
    ],
)
def test_what_draws_alike_is_no_change(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    drawing, words = change(recipe(**before), recipe(**after))
    assert drawing == ()
    assert words[0].startswith(said)


def test_a_late_difference_in_a_long_text_is_shown() -> None:
    long = "a cat that walks over the roof of a house in the rain and looks at the moon, "
    drawing, _ = change(recipe(prompt=long + "at night"), recipe(prompt=long + "by day"))
    assert drawing == ("prompt …s at the moon, at night -> …s at the moon, by day",)


def test_every_demo_recipe_is_read_back_as_a_recipe() -> None:
    """Else every difference would count, also one without effect."""
    for case in load_cases(find_case_files([])):
        stored = json.loads(json.dumps(without_paths(to_dict(case.inference))))
        asked = copy.deepcopy(stored)
        asked["width"]["asked"] += 1
        assert compare_recipes(stored, stored).drawing == ()
        changes = compare_recipes(stored, asked)
        assert changes.drawing == ()
        assert changes.words[0].startswith("width")


def test_a_recipe_of_another_version_is_compared_field_by_field() -> None:
    old = recipe()
    del old["steps"]
    assert change(old, recipe()) == (("steps none -> 6",), ())
    assert change({}, {}) == ((), ())
    assert len(change({}, recipe())[0]) > len(FACTORS) / 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu_capability": "AVX512"}, ["cpu_capability AVX2 -> AVX512"]),
        ({"cpu": "Intel Xeon"}, ["cpu AMD EPYC -> Intel Xeon"]),
        ({"versions": {"torch": "2.14.0", "diffusers": "0.42.1", "pillow": "13.0.0"}}, ["torch 2.13.0 -> 2.14.0"]),
        ({"flags": {"deterministic_algorithms": False, "threads": 1}}, ["deterministic_algorithms True -> False"]),
        ({"flags": {"deterministic_algorithms": True, "threads": 8}}, ["threads 1 -> 8"]),
        ({"offload": "model"}, ["offload none -> model"]),
        ({"python": "3.13.0", "platform": "Linux-7", "versions": ENVIRONMENT["versions"] | {"wan-parity": "9"}}, []),
    ],
)
def test_environments_differ_in_what_reaches_the_bits(changes: dict[str, Any], said: list[str]) -> None:
    before, after = reaching_the_bits(ENVIRONMENT), reaching_the_bits(ENVIRONMENT | changes)
    assert list(differences(before, after)) == said


def test_on_a_gpu_its_name_counts_and_not_its_number_nor_the_cpu() -> None:
    gpu = ENVIRONMENT | {"device": "cuda:0", "gpu": "NVIDIA H100", "compute_capability": "9.0"}
    same = gpu | {"device": "cuda:1", "cpu": "Intel Xeon", "gpu_memory_gib": 79.1}
    assert differences(reaching_the_bits(gpu), reaching_the_bits(same)) == ()
    assert "device cpu -> cuda" in differences(reaching_the_bits(ENVIRONMENT), reaching_the_bits(gpu))


# --- the gate, equal environment


def test_equal_bits_hold() -> None:
    check = checked(result())
    assert (check.outcome, check.problems, check.notes, check.acceptable) == ("holds", (), (), False)


def test_changed_bits_fail_though_every_metric_is_equal() -> None:
    check = checked(result(frames="abcdXfghi"))
    assert check.failed
    assert check.problems == (
        "frame 4 changed",
        "recipe equal: the code changed, or something that the environment does not record",
    )


def test_an_improvement_fails_as_changed_bits_and_asks_to_be_accepted() -> None:
    check = checked(result(frames="QRSTUVWXY", psnr=[41.0] * 9, ssim=[0.981] * 9))
    assert check.outcome == "changed"
    assert "nearer to the preview: PSNR 40.00 dB -> 41.00 dB" in check.notes
    assert any("an improvement" in note and "accept it" in note for note in check.notes)
    assert check.acceptable


def test_getting_worse_is_said() -> None:
    check = checked(result(frames="QRSTUVWXY", psnr=[40.0] * 8 + [39.9]))
    assert "further from the preview: PSNR of frame 8 40.00 dB -> 39.90 dB" in check.problems
    assert not any("an improvement" in note for note in check.notes)


def test_the_encoder_alone() -> None:
    check = checked(result(output=video(sha256=sha("other file"))))
    assert check.problems[0] == "the file changed, its raw frames did not"
    assert "encoder" in check.problems[1]
    fps = result(output=video(sha256=sha("other file"), fps=15.0), recipes={"inference": recipe(fps=16)})
    assert checked(fps).problems == ("the file changed, its raw frames did not", "because of fps 15 -> 16")


def test_a_recipe_without_effect_on_the_bits_is_a_note() -> None:
    check = checked(result(recipes={"inference": recipe(lora_scales=[0.98])}))
    assert check.outcome == "holds"
    assert check.notes == ("the recipe changed, the bits did not: lora_scale 1.0 -> 0.98",)
    assert check.acceptable


def test_another_size() -> None:
    check = checked(result(output=video("QRSTUVWXY", width=112)))
    assert check.problems[0] == "9 frames of 96x64 -> 9 of 112x64"


def test_another_preview_is_no_ground_for_comparison() -> None:
    check = checked(result(preview=video("XXXXXXXXX")))
    assert check.failed
    assert check.problems[0].startswith("the preview is another file (sha256 ")


def test_results_without_frame_hashes_still_tell() -> None:
    old = result(output=video(frame_sha256=()))
    assert checked(result(), old).outcome == "holds"
    assert "which of them is not known" in checked(result(frames="abcdXfghi"), old).problems[0]
    assert checked(result(frames="abcdefgh"), old).problems[0] == "8 frames instead of 9"
    nothing = result(output=video(raw_sha256=None, frame_sha256=()))
    assert checked(result(), nothing).outcome == "holds"
    assert checked(result(frames="X"), nothing).failed


def test_a_metric_that_is_gone_or_another_formula() -> None:
    gone = result(metrics={"psnr": result().metrics["psnr"]})
    assert checked(gone).problems == ("ssim cannot be compared: was not measured",)
    other = {**result().metrics, "ssim": dataclasses.replace(result().metrics["ssim"], variant="luma")}
    assert "another formula" in checked(result(metrics=other)).problems[0]
    with_lpips = result(metrics={**result().metrics, "lpips": summarize("lpips", [0.1] * 9)})
    without = checked(result(), with_lpips)  # its weights are often missing
    assert (without.outcome, without.notes) == ("holds", ("lpips cannot be compared: was not measured",))


@pytest.mark.parametrize(
    ("now", "baseline", "outcome"),
    [
        (no_output(), True, "not_run"),
        (no_output(status="unpairable"), True, "not_run"),
        (no_output(), False, "not_run"),
        (result(), False, "no_baseline"),
        (no_output(status="unpairable"), False, "unpairable"),
    ],
)
def test_what_did_not_run_or_has_no_baseline(now: CaseResult, baseline: bool, outcome: str) -> None:
    check = check_case(now, ENVIRONMENT, baseline_of(result()) if baseline else None)
    assert check.outcome == outcome
    assert check.failed is (outcome != "unpairable")


# --- the gate, another environment


def test_another_environment_is_compared_by_tolerance_and_says_so() -> None:
    check = checked(result(frames="QRSTUVWXY", psnr=[39.0] * 9), environment=OTHER)
    assert check.outcome == "holds"
    assert check.environment == ("torch 2.13.0 -> 2.14.0",)


def test_equal_bits_hold_in_any_environment() -> None:
    check = checked(result(), environment=OTHER)
    assert (check.outcome, check.compared) == ("holds", "bits")


def test_noise_adds_as_independent_errors() -> None:
    noise = Noise(psnr=40)
    assert noise.allowed("psnr", math.inf, lossless=False, frame=False) == pytest.approx(40)
    assert noise.allowed("psnr", 40, lossless=False, frame=False) == pytest.approx(40 - 10 * math.log10(2))
    assert noise.allowed("psnr", 20, lossless=False, frame=False) == pytest.approx(19.957, abs=1e-3)
    assert Noise().allowed("psnr", math.inf, lossless=True, frame=False) == pytest.approx(46)
    assert Noise().allowed("psnr", math.inf, lossless=False, frame=True) == pytest.approx(32.95, abs=0.01)
    assert Noise().allowed("ssim", 1.0, lossless=False, frame=False) == pytest.approx(0.94)


IDENTICAL = result(psnr=[math.inf] * 9, ssim=[1.0] * 9)


@pytest.mark.parametrize(
    ("psnr", "ssim", "lossless", "outcome"),
    [
        ([36.3] * 9, [0.951] * 9, False, "holds"),  # as measured between CPUs
        ([36.7] * 8 + [33.76], [0.953] * 8 + [0.939], False, "holds"),
        ([47.5] * 9, [0.9978] * 9, True, "holds"),
        ([33.8] * 9, [0.951] * 9, False, "worse"),  # as measured of another scheduler
        ([36.3] * 9, [0.919] * 9, False, "worse"),
        ([38.0] * 9, [0.9978] * 9, True, "worse"),
        ([36.7] * 8 + [30.0], [0.953] * 9, False, "worse"),  # one broken frame
        ([math.inf] * 8 + [30.0], [1.0] * 9, False, "worse"),
    ],
)
def test_noise_passes_and_drift_does_not(psnr: list[float], ssim: list[float], lossless: bool, outcome: str) -> None:
    floor = None if lossless else {"psnr": 30.0, "ssim": 0.9}
    now = result(frames="QRSTUVWXY", psnr=psnr, ssim=ssim, codec_floor=floor)
    check = checked(now, IDENTICAL, OTHER)
    assert check.outcome == outcome
    assert all(line.startswith("worse beyond the noise of another environment: ") for line in check.problems)
    tolerant = check_case(now, OTHER, baseline_of(IDENTICAL), Noise(psnr=20, ssim=0.5))
    assert tolerant.outcome == "holds"


def test_better_beyond_noise_passes_and_asks_to_be_accepted() -> None:
    near = [36.5] * 9
    far = result(psnr=[25.0] * 9, ssim=[0.7] * 9)
    check = checked(result(frames="QRSTUVWXY", psnr=near, ssim=[0.95] * 9), far, OTHER)
    assert (check.outcome, check.failed, check.acceptable) == ("improved", False, True)
    assert "better beyond the noise of another environment: PSNR 25.00 dB -> 36.50 dB" in check.notes
    assert any("accept it" in note for note in check.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipes": {"inference": recipe(lora_scales=[0.98])}}, "the recipe changed: lora_scale 1.0 -> 0.98"),
        ({"output": video("QRSTUVWX")}, "9 frames of 96x64 -> 8 frames of 96x64"),
        ({"output": video("QRSTUVWXY", fps=15.0)}, "16.129 fps -> 15 fps"),
        ({"preview": video("XXXXXXXXX")}, "the preview is another file"),
    ],
)
def test_what_no_environment_explains_fails_in_any(changes: dict[str, Any], said: str) -> None:
    check = checked(result(**{"frames": "QRSTUVWXY"} | changes), environment=OTHER)
    assert check.outcome == "changed"
    assert any(said in problem for problem in check.problems)


def test_lpips_has_no_noise_model_and_says_so() -> None:
    with_lpips = result(metrics={**result().metrics, "lpips": summarize("lpips", [0.1] * 9)})
    now = result(frames="QRSTUVWXY", metrics={**result().metrics, "lpips": summarize("lpips", [0.3] * 9)})
    check = checked(now, with_lpips, OTHER)
    assert (check.outcome, check.notes) == ("holds", ("lpips is compared only in an equal environment: 0.1 -> 0.3",))
    assert any("LPIPS 0.1000 -> 0.3000" in problem for problem in checked(now, with_lpips).problems)


# --- accept


def test_accept_without_names_only_shows(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept"]) == 2
    said = capsys.readouterr()
    assert "guitar  new  passed; psnr 40.00, ssim 0.9800" in said.out
    assert said.err == "parity: nothing was accepted: name the cases, or say --all, or --from approvals.json\n"
    assert not Path("baselines").exists()


def test_all_leaves_out_what_drifted_or_has_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(
        result("fine"), result("odd", status="drifted"), no_output("broken"), result("known", status="expected_drift")
    )
    assert main(["baseline", "accept", "--all"]) == 1
    out = capsys.readouterr().out
    assert sorted(state()) == ["fine.json", "known.json"]
    assert "odd     left out  drifted: accepted only when named" in out
    assert "broken  left out  error: has no output to accept" in out
    assert main(["baseline", "accept", "odd"]) == 0
    assert json.loads(state()["odd.json"])["accepted"]["status"] == "drifted"


def test_named_is_all_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("fine"), no_output("broken"))
    for name, said in (("broken", "broken: has no output to accept"), ("fin", "did you mean fine?")):
        assert main(["baseline", "accept", "fine", name]) == 2
        assert said in capsys.readouterr().err
        assert state() == {}


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar", "--dry-run"]) == 0
    assert "1 to write to baselines; nothing was written (--dry-run)" in capsys.readouterr().out
    assert not Path("baselines").exists()


def test_what_changes_is_printed_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    before = state()
    other = result("b", frames="QRSTUVWXY", psnr=[39.0] * 9, recipes={"inference": recipe(lora_scales=[0.98])})
    write_run(result("a"), other, environment=ENVIRONMENT, started="2026-11-23T01:00:00+00:00")
    capsys.readouterr()
    assert main(["baseline", "accept", "--all"]) == 0
    out = capsys.readouterr().out
    assert "  a  unchanged\n" in out
    assert "  b  changed    bits, metrics (psnr 40.00 -> 39.00), lora_scale 1.0 -> 0.98\n" in out
    assert state()["a.json"] == before["a.json"]  # no new date for the same bits
    assert state()["b.json"] != before["b.json"]
    assert main(["baseline", "accept", "--all"]) == 0
    assert "nothing to write" in capsys.readouterr().out


def test_the_default_is_the_run_started_last(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no run below reports/out"):
        last_results()
    write_run(result("old"), name="z", started="2026-11-20T01:00:00+00:00")
    new = write_run(result("new"), name="a", started="2026-11-22T01:00:00+02:00")
    write_run(result("older"), name="m", started="2026-11-21T22:59:59+00:00")
    assert last_results() == new
    Path("reports/out/broken").mkdir()
    Path("reports/out/broken/results.json").write_text("{")
    os.utime("reports/out/broken/results.json", (1, 1))
    assert last_results() == new
    future = new.stat().st_mtime + 60
    os.utime("reports/out/broken/results.json", (future, future))
    assert main(["baseline", "check"]) == 2
    assert "broken/results.json: cannot be read; name the results" in capsys.readouterr().err


def test_several_results_are_each_held_in_their_own_environment(capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(result("a"), name="one")
    second = write_run(result("a", frames="QRSTUVWXY"), result("b"), name="two", environment=OTHER)
    both = ["--results", str(first), "--results", str(second.parent)]
    assert main(["baseline", "accept", "a", *both]) == 2
    assert f"a: is in {first} and {second}; give one" in capsys.readouterr().err
    assert main(["baseline", "accept", "b", *both]) == 0
    assert main(["baseline", "accept", "a", "--results", str(first)]) == 0
    capsys.readouterr()
    assert main(["baseline", "check", *both]) == 0
    out = capsys.readouterr().out
    assert "3 cases: 3 hold" in out
    assert "another environment for 1 case (compared by tolerance): torch 2.13.0 -> 2.14.0" in out


# --- approvals


def approvals(*cases: CaseResult, **changes: Any) -> Path:
    data: dict[str, Any] = {
        "schema_version": 1,
        "kind": "wan-parity approvals",
        "results_started": "2026-11-22T01:00:00+00:00",
        "cases": [
            {"id": case.id, "output_sha256": case.output.sha256, "raw_sha256": case.output.raw_sha256}
            for case in cases
            if case.output is not None
        ],
    }
    Path("approvals.json").write_text(json.dumps(data | changes))
    return Path("approvals.json")


def test_approved_cases_are_accepted_drifted_ones_too() -> None:
    odd, fine = result("odd", status="drifted"), result("fine")
    write_run(odd, fine, result("third"))
    assert main(["baseline", "accept", "--from", str(approvals(odd, fine))]) == 0
    assert sorted(state()) == ["fine.json", "odd.json"]


@pytest.mark.parametrize("other", [video("abcdXfghi"), video(sha256=sha("x")), video(raw_sha256=None)])
def test_another_video_than_the_one_approved(other: VideoResult, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    path = approvals(result("a"), result("b", output=other))
    assert main(["baseline", "accept", "--from", str(path)]) == 2
    error = capsys.readouterr().err
    assert "b: approved another video than the one in reports/out/now/results.json; nothing was accepted" in error
    assert state() == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "schema_version is 2, this wan-parity reads 1"),
        ({"kind": "x"}, "holds no approvals"),
        ({"results_started": "2026-11-21T01:00:00+00:00"}, "is of the run started 2026-11-21T01:00:00+00:00"),
        ({"results_started": 3}, "results_started: Input should be a valid string"),
        ({"cases": []}, "cases: Tuple should have at least 1 item"),
        ({"cases": [{"id": "guitar"}]}, "cases.0.output_sha256: Field required"),
        (
            {"cases": [{"id": "x", "output_sha256": "", "raw_sha256": None}]},
            "approves x, which the results do not hold",
        ),
        ({"cases": [{"id": "x", "output_sha256": "", "raw_sha256": None}] * 2}, "names x twice"),
    ],
)
def test_approvals_that_cannot_be_followed(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(result())
    assert main(["baseline", "accept", "--from", str(approvals(result(), **changes))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("parity: approvals.json: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert state() == {}


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"[1", b"[]", b"[" * 100_000])
def test_approvals_that_cannot_be_read(data: bytes) -> None:
    Path("approvals.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"^approvals\.json: "):
        read_approvals(Path("approvals.json"))


# --- staging, undo


def test_undo_restores_what_was_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"))
    assert main(["baseline", "accept", "a"]) == 0
    before = state()
    write_run(result("a", frames="QRSTUVWXY"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    after = state()
    capsys.readouterr()
    assert main(["baseline", "undo", "--dry-run"]) == 0
    assert state() == after
    assert main(["baseline", "undo"]) == 0
    out = capsys.readouterr().out
    for line in ("baselines/a.json: would be restored", "baselines/a.json: restored", "baselines/b.json: removed"):
        assert line in out
    assert state() == before
    assert main(["baseline", "undo"]) == 2
    assert capsys.readouterr().err == "parity: nothing to undo in baselines\n"


def test_undo_spares_what_was_changed_since(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    Path("baselines/b.json").write_text("edited")
    assert main(["baseline", "undo"]) == 2
    assert "b.json: was changed since it was accepted; nothing was undone" in capsys.readouterr().err
    assert Path("baselines/a.json").exists()


def test_what_undo_keeps_stays_out_of_version_control() -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    hidden = [path for path in Path("baselines").iterdir() if path.name.startswith(".")]
    assert [path.name for path in hidden] == [".undo"]
    assert (hidden[0] / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "x"}', '{"kind": "wan-parity undo", "schema_version": 1}'])
def test_a_broken_undo_is_one_message(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    Path("baselines/.undo/undo.json").write_text(text)
    assert main(["baseline", "undo"]) == 2
    assert "undo.json: cannot be read" in capsys.readouterr().err


def test_undo_touches_nothing_outside(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    Path("precious.json").write_text("mine")
    path = Path("baselines/.undo/undo.json")
    path.write_text(path.read_text().replace("guitar.json", "../precious.json"))
    assert main(["baseline", "undo"]) == 2
    assert "is no baseline's file" in capsys.readouterr().err
    assert Path("precious.json").read_text() == "mine"


class KilledError(BaseException):
    """As a kill: no handler runs but `finally`, and there is none."""


def die_after(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `limit` changes below baselines/ happen, then die at the next."""
    moves = [0]
    originals = {name: getattr(Path, name) for name in ("replace", "write_text", "mkdir")}

    def patched(name: str) -> Any:
        def call(path: Path, *args: Any, **options: Any) -> Any:
            if "baselines" in Path(path).parts:
                if moves[0] == limit:
                    raise KilledError
                moves[0] += 1
            return originals[name](path, *args, **options)

        return call

    for name in originals:
        monkeypatch.setattr(Path, name, patched(name))
    for name in ("copyfile", "rmtree"):
        originals[name] = getattr(shutil, name)
        monkeypatch.setattr(shutil, name, patched(name))


def test_a_kill_at_any_moment_leaves_every_baseline_whole() -> None:
    """Old or new, each of them; undo or another accept then works, and what was left is said."""
    old = {"a": to_text(baseline_of(result("a"))), "b": to_text(baseline_of(result("b")))}
    new = {name: to_text(baseline_of(result(name, frames="QRSTUVWXY"))) for name in ("a", "b", "c")}
    told: set[bool] = set()
    for limit in range(100):
        folder = Path(f"{limit}/baselines")
        store = Store(folder)
        store.replace({"z": to_text(baseline_of(result("z")))})
        store.replace(old)
        with pytest.MonkeyPatch.context() as patch:
            die_after(limit, patch)
            try:
                store.replace(new)
                break
            except KilledError:
                pass
        for name in ("a", "b", "c"):
            path = folder / f"{name}.json"
            assert (path.read_text() if path.exists() else None) in (old.get(name), new[name])
        placed = sum(
            (folder / f"{name}.json").exists() and (folder / f"{name}.json").read_text() == new[name] for name in new
        )
        leftover = store.leftover()
        if leftover is None:
            assert limit == 0
            continue
        assert leftover.placed == placed
        assert (f"{placed} of 3 baselines were replaced" in str(leftover)) is (placed > 0)
        told.add(placed > 0)
        if limit % 2:
            store.clean()
            store.replace(new)
            assert {name: text for name, text in state(str(folder)).items() if name != "z.json"} == {
                f"{name}.json": text for name, text in new.items()
            }
        else:
            store.clean()
            before_the_last = {"z.json": to_text(baseline_of(result("z")))}
            store.undo()
            as_it_was = before_the_last | {f"{name}.json": text for name, text in old.items()}
            assert state(str(folder)) in (as_it_was, before_the_last)  # nothing had begun: the accept before
        assert store.leftover() is None
    else:
        pytest.fail("never came to its end")
    assert told == {True, False}


def test_a_leftover_is_said_and_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines/.staging").mkdir(parents=True)
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "baselines/.staging: left by an accept that was killed; nothing was replaced" in capsys.readouterr().err
    assert not Path("baselines/.staging").exists()
    before = state()
    Path("baselines/.staging").mkdir()
    assert main(["baseline", "undo"]) == 0  # of the killed one, not of the one before
    assert state() == before
    assert main(["baseline", "undo"]) == 0
    assert state() == {}


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("file").write_text("")
    assert main(["baseline", "accept", "guitar", "--baselines", "file/b"]) == 2
    assert capsys.readouterr().err.startswith("parity: file/b: cannot be written: ")


# --- check and show


def accept_all(*cases: CaseResult, **changes: Any) -> None:
    write_run(*cases, **changes)
    main(["baseline", "accept", *(case.id for case in cases)])


def test_check_says_what_failed_what_is_unused_and_how_to_accept(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result("a"), result("b"), result("gone"))
    write_run(result("a"), result("b", frames="abcdXfghi"), result("c"), name="new run", started="2026-11-23T01:00:00Z")
    capsys.readouterr()
    assert main(["baseline", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "reports/out/new run/results.json: run of 2026-11-23T01:00:00Z, 3 cases"
    assert lines[1:3] == ["  b: CHANGED", "      frame 4 changed"]
    assert "  c: NO BASELINE" in lines
    assert "  a: ok: holds to the bit" in lines
    assert "baseline not used: gone is not in this run" in lines
    assert "3 cases: 1 changed, 1 hold, 1 without baseline" in lines
    assert lines[-1] == "if it is right so: parity baseline accept b c --results 'reports/out/new run/results.json'"
    assert main(["baseline", "check", "a"]) == 0
    assert main(["baseline", "check", "gone"]) == 1
    assert "not in this run" in capsys.readouterr().out
    assert main(["baseline", "check", "gome"]) == 2
    assert "did you mean gone?" in capsys.readouterr().err


def test_check_json(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result("a"), result("gone"))
    path = write_run(result("a", frames="abcdXfghi"))
    capsys.readouterr()
    assert main(["baseline", "check", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["failed"], data["unused"]) == (True, ["gone"])
    (case,) = data["cases"]
    assert (case["case"], case["outcome"], case["failed"]) == ("a", "changed", True)
    assert case["problems"][0] == "frame 4 changed"
    assert case["accept"] == f"parity baseline accept a --results {path}"


def test_a_gate_on_nothing_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result())
    capsys.readouterr()
    assert main(["baseline", "check", "--baselines", "basslines"]) == 2
    assert "basslines: no such folder of baselines" in capsys.readouterr().err
    write_run(result(), finished=None)
    assert main(["baseline", "check"]) == 1
    assert "is of a run that did not finish" in capsys.readouterr().out
    write_run(finished=None)
    assert main(["baseline", "check"]) == 2
    assert "holds no case" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["accept", "guitar"], ["check"], ["show"], ["undo"], ["--help"]], ids=" ".join)
def test_no_baseline_command_imports_torch(arguments: list[str]) -> None:
    accept_all(result())
    code = (
        "import sys\n"
        "from parity.cli import main\n"
        "try: sys.exit(main(['baseline', *sys.argv[1:]]) or 'torch' in sys.modules)\n"
        "except SystemExit as done: sys.exit(done.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": str(DEMO.parent)}, check=False
    )
    assert done.returncode == 0


def test_noise_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(IDENTICAL)
    write_run(result(frames="QRSTUVWXY", psnr=[30.0] * 9), environment=OTHER)
    assert main(["baseline", "check"]) == 1
    assert main(["baseline", "check", "--noise-psnr", "29"]) == 0
    for flag, value in (("--noise-psnr", "-1"), ("--noise-psnr", "nan"), ("--noise-ssim", "1"), ("--noise-ssim", "x")):
        with pytest.raises(SystemExit) as caught:
            main(["baseline", "check", flag, value])
        assert caught.value.code == 2
        assert f"{flag}: must be a number" in capsys.readouterr().err


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(IDENTICAL, result("b", psnr=[40.0] * 8 + [38.0]))
    capsys.readouterr()
    assert main(["baseline", "show"]) == 0
    out = capsys.readouterr().out
    for words in ("identical", "39.78 (38.00)", "AMD EPYC AVX2, torch 2.13.0", "2026-11-22T01:00:00", "9 x 96x64"):
        assert words in out
    assert main(["baseline", "show", "b"]) == 0
    assert "guitar" not in capsys.readouterr().out
    assert main(["baseline", "show", "c"]) == 2
    assert main(["baseline", "show", "--baselines", "nowhere"]) == 2
    assert "no such folder" in capsys.readouterr().err
