"""The gate on time: the seconds of a generation against those of the one that was accepted."""

from __future__ import annotations

import dataclasses

from parity.baselines.file import Baseline
from parity.results.case import BaselineResult, CaseResult
from parity.results.speed import Speed


def with_speed(check: BaselineResult, result: CaseResult, baseline: Baseline) -> BaselineResult:
    """The check with the gate on time. A case without `seconds_ratio` may take any time.

    Seconds are compared only on the kind of machine where they were accepted; otherwise a note says why they are not.
    """
    accepted, limit = baseline.speed, result.seconds_ratio
    check = dataclasses.replace(check, accepted_seconds=None if accepted is None else accepted.seconds)
    if limit is None or result.output is None:
        return check
    reason = _why_not_judged(result, accepted)
    if reason is not None or result.speed is None or accepted is None:
        notes = (*check.notes, f"speed not judged: {reason}")
        return dataclasses.replace(check, notes=notes, acceptable=check.acceptable or _is_news(result, baseline))
    slowdown = result.speed.seconds / accepted.seconds
    sentence = f"{seconds(result.speed)}, {slowdown:.2f} times the accepted {seconds(accepted)}"
    if slowdown <= limit:
        return dataclasses.replace(check, slowdown=slowdown, notes=(*check.notes, f"speed: {sentence}"))
    problem = f"slower: {sentence}, at most {limit:g} times is allowed (seconds_ratio)"
    return dataclasses.replace(
        check,
        outcome="worse" if check.outcome == "worse" else "changed",
        slowdown=slowdown,
        slower=True,
        problems=(*check.problems, problem),
        acceptable=result.status != "error",
    )


def _why_not_judged(result: CaseResult, accepted: Speed | None) -> str | None:
    if result.target is not None:
        return "a server generated the video"
    if result.file is not None:
        return "the video was made elsewhere"
    if result.drawn_before is not None:
        return "the frames come from the cache; --no-cache generates them again"
    if result.speed is None:
        return "an older wan-parity did not measure this run"
    if accepted is None:
        return "accepted without seconds; accept the case again, on the machine that is to keep its speed"
    if result.speed.machine != accepted.machine:
        return f"accepted on another kind of machine ({accepted.machine}; this one: {result.speed.machine})"
    return None


def speed_changes(result: CaseResult, baseline: Baseline) -> list[str]:
    """What accepting a result changes about the accepted seconds; none where nobody would miss it.

    Times are never quite equal: others on the same machine count once they lie as far off as the case's
    `seconds_ratio` allows, in either direction.
    """
    if not _is_news(result, baseline) or result.speed is None:
        return []
    old = baseline.speed
    if old is None:
        return [f"seconds {seconds(result.speed)}, not recorded before"]
    if old.machine != result.speed.machine:
        return [f"seconds of another machine: {old.machine} -> {result.speed.machine}"]
    return [f"seconds {seconds(old)} -> {seconds(result.speed)}"]


def _is_news(result: CaseResult, baseline: Baseline) -> bool:
    old, new, limit = baseline.speed, result.speed, result.seconds_ratio
    if limit is None or new is None:
        return False
    return old is None or old.machine != new.machine or not 1 / limit <= new.seconds / old.seconds <= limit


def seconds(speed: Speed) -> str:
    """A time with three digits: `2.31 s`, `141 s`."""
    return f"{speed.seconds:.3g} s" if speed.seconds < 1000 else f"{speed.seconds:.0f} s"
