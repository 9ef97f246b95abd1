"""Baselines: checking one case by its frames, its recipe and its environment."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from typing import Any

import pytest

from parity.baselines.check import check_case
from parity.baselines.frames import describe_frames
from parity.baselines.noise import Noise
from parity.baselines.recipes import compare_recipes, without_paths
from parity.case.load import find_case_files, load_cases
from parity.comparison.metrics import measure, summarize
from parity.results.case import CaseResult
from parity.results.environment import differences, reaching_the_bits
from pipelines.drift import FACTORS
from pipelines.media.video import Frames, decode
from pipelines.recipe import to_dict
from tests.support.baseline_samples import (
    ENVIRONMENT,
    IDENTICAL,
    OTHER,
    baseline_of,
    checked,
    no_output,
    recipe,
    result,
    sha,
    video,
)
from tests.support.oracle import recorded

_BY_SCIKIT_IMAGE = "scikit-image, RGB, Gaussian window sigma 1.5 (11x11), population covariance; mean of channels"
"""SSIM's variant in baselines that were accepted before 0.2.0."""


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
        ("ABCDE", "5 frames instead of 9: no frame is unchanged"),
    ],
)
def test_frames_are_named(after: str, said: str) -> None:
    words = describe_frames("abcdefghi", after)
    assert said in words if said else words == ""


def change(before: dict[str, Any], after: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    changes = compare_recipes(without_paths(before), without_paths(after))
    return changes.reaching, changes.harmless


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
    high, low = recipe(boundary=0.875), recipe(boundary=0.875)
    high["lora_files"][0]["expert"], low["lora_files"][0]["expert"] = "high", "low"
    assert change(high, low)[0] == (
        "lora_file_high sha256 9ab63b3f8fba -> none",
        "lora_file_low none -> sha256 9ab63b3f8fba",
    )
    assert change(high, high | {"lora_scales": [0.5]}) == (("lora_scale_high 1.0 -> 0.5",), ())


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
def test_a_field_without_effect_is_not_a_change(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    drawing, words = change(recipe(**before), recipe(**after))
    assert drawing == ()
    assert words[0].startswith(said)


def test_a_late_difference_in_a_long_text_is_shown() -> None:
    long = "a cat that walks over the roof of a house in the rain and looks at the moon, "
    drawing, _ = change(recipe(prompt=long + "at night"), recipe(prompt=long + "by day"))
    assert drawing == ("prompt …s at the moon, at night -> …s at the moon, by day",)


def test_a_field_newer_than_the_baseline_is_no_change() -> None:
    """A baseline written before a field was there means the field's default, in every comparison."""
    for case in load_cases(find_case_files([])):
        now = json.loads(json.dumps(without_paths(to_dict(case.inference))))
        older = {name: value for name, value in now.items() if name not in ("vae_norm", "earlier_merges")}
        older["quantization"] = {"transformer": None, "text_encoder": None}
        assert compare_recipes(older, now) == compare_recipes(now, now)
        changed = compare_recipes(older, now | {"vae_norm": "vae_dtype"})
        assert (*changed.reaching, *changed.harmless) == ("vae_norm float32 -> vae_dtype",)


def test_every_demo_recipe_is_read_back_as_a_recipe() -> None:
    """Otherwise every difference would count, even one without effect."""
    for case in load_cases(find_case_files([])):
        stored = json.loads(json.dumps(without_paths(to_dict(case.inference))))
        asked = copy.deepcopy(stored)
        asked["width"]["asked"] += 1
        assert compare_recipes(stored, stored).reaching == ()
        changes = compare_recipes(stored, asked)
        assert changes.reaching == ()
        assert changes.harmless[0].startswith("width")


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
def test_equal_bits_are_unchanged() -> None:
    check = checked(result())
    assert (check.outcome, check.problems, check.notes, check.acceptable) == ("holds", (), (), False)


def test_changed_bits_fail_though_every_metric_is_equal() -> None:
    check = checked(result(frames="abcdXfghi"))
    assert check.failed
    assert check.problems == (
        "frame 4 changed",
        "the recipe is unchanged: the code changed, or something the environment does not record",
    )


def test_an_improvement_fails_as_changed_bits_and_asks_to_be_accepted() -> None:
    check = checked(result(frames="QRSTUVWXY", psnr=[41.0] * 9, ssim=[0.981] * 9))
    assert check.outcome == "changed"
    assert "closer to the preview: PSNR 40.00 dB -> 41.00 dB" in check.notes
    assert any("an improvement" in note and "accept it" in note for note in check.notes)
    assert check.acceptable


def test_getting_worse_is_reported() -> None:
    check = checked(result(frames="QRSTUVWXY", psnr=[40.0] * 8 + [39.9]))
    assert "further from the preview: PSNR of frame 8 40.00 dB -> 39.90 dB" in check.problems
    assert not any("an improvement" in note for note in check.notes)


def test_the_figure_shown_is_the_one_that_decided() -> None:
    """A higher mean over frames with more squared error: 34.15 dB -> 34.19 dB was shown as further from the preview."""
    old = result(psnr=[34.15] * 9)
    check = checked(result(frames="QRSTUVWXY", psnr=[34.6] * 8 + [30.91]), old)
    lines = [line for line in (*check.problems, *check.notes) if "PSNR" in line]
    assert lines == [
        "further from the preview: PSNR by mean squared error 34.15 dB -> 34.00 dB",
        "further from the preview: PSNR of frame 8 34.15 dB -> 30.91 dB",
        "closer to the preview: PSNR of frame 0 34.15 dB -> 34.60 dB and 7 more "
        "(whole video: PSNR by mean squared error 34.15 dB -> 34.00 dB)",
    ]


def test_no_frame_is_named_without_the_whole() -> None:
    """Frames moved both ways, the whole video by nothing that shows."""
    check = checked(result(frames="QRSTUVWXY", psnr=[39.0, 41.3012, *[40.0] * 7]))
    whole = " (whole video: PSNR by mean squared error 40.00 dB -> 40.00 dB)"
    assert [line for line in (*check.problems, *check.notes) if "PSNR" in line] == [
        f"further from the preview: PSNR of frame 0 40.00 dB -> 39.00 dB{whole}",
        f"closer to the preview: PSNR of frame 1 40.00 dB -> 41.30 dB{whole}",
    ]


def test_the_encoder_alone() -> None:
    check = checked(result(output=video(sha256=sha("other file"))))
    assert check.problems[0] == "the file changed, but not its raw frames"
    assert "encoder" in check.problems[1]
    fps = result(output=video(sha256=sha("other file"), fps=15.0), recipes={"inference": recipe(fps=16)})
    assert checked(fps).problems == ("the file changed, but not its raw frames", "because of fps 15 -> 16")


def test_a_recipe_without_effect_on_the_bits_is_a_note() -> None:
    check = checked(result(recipes={"inference": recipe(lora_scales=[0.98])}))
    assert check.outcome == "holds"
    assert check.notes == ("the recipe changed, but not the bits: lora_scale 1.0 -> 0.98",)
    assert check.acceptable


def test_unseeded_cases_are_checked_by_recipe_and_shape() -> None:
    """The noise of an unseeded posterior is not a change; another recipe or size is."""
    conditioning = {"latents": "sample", "noise": "unseeded", "rounded": True}
    unseeded = {"inference": recipe(boundary=0.9, conditioning=conditioning)}
    other = {"inference": recipe(boundary=0.875, conditioning=conditioning)}
    seeded = {"inference": recipe(boundary=0.9, conditioning=conditioning | {"noise": "seeded"})}
    old = result(recipes=unseeded)
    again = checked(result(recipes=unseeded, frames="QRSTUVWXY", psnr=[30.0] * 9), old)
    assert (again.outcome, again.problems) == ("holds", ())
    assert "no two generations of this request are identical" in again.notes[0]
    assert checked(result(recipes=other, frames="QRSTUVWXY"), old).problems == (
        "the recipe changed: boundary 0.9 -> 0.875",
    )
    wider = result(recipes=unseeded, output=video("QRSTUVWXY", width=112))
    assert checked(wider, old).problems == ("9 frames of 96x64 -> 9 frames of 112x64",)
    assert checked(result(recipes=seeded, frames="QRSTUVWXY"), result(recipes=seeded)).outcome == "changed"


def test_another_size() -> None:
    check = checked(result(output=video("QRSTUVWXY", width=112)))
    assert check.problems[0] == "9 frames of 96x64 -> 9 of 112x64"


def test_another_preview_is_not_compared() -> None:
    check = checked(result(preview=video("XXXXXXXXX")))
    assert check.failed
    assert check.problems[0].startswith("the preview is a different file (sha256 ")


def test_results_without_frame_hashes_still_tell() -> None:
    old = result(output=video(frame_sha256=()))
    assert checked(result(), old).outcome == "holds"
    assert "did not record which" in checked(result(frames="abcdXfghi"), old).problems[0]
    assert checked(result(frames="abcdefgh"), old).problems[0] == "8 frames instead of 9"
    nothing = result(output=video(raw_sha256=None, frame_sha256=()))
    assert checked(result(), nothing).outcome == "holds"
    assert checked(result(frames="X"), nothing).failed


def test_a_missing_metric_and_a_changed_formula() -> None:
    gone = result(metrics={"psnr": result().metrics["psnr"]})
    assert checked(gone).problems == ("ssim cannot be compared: was not measured",)
    other = {**result().metrics, "ssim": dataclasses.replace(result().metrics["ssim"], variant="luma")}
    assert "different formula" in checked(result(metrics=other)).problems[0]
    earlier = {**result().metrics, "ssim": dataclasses.replace(result().metrics["ssim"], variant=_BY_SCIKIT_IMAGE)}
    assert checked(result(), result(metrics=earlier)).outcome == "holds"  # another program, the same formula
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


def test_equal_bits_are_unchanged_in_any_environment() -> None:
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
    assert all(line.startswith("worse beyond the noise between environments: ") for line in check.problems)
    tolerant = check_case(now, OTHER, baseline_of(IDENTICAL), Noise(psnr=20, ssim=0.5))
    assert tolerant.outcome == "holds"


def test_better_beyond_noise_passes_and_asks_to_be_accepted() -> None:
    near = [36.5] * 9
    far = result(psnr=[25.0] * 9, ssim=[0.7] * 9)
    check = checked(result(frames="QRSTUVWXY", psnr=near, ssim=[0.95] * 9), far, OTHER)
    assert (check.outcome, check.failed, check.acceptable) == ("improved", False, True)
    assert "better beyond the noise between environments: PSNR 25.00 dB -> 36.50 dB" in check.notes
    assert any("accept it" in note for note in check.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipes": {"inference": recipe(lora_scales=[0.98])}}, "the recipe changed: lora_scale 1.0 -> 0.98"),
        ({"output": video("QRSTUVWX")}, "9 frames of 96x64 -> 8 frames of 96x64"),
        ({"output": video("QRSTUVWXY", fps=15.0)}, "16.129 fps -> 15 fps"),
        ({"preview": video("XXXXXXXXX")}, "the preview is a different file"),
    ],
)
def test_what_no_environment_explains_fails_in_any(changes: dict[str, Any], said: str) -> None:
    check = checked(result(**{"frames": "QRSTUVWXY"} | changes), environment=OTHER)
    assert check.outcome == "changed"
    assert any(said in problem for problem in check.problems)


def test_lpips_of_the_worst_frames_is_compared_frame_by_frame_where_both_were_measured() -> None:
    """A frame that was not measured is no infinite LPIPS."""

    def some(*values: float | None) -> CaseResult:
        known = summarize("lpips", [value for value in values if value is not None])
        measured = tuple(frame for frame, value in enumerate(values) if value is not None)
        lpips = dataclasses.replace(known, per_frame=values, measured=measured)
        return result(frames="QRSTUVWXY", metrics={**result().metrics, "lpips": lpips})

    before, after = some(0.1, 0.1, *[None] * 7), some(0.1, None, 0.1, *[None] * 6)
    assert not any("LPIPS" in problem for problem in checked(after, before).problems)
    assert any("LPIPS" in problem for problem in checked(some(0.1, 0.2, *[None] * 7), before).problems)


def test_lpips_has_no_noise_model_and_says_so() -> None:
    with_lpips = result(metrics={**result().metrics, "lpips": summarize("lpips", [0.1] * 9)})
    now = result(frames="QRSTUVWXY", metrics={**result().metrics, "lpips": summarize("lpips", [0.3] * 9)})
    check = checked(now, with_lpips, OTHER)
    assert (check.outcome, check.notes) == ("holds", ("lpips is compared only in an equal environment: 0.1 -> 0.3",))
    assert any("LPIPS 0.1000 -> 0.3000" in problem for problem in checked(now, with_lpips).problems)


@pytest.mark.parametrize(("job", "index"), [("t2v_basic", 0), ("t2v_basic", 1), ("i2v_basic", 0)])
@pytest.mark.parametrize("lossless", [False, True])
def test_recorded_noise_passes_and_recorded_drift_does_not(job: str, index: int, lossless: bool) -> None:
    """ai-toolkit with two kinds of CPU kernels, and the inference server, whose graph is the drift: its recipe is taken
    for equal.
    """

    def seen(side: str) -> Frames:
        frames, data = recorded(side, job, index)
        return frames if lossless else decode(data, "recording", count=len(frames)).frames

    def generated(frames: Frames, letters: str) -> CaseResult:
        metrics = measure(seen("native_amx/preview"), frames, ("psnr", "ssim"))
        return result(frames=letters, metrics=metrics, codec_floor=None if lossless else {"psnr": 30.0, "ssim": 0.9})

    accepted = generated(seen("native_amx/preview"), "abcdefghi")
    native = ENVIRONMENT | {"cpu_capability": "AVX512"}
    baseline = baseline_of(accepted, native)
    assert check_case(generated(seen("preview"), "jklmnopqr"), ENVIRONMENT, baseline).outcome == "holds"
    check = check_case(generated(seen("inference"), "stuvwxyzA"), ENVIRONMENT, baseline)
    assert check.outcome == "worse"
    assert {"PSNR", "SSIM"} <= {problem.split(": ")[1].split()[0] for problem in check.problems}
