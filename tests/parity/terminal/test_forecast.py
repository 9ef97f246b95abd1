"""The bar is honest: with a known speed it follows the time, without one it keeps room for what comes after steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from parity.case.load import Case, load_case
from parity.cost import fetching
from parity.cost.speeds import Estimate, Timing
from parity.results.case import CaseResult
from parity.results.words import duration
from parity.terminal.forecast import MOST, Forecast
from parity.terminal.tracker import Tracker
from pipelines.phases import Phase
from tests.conftest import CaseFiles
from tests.support.report_cases import drifted_case

TIMING = Timing(load=10.0, text=2.0, step=1.0, decode=40.0, encode=2.0, compare=6.0)
"""As measured in the review: steps take less than what comes after them."""
KNOWN = Estimate(timing=TIMING, runs=1, scaled=False, basis="1 earlier run")
STEPS = 20
AFTER: tuple[tuple[Phase, float], ...] = (("decode", 40.0), ("encode", 2.0), ("compare", 4.0), ("write", 2.0))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def follow(forecast: Forecast, clock: Clock, speed: float = 1.0) -> list[tuple[float, float]]:
    """One generation, looked at every half second. Returns the seconds and the fraction shown."""
    seen: list[tuple[float, float]] = []

    def wait(seconds: float) -> None:
        for _ in range(round(seconds * speed * 2)):
            clock.now += 0.5
            seen.append((clock.now - 100.0, forecast.fraction() or 0.0))

    forecast.phase("read")
    forecast.phase("load")
    wait(10.0)
    forecast.generation(STEPS)
    forecast.phase("text")
    wait(2.0)
    forecast.phase("denoise")
    for step in range(STEPS):
        wait(1.0)
        forecast.step(step + 1, STEPS)
    for phase, seconds in AFTER:
        forecast.phase(phase)
        wait(seconds)
    return seen


def test_with_a_known_speed_the_bar_follows_the_time() -> None:
    clock = Clock()
    forecast = Forecast(KNOWN, STEPS, clock)
    assert forecast.left() == 80.0
    for seconds, fraction in follow(forecast, clock):
        assert fraction == pytest.approx(min(seconds / 80.0, MOST), abs=0.02)


@pytest.mark.parametrize("estimate", [KNOWN, None])
@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_the_bar_never_falls_and_is_never_full(estimate: Estimate | None, speed: float) -> None:
    clock = Clock()
    forecast = Forecast(estimate, STEPS, clock)
    fractions = [fraction for _, fraction in follow(forecast, clock, speed)]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= MOST < 1
    clock.now += 1e6  # and if comparing takes for ever
    assert (forecast.fraction() or 0) <= MOST


def test_without_a_known_speed_steps_are_not_everything() -> None:
    clock = Clock()
    forecast = Forecast(None, STEPS, clock)
    assert forecast.left() is None
    seen = follow(forecast, clock)
    at_last_step = max(fraction for seconds, fraction in seen if seconds <= 32.0)
    assert 0.5 < at_last_step <= 0.7
    later = [fraction for seconds, fraction in seen if seconds > 32.5]
    assert len(set(later)) > 0.9 * len(later)  # it moves while decoding


def test_later_generations_are_expected_to_take_as_long_as_earlier_ones() -> None:
    clock = Clock()
    forecast = Forecast(None, STEPS, clock)
    forecast.planned(4)
    follow(forecast, clock)
    forecast.generation(STEPS)
    took = clock.now - 110.0  # since the first began; what was loaded before it stays loaded
    assert forecast.left() == pytest.approx(3 * took)
    clock.now += took / 2
    assert forecast.left() == pytest.approx(2.5 * took)


def test_a_search_has_no_end_that_anybody_knows() -> None:
    forecast = Forecast(KNOWN, STEPS, Clock())
    forecast.planned(None)
    assert (forecast.fraction(), forecast.left()) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (100, "1 min 40 s"),
        (719, "12 min"),
        (3600, "1 h"),
        (4790, "1 h 20 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Outlook:
    def __init__(self, **known: Estimate) -> None:
        self.known = known

    def expect(self, case: Case) -> Estimate | None:
        return self.known.get(case.id)

    def generations(self, case: Case) -> float | None:
        return 2.0 if case.id == "twice" else 1.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def three(tmp_path: Path) -> list[Case]:
    """Three cases of 6 steps each."""
    files = CaseFiles(tmp_path)
    return [load_case(files.write(name)) for name in ("one", "twice", "other")]


@pytest.fixture
def result(tmp_path: Path) -> CaseResult:
    return drifted_case(tmp_path)


def test_the_line_says_what_is_done_and_what_is_left(clock: Clock, three: list[Case]) -> None:
    tracker = Tracker(clock)
    assert tracker.line() is None
    steps = three[0].inference.steps
    tracker.prepare(three, Outlook(one=KNOWN, twice=KNOWN, other=KNOWN))
    tracker.case_started(three[0])
    tracker.phase("load", "the text encoder")
    clock.now += 3
    assert tracker.line() == f"[1/3] one: loading the text encoder, 3 s, about {60 + steps - 3} s left".replace(
        f"{60 + steps - 3} s", duration(60 + steps - 3)
    )
    tracker.trial_started("one", steps)
    tracker.phase("text", "")
    tracker.phase("denoise", "")
    assert ": step 1 of" in (tracker.line() or "")
    tracker.step_done(1, steps)
    assert f"[1/3] one: step 2 of {steps}, " in (tracker.line() or "")
    tracker.step_done(steps, steps)
    tracker.phase("decode", "")
    assert "[1/3] one: decoding, " in (tracker.line() or "")
    tracker.trial_started("only scheduler fixed", steps)
    assert f"[1/3] one: only scheduler fixed: step 1 of {steps}, " in (tracker.line() or "")


def test_the_run_s_rest_is_that_of_all_its_cases(clock: Clock, three: list[Case], result: CaseResult) -> None:
    tracker = Tracker(clock)
    steps = three[0].inference.steps
    one = 60 + steps
    tracker.prepare(three, Outlook(one=KNOWN, twice=KNOWN))
    tracker.case_started(three[0])
    assert tracker.run_line() == "case 1 of 3"  # nothing is known of the third
    clock.now += 100
    tracker.case_finished(dataclasses.replace(result, id="one"))
    tracker.case_started(three[1])
    assert tracker.run_left() == one + (one - 10) + 100  # twice, loaded once; the third like the first
    assert tracker.run_line() == f"case 2 of 3, about {duration(2 * one - 10 + 100)} left"


def test_thousands_of_later_cases_are_counted_a_bounded_number_of_times(clock: Clock, three: list[Case]) -> None:
    cases = [dataclasses.replace(three[0], id=f"case-{number}") for number in range(1000)]
    asked: list[str] = []

    class Counting:
        def expect(self, case: Case) -> Estimate | None:
            asked.append(case.id)
            return KNOWN

        def generations(self, case: Case) -> float | None:  # noqa: ARG002
            return 1.0

    tracker = Tracker(clock)
    tracker.prepare(cases, Counting())
    one = KNOWN.seconds(three[0].inference.steps)
    for number, case in enumerate(cases):
        tracker.case_started(case)
        assert tracker.run_left() == pytest.approx((1000 - number) * one)
    assert len(asked) < 200 * len(cases)  # all of them at each case: 500,000


def test_cached_frames_do_not_make_others_look_quick(clock: Clock, three: list[Case], result: CaseResult) -> None:
    tracker = Tracker(clock)
    tracker.prepare(three, Outlook(twice=KNOWN, other=KNOWN))
    tracker.case_started(three[0])
    clock.now += 0.2
    tracker.case_finished(dataclasses.replace(result, id="one", drawn_before="2026-11-20T10:00:00Z"))
    tracker.case_started(three[1])
    one = 60 + three[0].inference.steps
    assert tracker.run_line() == f"case 2 of 3, at most {duration(3 * one - 10)} left"


def test_how_far_it_came(clock: Clock, three: list[Case], result: CaseResult) -> None:
    tracker = Tracker(clock)
    tracker.prepare(three, Outlook())
    assert tracker.stopped() == "stopped: 0 of 3 cases done, 3 not generated"
    tracker.case_started(three[0])
    assert tracker.stopped() == "stopped at one (starting): 0 of 3 cases done, 3 not generated"
    tracker.trial_started("one", 6)
    tracker.step_done(2, 6)
    assert tracker.stopped() == "stopped at one (step 3 of 6): 0 of 3 cases done, 3 not generated"
    tracker.case_finished(result)
    assert tracker.stopped() == "stopped: 1 of 3 cases done, 2 not generated"


def test_a_download_says_how_much_has_arrived(
    clock: Clock, three: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = tmp_path / "hub" / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "before").write_bytes(bytes(5000))
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path / "hub")
    tracker = Tracker(clock)
    tracker.case_started(three[0])
    tracker.phase("download", "owner/name")
    assert tracker.line() == "one: fetching owner/name, 0 s"
    (blobs / "new.incomplete").write_bytes(bytes(3_000_000))
    assert tracker.line() == "one: fetching owner/name, 3 MB so far, 0 s"
    tracker.phase("load", "the transformer")
    assert tracker.line() == "one: loading the transformer, 0 s"
