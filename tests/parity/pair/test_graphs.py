"""Recordings of real ComfyUI: what its files cost is known, and the graphs in them say why two of them differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity.pair.codec import Source, errors, loss_of
from parity.pair.compare import compare_files
from parity.results.pair import PairResult
from pipelines.media.facts import media_facts
from pipelines.media.video import read_video
from tests.support.clips import animation, film, shapes
from tests.support.paths import ROOT

RECORDED = ROOT / "tests" / "data" / "comfyui"
NORMAL = RECORDED / "t2v-euler-normal-3" / "float32"
SIMPLE = RECORDED / "t2v-euler-simple-8" / "float32"


def recorded(folder: Path, suffix: str) -> Path:
    return next(iter(sorted(folder.glob(f"*_.{suffix}"))))


@pytest.fixture(scope="module")
def other_schedule() -> PairResult:
    return compare_files(recorded(SIMPLE, "mp4"), recorded(NORMAL, "mp4")).result


def test_the_graphs_say_why(other_schedule: PairResult) -> None:
    """Two mp4 of one seed, apart by less than their codecs cost in pixels, by more in the means of blocks."""
    assert other_schedule.outcome == "similar"
    assert other_schedule.sentence.endswith(
        "their ComfyUI graphs differ in shift (3, not 8) and scheduler (normal, not simple)."
    )
    assert other_schedule.settings is not None
    assert [(each.name, each.a, each.b) for each in other_schedule.settings] == [
        ("shift", "8", "3"),
        ("scheduler", "simple", "normal"),
    ]
    assert other_schedule.a.graph is not None


def test_codecs_may_hide_what_the_graphs_say() -> None:
    """Two lossy files are no further apart than their codecs put them, and are of two videos all the same."""
    result = compare_files(recorded(NORMAL, "webp"), recorded(SIMPLE, "mp4")).result
    assert (result.outcome, result.exit_code) == ("similar", 1)
    assert result.sentence.startswith("No further apart than re-encoding puts them (")
    assert "differ in shift (8, not 3) and scheduler (simple, not normal)" in result.sentence


def test_the_next_command_is_given(other_schedule: PairResult) -> None:
    (step,) = other_schedule.next_steps
    assert step.startswith(f"parity plan --output {recorded(NORMAL, 'mp4')} CASE.yaml")


@pytest.mark.parametrize("suffix", ["webp", "webm", "mp4"])
def test_one_graph_saved_in_two_ways_is_one_video(suffix: str) -> None:
    """The PNG is lossless; what the other file lost is known, and the estimate is near it."""
    result = compare_files(recorded(NORMAL, "png"), recorded(NORMAL, suffix)).result
    assert (result.outcome, result.findings) == ("recoded", ()), result.sentence
    assert result.settings is not None
    assert {each.name for each in result.settings} <= {"file", "fps"}


@pytest.mark.parametrize(("suffix", "within"), [("webp", 2.0), ("webm", 1.0), ("mp4", 1.0)])
def test_the_loss_of_a_codec_is_estimated_from_lossless_frames(suffix: str, within: float) -> None:
    """A WebP does not say with which effort it was encoded, on which its size depends."""
    with np.load(NORMAL / "frames.npz") as kept:
        frames = kept[kept.files[0]]
    path = recorded(NORMAL, suffix)
    made = read_video(path)
    loss = loss_of(Source(path, media_facts(path), len(made.frames)), frames)
    assert loss is not None
    true_loss, _ = errors(frames, made.frames)
    assert abs(10 * np.log10(loss.fine / true_loss)) < within


def test_a_file_without_a_graph_claims_none(tmp_path: Path) -> None:
    result = compare_files(recorded(NORMAL, "mp4"), animation(tmp_path / "b.webp", shapes())).result
    assert result.settings is None
    assert result.b.graph is None
    assert result.next_steps[0].endswith("A's ComfyUI graph against a preview's settings")


def test_a_damaged_graph_hinders_no_comparison(tmp_path: Path) -> None:
    data = recorded(NORMAL, "mp4").read_bytes()
    path = tmp_path / "b.mp4"
    path.write_bytes(data.replace(b'"class_type"', b'"klass_type"'))
    result = compare_files(recorded(NORMAL, "png"), path).result
    assert result.outcome == "recoded"
    assert any(note.startswith("B: b.mp4") for note in result.notes), result.notes


def test_other_settings_in_lossy_files_are_no_tint(tmp_path: Path) -> None:
    """Another sampler's video has other colours on average, which is no change of colour."""
    with np.load(NORMAL / "frames.npz") as kept, np.load(SIMPLE / "frames.npz") as other:
        frames, others = kept[kept.files[0]], other[other.files[0]]
    files = animation(tmp_path / "a.webp", frames), film(tmp_path / "b.mp4", others, "-crf", "23")
    result = compare_files(*files).result
    assert (result.outcome, result.findings) == ("similar", ()), result.sentence
    assert "but leaves the means of 8x8 blocks closer" in result.sentence


def test_what_a_graph_says_is_one_printable_line(tmp_path: Path) -> None:
    """A prompt of several lines keeps its row of the table, and an escape sequence reaches no terminal."""
    graphs = []
    for name, text in (("a", "a red\nsquare"), ("b", "a blue\n\x1b[31msquare")):
        graph = json.loads((NORMAL / "prompt.json").read_text(encoding="utf-8"))
        for node in graph.values():
            if node["class_type"] == "CLIPTextEncode":
                node["inputs"]["text"] = text
        path = tmp_path / f"{name}.webp"
        exif = Image.Exif()
        exif[0x0110] = "prompt:" + json.dumps(graph)
        first, *rest = (Image.fromarray(frame) for frame in shapes())
        first.save(path, append_images=rest, save_all=True, duration=125, quality=80, exif=exif.tobytes())
        graphs.append(path)
    result = compare_files(graphs[0], graphs[1]).result
    assert result.settings is not None
    found = [(each.name, each.a, each.b) for each in result.settings]
    assert ("text", r"a red\nsquare", r"a blue\n\x1b[31msquare") in found
