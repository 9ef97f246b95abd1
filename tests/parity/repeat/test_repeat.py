"""Repeated generations: what is repeatable and what is not; noise is not taken for drift, nor drift for noise."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.baselines.check import check_case
from parity.baselines.file import Accepted, from_result, from_text, to_text
from parity.case.load import DEMO, Case, load_case
from parity.case.progress import Quiet
from parity.case.target import Given
from parity.cli.main import main
from parity.comparison.compare import Comparison, compare, frames_sha256, local_output, read_preview
from parity.comparison.floor import Floor
from parity.comparison.metrics import measure
from parity.comparison.verdict import findings_from_pixels, judge
from parity.diagnosis.lab import Lab
from parity.diagnosis.ranking import RequestNoise, rank
from parity.factors.findings import GPU_NOISE, notes_on_repeating
from parity.pytest_plugin.wording import in_pytests_words, properties
from parity.repeat.fresh import generate_in_fresh_process
from parity.repeat.measure import Measured, RepeatedOutput, measure_repeats
from parity.results.case import CaseResult
from parity.results.diagnosis import Closeness, FactorCost, Trial
from parity.results.environment import describe
from parity.results.json_text import from_json, to_json
from parity.run.cache import Cache
from parity.run.generation import Shelf
from parity.run.local import compare_locally
from parity.run.options import Options
from parity.run.outdir import OutDir
from parity.run.resume import still_holds
from parity.run.session import Session
from parity.run.task import Task
from parity.terminal.progress import Shown
from pipelines.engine import fingerprint
from pipelines.engine.engine import Engine
from pipelines.errors import UnreproducibleError
from pipelines.media.video import Frames
from pipelines.recipe import Conditioning
from reports.github import summary
from reports.render import render
from reports.view import reproduce
from tests.conftest import CaseFiles
from tests.support.report_cases import Page, run_of
from tests.support.sessions import options as session_options
from tests.support.targets import GUITAR, OTHER, Answer, Server, serving

I2V = DEMO / "wan22-i2v-waving-reference.yaml"
FAITHFUL = DEMO / "t2v-guitar-faithful.yaml"

# --- the rule: pure functions


def noise(seed: int, strength: float = 12.0) -> Frames:
    """Five frames of one picture with noise of its own."""
    base = np.tile(np.linspace(60, 190, 24)[None, None, :, None], (5, 16, 1, 3))
    drawn = base + np.random.default_rng(seed).normal(0, strength, base.shape)
    return drawn.clip(0, 255).astype(np.uint8)


def floor_of(preview: Frames, *drawings: Frames) -> Floor:
    names = ("psnr", "ssim")
    pairs = [(a, b) for i, a in enumerate(drawings) for b in drawings[i + 1 :]]
    return Floor(
        to_preview=tuple(measure(preview, drawing, names) for drawing in drawings),
        between=tuple(measure(a, b, names) for a, b in pairs),
    )


GATES = {"psnr": 60.0, "psnr_min": 60.0, "ssim": 0.999, "ssim_min": 0.999}


@pytest.mark.parametrize("count", [2, 3])
def test_one_more_generation_is_never_drift(count: int) -> None:
    """The preview is one more generation: whichever of them it is, no tolerance fails."""
    for first in range(0, 40, 4):
        floor = floor_of(*(noise(first + number) for number in range(count + 1)))
        assert floor.within
        assert floor.excused(GATES) == tuple(GATES)


def shifted(frames: Frames, by: int) -> Frames:
    moved: Frames = np.clip(frames.astype(int) + by, 0, 255).astype(np.uint8)
    return moved


def test_what_is_larger_than_the_noise_stays_drift() -> None:
    drawings = [noise(1), noise(2)]  # each is off by 12 levels
    for by, within in ((10, True), (14, False), (24, False)):
        floor = floor_of(shifted(noise(3), by), *drawings)
        assert floor.within is within
        assert ("psnr" in floor.excused(GATES)) is within


def test_frames_without_noise_are_checked_by_bits_and_by_tolerance() -> None:
    one, other = noise(1), noise(1)
    other[2] = noise(2)[2]
    preview = noise(1)
    preview[2] = noise(3)[2]
    floor = floor_of(preview, one, other)
    assert floor.frames == (2,)
    assert floor.within
    assert floor.excused(GATES) == tuple(GATES)
    preview[4] = shifted(preview, 9)[4]
    drifted = floor_of(preview, one, other)
    assert not drifted.within
    assert not set(drifted.excused(GATES)) & {"psnr", "psnr_min"}
    preview[4] = one[4]
    preview[4, 0, 0] ^= 1  # below every tolerance, and yet no noise
    nearly = floor_of(preview, one, other)
    assert not nearly.within
    assert nearly.excused(GATES) == tuple(GATES)


def test_a_tolerance_that_another_generation_meets_fails_by_noise() -> None:
    near, far, preview = shifted(noise(0, 0), 4), shifted(noise(0, 0), 40), noise(0, 0)
    assert floor_of(preview, far, near).excused({"psnr": 30.0}) == ("psnr",)
    assert floor_of(preview, near, far).excused({"psnr": 30.0}) == ()  # it passes


def case_of(cases: CaseFiles, **changes: Any) -> Case:
    return load_case(cases.write(**changes))


def compared(case: Case, preview: Frames, drawing: Frames) -> Comparison:
    """The comparison of lossless frames, as `compare` returns it."""
    real = read_preview(case.video, case.preview)
    video = dataclasses.replace(real, frames=preview)
    output = dataclasses.replace(local_output(drawing, case.inference), seen=dataclasses.replace(real, frames=drawing))
    return compare(case.video, video, output, case.preview)


def test_the_verdict(cases: CaseFiles) -> None:
    case = case_of(cases, tolerance={"psnr": 40, "ssim": 0.98})
    drawings = [noise(1), noise(2), noise(3)]
    for preview, status in ((noise(4), "passed"), (shifted(noise(4), 40), "drifted")):
        comparison = compared(case, preview, drawings[0])
        floor = floor_of(preview, *drawings)
        findings = tuple(findings_from_pixels(comparison, (), floor))
        found, sentence = judge(case, comparison, findings, floor=floor)
        assert found == status
        if status == "passed":
            assert findings == ()  # no other machine is blamed for noise
            assert "within the repeat floor of 23." in sentence
            assert "out of tolerance by noise alone: psnr, ssim" in sentence
        else:
            assert [finding.factor for finding in findings] == ["environment"]
            assert "psnr is" in sentence
            assert "beyond the repeat floor" in sentence
        assert judge(case, comparison, findings)[0] == "drifted"


def test_noise_is_no_environment_that_is_missing(cases: CaseFiles) -> None:
    case = case_of(cases, expect=["environment"])
    comparison, floor = compared(case, noise(3), noise(1)), floor_of(noise(3), noise(1), noise(2))
    assert judge(case, comparison, (), floor=floor)[0] == "expected_drift"
    assert judge(case, comparison, ())[0] == "drifted"


def test_a_gain_within_the_noise_ranks_nothing() -> None:
    def trial(psnr: float) -> Trial:
        near = Closeness(identical=False, psnr=psnr)
        return Trial(to_preview=near, to_recipe=near, raw_sha256="", file_sha256="", denoising_steps=1)

    def gain(factor: str, psnr: float) -> FactorCost:
        return FactorCost(factor=factor, preview="", inference="", fix="", gain=trial(psnr))

    costs = [gain("scheduler", 29.0), gain("boundary", 30.5), gain("conditioning", 29.6)]
    as_is = trial(28.5)
    assert [cost.factor for cost in rank(costs, as_is)] == ["boundary", "conditioning", "scheduler"]
    noisy = RequestNoise(factors=frozenset({"scheduler", "boundary"}), psnr=29.7)
    assert [cost.factor for cost in rank(costs, as_is, noisy)] == ["conditioning", "scheduler", "boundary"]
    loud = RequestNoise(factors=frozenset({"boundary"}), psnr=40.0)
    assert [cost.factor for cost in rank(costs, as_is, loud)] == ["boundary", "conditioning", "scheduler"]
    assert "gains of boundary, scheduler include that noise" in str(noisy)
    assert "--repeat N measures by how much" in str(RequestNoise(factors=noisy.factors, psnr=None))


# --- measuring


def measured(case: Case, preview: Frames, places: str, *drawings: Frames) -> Measured:
    """`places`: a letter a drawing, `t`his process or a `f`resh one."""
    names: dict[str, Any] = {"t": "this process", "f": "fresh process"}
    drawn = [
        RepeatedOutput(where=names[place], seen=frames, file_sha256=frames_sha256(frames), raw=frames)
        for place, frames in zip(places, drawings, strict=True)
    ]
    return measure_repeats(case, compared(case, preview, drawings[0]), drawn)


def test_identical_and_different_generations(cases: CaseFiles) -> None:
    case = case_of(cases)
    same = measured(case, noise(9), "tft", noise(1), noise(1), noise(1))
    assert same.result.sentence == "repeats: bit-identical, 3 generations, 1 in a fresh process"
    assert (same.result.identical, same.result.frames, same.floor, same.broken_promise) == (True, (), None, None)
    process = measured(case, noise(9), "tft", noise(1), noise(2), noise(1))
    assert process.result.between_processes
    assert process.result.sentence.startswith("differs between processes: floor PSNR 23.")
    wobbles = measured(case, noise(9), "tft", noise(1), noise(2), noise(3))
    assert not wobbles.result.between_processes
    assert wobbles.result.sentence.startswith("does not repeat: floor PSNR 23.")
    assert "all 5 frames; 3 generations" in wobbles.result.sentence
    for one in (process, wobbles):
        assert not one.result.identical
        status, sentence = one.broken_promise or ("", "")
        assert status == "error"
        assert "no figure of this case can be trusted" in sentence
    two = measured(case, noise(9), "tf", noise(1), noise(2))
    assert "--repeat 3 can" in two.result.notes[0]
    one_pixel = noise(1)
    one_pixel[3, 0, 0, 0] ^= 1
    tiny = measured(case, noise(9), "tft", noise(1), noise(1), one_pixel)
    assert not tiny.result.identical
    assert tiny.result.frames == (3,)
    assert "frame 3 of 5" in tiny.result.sentence
    cut = measured(case, noise(9), "ttft", noise(1), noise(2), noise(1)[:4], noise(2)[:4])
    assert (cut.floor, cut.result.floor, cut.result.within) == (None, None, None)
    assert "does not repeat: 5 frames of 24x16 and 4 frames of 24x16; all 5 frames" in cut.result.sentence


def test_what_the_recipe_knows(cases: CaseFiles) -> None:
    reference = load_case(I2V)
    assert "an unseeded generator" in notes_on_repeating(reference)[0]
    assert notes_on_repeating(case_of(cases)) == ()
    noisy = measured(reference, noise(9), "tf", noise(1), noise(2))
    assert noisy.broken_promise is None
    assert noisy.result.sentence.endswith("comes from an unseeded generator")
    gpu = dataclasses.replace(reference.inference, conditioning=Conditioning(latents="sample", noise="cuda"))
    on_gpu = dataclasses.replace(reference, inference=gpu)
    assert notes_on_repeating(on_gpu) == (GPU_NOISE,)
    assert measured(on_gpu, noise(9), "tf", noise(1), noise(1)).result.notes == (GPU_NOISE,)


def test_plan_says_what_is_not_repeatable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(I2V), str(DEMO / "wan22-i2v-waving-faithful.yaml")]) == 0
    assert capsys.readouterr().out.count("no two generations of this request are identical") == 1


# --- real drawings


def quick(path: Path, **changes: Any) -> Case:
    """A case of two steps."""
    case = load_case(path)
    return dataclasses.replace(case, inference=dataclasses.replace(case.inference, steps=2), **changes)


def run(case: Case, engine: Engine, out: Path, **options: Any) -> CaseResult:
    with Session(session_options(out, **options), engine) as session:
        result = session.run_case(case, Quiet())
        session.finish([case.id])
    return result


@pytest.mark.process
def test_every_repeat_is_generated_anew_and_one_in_a_fresh_process(
    cases: CaseFiles, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = case_of(cases, request=cases.request(num_frames=5, sample_steps=2))
    cache, environment = Cache(tmp_path / "cache"), describe("cpu") | {"offload": "none"}
    key = Shelf(cache, environment).key(case.inference, fingerprint.weights(case.inference))
    cache.store(key, np.zeros((5, 64, 96, 3), np.uint8), case.inference, "what was drawn before")
    engine.generate(case.inference)  # everything is encoded
    steps, encodings = engine.work.denoising_steps, engine.work.encodings
    result = run(case, engine, tmp_path, cache=cache.root, repeat=3)
    assert engine.work.denoising_steps == steps + 2 * 2  # the third is the other process'
    assert engine.work.encodings == encodings + 2 * 2
    assert result.drawn_before is None
    assert result.repeat is not None
    assert [drawing.where for drawing in result.repeat.drawings] == ["this process", "fresh process", "this process"]
    assert result.repeat.sentence == "repeats: bit-identical, 3 generations, 1 in a fresh process"
    assert result.output is not None
    assert {drawing.raw_sha256 for drawing in result.repeat.drawings} == {result.output.raw_sha256}
    assert properties(result, tmp_path)["repeat"] == result.repeat.sentence
    Shown().case_finished(result)
    assert f"\n  {result.repeat.sentence}\n" in capsys.readouterr().err
    task = Task()
    for repeat, holds in ((None, True), (2, True), (3, True), (4, False)):
        assert still_holds(result, case, dataclasses.replace(task, repeat=repeat)) is holds
    assert not still_holds(dataclasses.replace(result, repeat=None), case, dataclasses.replace(task, repeat=2))
    text = json.loads(to_json(run_of(result)))
    assert from_json(json.dumps(text)).cases == (result,)
    del text["cases"][0]["repeat"]  # of an older version
    assert from_json(json.dumps(text)).cases[0].repeat is None


def lab_of(case: Case, engine: Engine) -> Lab:
    return Lab(engine, case, read_preview(case.video, case.preview), Quiet())


def test_the_reference_i2v_of_wan22_is_not_repeatable(engine: Engine, tmp_path: Path) -> None:
    """The result of --repeat 2, without the time that a process takes to start. Against its preview, and another."""
    case = quick(I2V, tolerance={"psnr": 40.0}, expect=None)
    lab, again = lab_of(case, engine), [(True, engine.generate(case.inference))]
    result = compare_locally(lab, OutDir(tmp_path), None, None, again).result
    assert result.repeat is not None
    assert result.repeat.sentence.startswith("does not repeat: floor PSNR ")
    assert result.repeat.floor is not None
    assert result.repeat.raw_floor is not None
    assert result.repeat.floor.psnr_lowest is not None
    assert result.repeat.floor.psnr_lowest < 40
    assert result.repeat.frames == tuple(range(9))
    assert result.repeat.notes == ()
    assert result.status == "passed"
    assert "within the repeat floor of" in result.verdict
    assert "out of tolerance by noise alone: psnr" in result.verdict
    assert "no two generations of this request are identical" in result.notes[-1]
    assert reproduce(result, {}) == f"parity run {I2V} --repeat 2"
    page, github = Page(render(run_of(result), tmp_path)), summary(run_of(result), tmp_path)
    assert f"{result.repeat.sentence}. The difference from the preview is within that floor." in page.words
    assert f"repeat floor {result.repeat.floor.psnr_mean:.2f} dB" in page.words
    assert "does not repeat: floor PSNR" in github
    video = next(case.video.parent.glob("*_1.webp"))
    other = lab.for_video(dataclasses.replace(case, video=video), read_preview(video, case.preview))
    drifted = compare_locally(other, OutDir(tmp_path), None, None, again).result
    assert drifted.status == "drifted"
    assert "psnr is" in drifted.verdict
    assert "beyond the repeat floor of" in drifted.verdict


class Wobbling(Engine):
    """Adds one more to the seed each time."""

    drawn = 0

    def denoise(self, recipe: Any, *rest: Any) -> Any:
        self.drawn += 1
        return super().denoise(dataclasses.replace(recipe, seed=recipe.seed + self.drawn), *rest)


@pytest.mark.draws
def test_a_generation_that_should_repeat_and_does_not_is_an_error(tmp_path: Path) -> None:
    case, wobbling = quick(FAITHFUL), Wobbling("cpu")
    again = [(True, wobbling.generate(case.inference))]
    result = compare_locally(lab_of(case, wobbling), OutDir(tmp_path), None, None, again).result
    assert result.status == "error"
    assert result.verdict.startswith("does not repeat: floor")
    assert "docs/repeat.md" in result.verdict
    assert run_of(result).exit_code == 3
    assert from_json(to_json(run_of(result))).cases == (result,)


@pytest.mark.process
def test_what_goes_wrong_in_the_fresh_process_is_raised_here(engine: Engine) -> None:
    recipe = dataclasses.replace(load_case(FAITHFUL).inference, seed=None)
    with pytest.raises(UnreproducibleError, match="a random seed cannot be reproduced"):
        generate_in_fresh_process(engine, recipe, None, lambda: None, lambda *_: None)


@pytest.mark.process
def test_a_fresh_process_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new process waits forever before it imports anything; this one has time enough. Ctrl-C ends it likewise."""
    (tmp_path / "sitecustomize.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.syspath_prepend(tmp_path)  # the new process has this one's path
    out = str(tmp_path / "out")
    assert main(["run", str(FAITHFUL), "--repeat", "2", "--timeout", "5", "--out", out, "--no-html"]) == 3
    said = capsys.readouterr().err
    assert "generation 2 of 2: a fresh process is loading) took more than 5 s (--timeout)" in said
    running = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if is_ours(path.parent)]
    assert not [command for command in running if b"parity.repeat.fresh" in command]


def is_ours(process: Path) -> bool:
    """Return True if this process has a running child."""
    try:
        status = (process / "status").read_text()
    except OSError:
        return False
    return f"\nPPid:\t{os.getpid()}\n" in status


# --- a server's


@pytest.fixture
def there(tmp_path: Path, engine: Engine) -> Any:
    """Run the guitar's reference case on a server that sends these files, one a request."""

    def ask(*files: bytes, url: str | None = None, count: int = 3, **changes: Any) -> tuple[CaseResult, Server]:
        with serving() as server:
            given = Given(url=server.url, lora_root=DEMO / "jobs", timeout=20.0)
            case = dataclasses.replace(load_case(DEMO / "t2v-guitar-reference.yaml", given), **changes)
            for number, file in enumerate(files, 1):
                server.files[f"{number}.webp"] = file
            results: list[Answer] = []
            for number in range(1, len(files) + 1):
                server.answers["result"] = results
                results.append(_result(server, url or f"/files/{number}.webp"))
            with Session(Options(out=tmp_path / "out", task=Task(repeat=count)), engine) as session:
                return session.run_case(case, Quiet()), server

    return ask


def _result(server: Server, path: str) -> Answer:
    video = {"format": "webp", "width": 96, "height": 64, "num_frames": 9, "fps": 15, "url": f"{server.url}{path}"}
    return lambda handler: handler.json({"status": "succeeded", "outputs": {"videos": [video]}})


def test_a_server_gets_as_many_requests_as_repeat_says(there: Any) -> None:
    result, server = there(OTHER, OTHER, OTHER)
    assert server.count("/v1/inference") == 3
    assert result.repeat.sentence == "repeats: bit-identical, 3 generations, on the server"
    assert [drawing.where for drawing in result.repeat.drawings] == ["server"] * 3
    assert [drawing.request_id for drawing in result.repeat.drawings] == ["id-1", "id-2", "id-3"]
    assert "is not known" in result.repeat.notes[0]
    assert result.status == "expected_drift"


def test_a_server_that_sends_one_file_again_proves_nothing(there: Any) -> None:
    result, _ = there(OTHER, OTHER, OTHER, url="/files/1.webp")
    assert result.repeat.sentence.endswith("so it may have sent a stored file")


def test_a_server_whose_videos_differ(there: Any) -> None:
    result, _ = there(OTHER, GUITAR, OTHER, expect=None, tolerance={"psnr": 40.0})
    assert result.repeat.sentence.startswith("does not repeat: floor PSNR ")
    assert not result.repeat.identical
    assert result.repeat.raw_floor is None
    assert result.status == "passed"  # the second drawing is the preview itself: no gate fails by the first
    assert "out of tolerance by noise alone: psnr" in result.verdict
    accepted = Accepted(at="2026-11-22T05:00:00+00:00", run_started="x", status="passed")
    near = measure(np.zeros((9, 64, 96, 3), np.uint8), np.ones((9, 64, 96, 3), np.uint8), ("psnr",))
    output = dataclasses.replace(result.output, sha256="0" * 64)
    best = dataclasses.replace(result, metrics=near, output=output)
    check = check_case(result, {}, from_text(to_text(from_result(best, {}, accepted))))
    assert check.problems == ()
    assert check.outcome == "holds"
    assert "no two generations of this request are identical" in check.notes[0]
    once = dataclasses.replace(result, repeat=None)
    assert check_case(once, {}, from_text(to_text(from_result(best, {}, accepted)))).outcome == "worse"


# --- saying so


@pytest.mark.parametrize("value", ["1", "0", "-3", "many", "17", "2.5"])
def test_invalid_numbers_for_repeat(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--repeat", value])
    assert ended.value.code == 2
    assert "must be a whole number, 2 to 16" in capsys.readouterr().err


def test_pytest_has_the_option() -> None:
    assert in_pytests_words("run with --repeat 3") == "run with --parity-repeat 3"
