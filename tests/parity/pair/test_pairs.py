"""Pairs of files with a known answer are named, and pairs that have none get none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from parity.pair.compare import compare_files
from parity.results.pair import PairResult
from pipelines.errors import MediaError, UsageError
from pipelines.media.video import Frames
from tests.support.clips import animation, film, folder, levels, preview, scaled, shapes


@dataclass(frozen=True, slots=True)
class Known:
    """What is done to A's frames to have B, and the answer to that."""

    done: Callable[[Frames], Frames]
    changes: list[str]
    says: str


def _late(frames: Frames) -> Frames:
    return np.concatenate([frames[:1], frames[:-1]])


KNOWN = {
    "late": Known(_late, ["offset"], "B is A, one frame late: its frames 1 to 8 are frames 0 to 7 of A"),
    "early": Known(lambda a: a[2:], ["offset"], "2 frames early: its frames 0 to 6 are frames 2 to 8 of A"),
    "backwards": Known(lambda a: a[::-1], ["reversed"], "played backwards"),
    "half the frames": Known(lambda a: a[::2], ["speed"], "frames left out: 5 of 9"),
    "twice the frames": Known(lambda a: np.repeat(a, 2, 0), ["speed"], "18 made of 9, each shown 2 times"),
    "to and fro": Known(lambda a: np.concatenate([a, a[-2:0:-1]]), ["repeated"], "forwards and then backwards"),
    "a frame dropped": Known(lambda a: np.delete(a, 4, 0), ["dropped"], "without frame 4 of A"),
    "a frame twice": Known(lambda a: np.insert(a, 4, a[4], 0), ["repeated"], "with frame 4 shown twice"),
    "frozen": Known(lambda a: a[[0, 1, 2, 3, 4, 5, 5, 5, 5]], ["frozen"], "frames 6 to 8 show frame 5 again"),
    "shorter": Known(lambda a: a[:6], ["length"], "3 frames shorter, 6 not 9"),
    "cropped": Known(lambda a: a[:, 8:56, 10:80], ["cropped"], "the 70x48 at 10,8 of A's 96x64"),
    "padded": Known(lambda a: np.pad(a, ((0, 0), (16, 16), (0, 0), (0, 0))), ["padded"], "the 96x64 at 0,16"),
    "a pixel to the right": Known(lambda a: np.roll(a, 1, 2), ["shifted"], "shifted by 1 pixel to the right"),
    "mirrored": Known(lambda a: a[:, :, ::-1], ["turned"], "mirrored left to right"),
    "upside down": Known(lambda a: a[:, ::-1, ::-1], ["turned"], "rotated by 180°"),
    "on its side": Known(lambda a: np.rot90(a, 1, (1, 2)), ["turned"], "rotated by 90° to the left"),
    "larger": Known(lambda a: scaled(a, (192, 128)), ["resized"], "resized from 96x64 to 192x128"),
    "limited range": Known(lambda a: levels(a, lambda x: 16 + x * 219 / 255), ["range"], "washed out"),
    "range cut off": Known(lambda a: levels(a, lambda x: (x - 16) * 255 / 219), ["range"], "too much contrast"),
    "gamma": Known(lambda a: levels(a, lambda x: 255 * (x / 255) ** 1.8), ["gamma"], "darker by a gamma of 1.80"),
    "brighter": Known(lambda a: levels(a, lambda x: x + 12), ["contrast"], "12.0 levels brighter"),
    "less colour": Known(
        lambda a: levels(a, lambda x: 0.5 * x + 0.5 * (x @ [0.299, 0.587, 0.114])[..., None]),
        ["saturation"],
        "less saturated, 0.50 times",
    ),
    "blue for red": Known(lambda a: a[..., ::-1], ["channels"], "red and blue swapped"),
    "mirrored, late": Known(
        lambda a: _late(a)[:, :, ::-1], ["turned", "offset"], "mirrored left to right and one frame late"
    ),
    "cropped, limited": Known(
        lambda a: levels(a[:, 8:56, 10:80], lambda x: 16 + x * 219 / 255),
        ["cropped", "range"],
        "cropped and washed out",
    ),
}


@pytest.fixture(scope="module")
def source() -> Frames:
    return shapes()


@pytest.fixture(scope="module")
def reference(source: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("a") / "reference", source)


def compared(a: Path, b: Path) -> PairResult:
    return compare_files(a, b).result


def changes(result: PairResult) -> list[str]:
    return [finding.change for finding in result.findings]


@pytest.mark.parametrize("name", KNOWN)
def test_a_change_is_named(name: str, source: Frames, reference: Path, tmp_path: Path) -> None:
    known = KNOWN[name]
    result = compared(reference, folder(tmp_path / "b", known.done(source)))
    assert (result.outcome, changes(result)) == ("altered", known.changes), result.sentence
    assert known.says in result.sentence
    assert result.exit_code == 1


@pytest.mark.parametrize("name", ["late", "frozen", "cropped", "mirrored", "limited range", "gamma", "blue for red"])
def test_a_change_is_named_after_re_encoding(name: str, source: Frames, tmp_path: Path) -> None:
    """The preview as WebP against an mp4 of what was done to its frames before: two lossy files."""
    known = KNOWN[name]
    preview_file = animation(tmp_path / "a.webp", source)
    result = compared(preview_file, film(tmp_path / "b.mp4", known.done(source), "-crf", "20"))
    assert (result.outcome, changes(result)) == ("altered", known.changes), result.sentence
    assert "the rest is re-encoding" in result.sentence


def test_identical_files(source: Frames, reference: Path, tmp_path: Path) -> None:
    result = compared(reference, folder(tmp_path / "b", source))
    assert result.sentence == "Identical, bit for bit: 9 frames of 96x64."
    assert (result.same, result.exit_code, result.codec) == (True, 0, None)
    assert result.pairs == tuple((number, number) for number in range(9))


@pytest.mark.parametrize("kind", ["webp", "gif", "mp4", "webm"])
def test_re_encoding_alone_is_the_same_video(kind: str, source: Frames, reference: Path, tmp_path: Path) -> None:
    path = tmp_path / f"b.{kind}"
    options = {"mp4": ("-crf", "23"), "webm": ("-c:v", "libvpx-vp9", "-crf", "32", "-b:v", "0")}
    b = film(path, source, *options[kind]) if kind in options else animation(path, source)
    result = compared(reference, b)
    assert (result.outcome, result.exit_code) == ("recoded", 0), result.sentence
    psnr = result.metrics["psnr"].mean
    assert result.codec is not None
    assert psnr is not None
    assert result.codec.psnr == pytest.approx(psnr, abs=2.5)


def test_another_speed_of_the_same_frames(source: Frames, tmp_path: Path) -> None:
    a, b = animation(tmp_path / "a.webp", source), animation(tmp_path / "b.webp", source, fps=24)
    result = compared(a, b)
    assert (result.outcome, changes(result)) == ("altered", ["speed"])
    assert "played at 24.39 instead of 16.13 frames per second; the rest is identical" in result.sentence


def test_a_gif_rounds_the_time_of_its_frames(source: Frames, tmp_path: Path) -> None:
    """A frame of 62 ms is one of 60 ms there, which is no other speed."""
    result = compared(animation(tmp_path / "a.webp", source), animation(tmp_path / "b.gif", source))
    assert (result.outcome, changes(result)) == ("recoded", []), result.sentence


def test_8_bits_cut_off_instead_of_rounded(source: Frames, reference: Path, tmp_path: Path) -> None:
    lower = np.random.default_rng(0).random(source.shape) < 0.5
    result = compared(reference, folder(tmp_path / "b", np.where(lower & (source > 0), source - 1, source)))
    assert (result.outcome, changes(result)) == ("altered", ["truncated"])


NOISE = np.random.default_rng(1).integers(0, 256, (2, 9, 64, 96, 3), dtype=np.uint8)
STILL = np.repeat(shapes()[:1], 9, axis=0)
UNRELATED = {
    "another prompt": (shapes(), preview("shapes_t2v", "1795354594924__000000500_0.webp")),
    "a prompt of another job": (
        preview("t2v_basic", "1795289016732__000000500_0.webp"),
        preview("t2v_basic", "1795289017748__000000500_1.webp"),
    ),
    "one seed, another model": (
        preview("wan22_5b_i2v", "1795580323679__000000500_0.webp"),
        preview("wan22_5b_t2v", "1795580313260__000000500_0.webp"),
    ),
    "one seed, trained less": (
        preview("shapes_t2v", "1795354543018__000000100_0.webp"),
        preview("shapes_t2v", "1795354594924__000000500_0.webp"),
    ),
    "noise": (NOISE[0], NOISE[1]),
}


@pytest.mark.parametrize("name", UNRELATED)
def test_nothing_is_claimed_about_other_videos(name: str, tmp_path: Path) -> None:
    a, b = UNRELATED[name]
    result = compared(folder(tmp_path / "a", a), folder(tmp_path / "b", b))
    assert (result.outcome, changes(result)) == ("different", []), result.sentence
    assert "the files cannot say" in result.sentence


def test_other_settings_of_one_seed_are_one_scene_and_no_more(tmp_path: Path) -> None:
    """A LoRA trained 300 instead of 500 steps: the same scene, which no change of the whole video explains."""
    a = preview("shapes_t2v", "1795354569539__000000300_0.webp")
    b = preview("shapes_t2v", "1795354594924__000000500_0.webp")
    result = compared(folder(tmp_path / "a", a), folder(tmp_path / "b", b))
    assert (result.outcome, changes(result)) == ("similar", []), result.sentence
    assert "the files cannot say which" in result.sentence


def test_a_still_video_has_no_timing(tmp_path: Path) -> None:
    """Late or not, every frame is the same: what is encoded differs by noise alone."""
    result = compared(folder(tmp_path / "a", STILL), film(tmp_path / "b.mp4", STILL, "-crf", "30"))
    assert (result.outcome, changes(result)) == ("recoded", []), result.sentence
    assert any("A is frozen" in note for note in result.notes)


def test_single_frames(source: Frames, tmp_path: Path) -> None:
    result = compared(folder(tmp_path / "a", source[:1]), animation(tmp_path / "b.webp", source[:1]))
    assert (result.outcome, result.pairs) == ("recoded", ((0, 0),))


def test_a_black_video_is_said_to_be_black(reference: Path, source: Frames, tmp_path: Path) -> None:
    result = compared(reference, folder(tmp_path / "b", np.zeros_like(source)))
    assert (result.outcome, result.sentence) == ("different", "B is black in every frame.")


def test_videos_without_anything_in_them_have_no_timing(source: Frames, tmp_path: Path) -> None:
    black = np.zeros_like(source)
    result = compared(folder(tmp_path / "a", black), folder(tmp_path / "b", black + np.uint8(1)))
    assert changes(result) == ["contrast"], result.sentence
    assert result.sentence.startswith("B is A, 1.0 levels brighter; that alone is the difference")


def test_nothing_is_claimed_about_frames_of_a_pixel(tmp_path: Path) -> None:
    a, b = (folder(tmp_path / name, NOISE[0, :1, :1, :1] // 2 + number) for name, number in (("a", 0), ("b", 90)))
    result = compared(a, b)
    assert (result.outcome, changes(result)) == ("different", [])
    assert "frames of fewer than 8 pixels a side have no structure to compare" in result.notes


def test_an_odd_size_is_cut_for_a_codec_that_has_none(source: Frames, tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", source[:, :63, :95]), film(tmp_path / "b.mp4", source[:, :62, :94], "-crf", "20")
    result = compared(a, b)
    assert (result.outcome, changes(result)) == ("altered", ["cropped"]), result.sentence


def test_one_file_cannot_be_compared_with_itself(reference: Path) -> None:
    with pytest.raises(UsageError, match="one and the same file"):
        compared(reference, reference.parent / "." / reference.name)


def test_a_damaged_file_is_named(reference: Path, source: Frames, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", source).read_bytes()
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"damaged\.mp4: is not a complete video"):
        compared(reference, damaged)


def test_another_video_of_another_size_is_not_called_resized(source: Frames, tmp_path: Path) -> None:
    other = scaled(preview("t2v_basic", "1795289016732__000000500_0.webp"), (48, 48))
    result = compared(folder(tmp_path / "a", source), folder(tmp_path / "b", other))
    assert result.outcome == "different"
    assert result.sentence.startswith("Another video (of another size, 48x48 not 96x64): the structure differs")


def test_a_still_webp_may_be_a_video_of_equal_frames(tmp_path: Path) -> None:
    result = compared(folder(tmp_path / "a", STILL), animation(tmp_path / "b.webp", STILL))
    assert changes(result) == ["length"]
    assert any("a WebP whose frames are all equal holds one" in note for note in result.notes)
