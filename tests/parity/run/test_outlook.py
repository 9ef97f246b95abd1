"""What a run hears of the engine, what it measures, and what the next run expects of that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.cost.speeds import Timing
from parity.results.speed import Speed
from parity.run.options import Options
from parity.run.outlook import Outlook
from parity.run.session import Session
from parity.run.stopwatch import Stopwatch
from parity.run.task import Task
from pipelines.engine.engine import Engine
from pipelines.phases import Phase
from pipelines.quantization import Quantization
from tests.conftest import CaseFiles


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_stopwatch_adds_phases_up_until_the_second_generation() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def during(phase: Phase, seconds: float) -> None:
        stopwatch.phase(phase)
        clock.now += seconds

    during("read", 100.0)
    during("download", 1000.0)  # once, and not on the next run
    during("check", 1.0)
    during("load", 2.0)
    stopwatch.generation()
    during("merge", 3.0)
    during("text", 4.0)
    during("image", 5.0)
    during("denoise", 12.0)
    stopwatch.step(6)
    during("decode", 7.0)
    during("encode", 0.5)
    during("compare", 8.0)
    during("write", 9.0)
    stopwatch.generation()
    during("denoise", 500.0)
    stopwatch.step(3)
    assert stopwatch.timing() == Timing(load=6.0, text=9.0, step=2.0, decode=7.0, encode=0.5, compare=17.0)


def test_the_stopwatch_takes_the_time_of_the_generation_itself() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def generate(first: float, step: float, decode: float) -> None:
        stopwatch.generation()
        for phase, seconds in (("merge", 50.0), ("text", 40.0), ("denoise", 0.0), ("image", 30.0), ("denoise", 0.0)):
            stopwatch.phase(phase)  # type: ignore[arg-type]
            clock.now += seconds
        for number, seconds in enumerate((first, step, step), start=1):
            clock.now += seconds
            stopwatch.step(number)
        stopwatch.phase("decode")
        clock.now += decode

    stopwatch.phase("load")
    clock.now += 100.0
    generate(9.0, 2.0, 1.0)  # the first step compiles
    stopwatch.phase("read")  # memory ran out in the decode: the case begins again
    assert stopwatch.speed(1, "CPU") is None
    generate(9.0, 2.0, 1.0)
    generate(2.0, 4.0, 2.0)
    generate(2.0, 3.0, 2.0)
    stopwatch.phase("encode")
    clock.now += 70.0
    generate(2.0, 100.0, 100.0)  # of a diagnosis
    assert stopwatch.speed(1, "CPU") == Speed(seconds=7.0, step=2.0, decode=1.0, generations=1, machine="CPU")
    assert stopwatch.speed(3, "CPU") == Speed(seconds=11.0, step=3.0, decode=2.0, generations=3, machine="CPU")
    assert stopwatch.speed(5, "CPU") is None


def test_cached_frames_have_no_timing() -> None:
    stopwatch = Stopwatch(Clock())
    stopwatch.phase("check")
    stopwatch.phase("compare")
    assert stopwatch.timing() is None


class Hears(Quiet):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def phase(self, name: Phase, part: str) -> None:
        self.heard.append((name, part))


@pytest.fixture
def speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "speeds.json"


@pytest.mark.draws
def test_every_phase_is_heard_and_the_next_run_knows_the_speed(cases: CaseFiles, tmp_path: Path, speeds: Path) -> None:
    case = load_case(cases.write("one", request=cases.request(sample_steps=2, num_frames=1)))
    hears = Hears()
    with Session(Options(out=tmp_path / "out", device="cpu")) as session:
        outlook = Outlook(session)
        assert outlook.expect(case) is None
        session.run_case(case, hears)
        known = outlook.expect(case)
    names = [name for name, _ in hears.heard]
    assert list(dict.fromkeys(names)) == [
        *("read", "check", "load", "merge", "text", "denoise", "decode", "encode", "compare", "write")
    ]
    loaded = {part for name, part in hears.heard if name == "load"}
    assert {"the libraries", "the text encoder", "the transformer", "the VAE"} <= loaded
    assert speeds.is_file()
    assert known is not None
    assert not known.scaled
    for field in ("load", "text", "step", "decode", "encode", "compare"):
        assert (getattr(known.timing, field) or 0) > 0, field


@pytest.mark.draws
def test_quantizing_says_how_far_it_is(cases: CaseFiles) -> None:
    plain = load_case(cases.write("one")).inference
    recipe = dataclasses.replace(plain, quantization=Quantization(transformer="qfloat8"))
    heard: list[tuple[str, str]] = []
    engine = Engine("cpu")
    engine.on_phase = lambda name, part: heard.append((name, part))
    engine.load(recipe)
    engine.close()
    layers = [part for name, part in heard if name == "quantize"]
    assert layers[0].startswith("transformer, layer 1 of ")
    assert layers[-1] == f"transformer, layer {len(layers)} of {len(layers)}"


def test_an_outlook_counts_what_a_task_generates(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    case = load_case(cases.write("one", pipeline="reference"))

    def generations(task: Task) -> float | None:
        return Outlook(Session(Options(out=tmp_path / "out", device="cpu", task=task), engine)).generations(case)

    assert generations(Task()) == 1
    assert generations(Task(repeat=3)) == 3
    assert generations(Task(search=True)) is None
    assert (generations(Task(diagnose="full")) or 0) > (generations(Task(diagnose="gains")) or 0) > 2
    assert generations(Task(diagnose="full", only_drifted=True)) == 1
