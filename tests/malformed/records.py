"""Malformed files of our own formats: baselines, approvals, results, the note that `undo` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.malformed.inputs import Input, Outcome, Target, cuts, instead, no_file, no_text, scattered_bits
from tests.malformed.texts import json_bombs
from tests.malformed.values import Place, load, remove, set_to, wrong_values

_BASELINES = ("--baselines", "baselines", "--results", "results.json")
BASELINE = Target(kind="baseline", path="baselines/guitar.json", command=("baseline", "check", *_BASELINES))
SHOWN = Target(kind="baseline", path="baselines/guitar.json", command=("baseline", "show", "--baselines", "baselines"))
APPROVALS = Target(
    kind="approvals.json",
    path="approvals.json",
    command=("baseline", "accept", "--from", "approvals.json", "--baselines", "fresh", "--results", "results.json"),
)
REPORTED = Target(
    kind="results.json", path="shown/results.json", command=("report", "shown/results.json", "--out", "report.html")
)
CHECKED = Target(kind="results.json", path="results.json", command=("baseline", "check", *_BASELINES))
ACCEPTED = Target(
    kind="results.json",
    path="results.json",
    command=("baseline", "accept", "--all", "--baselines", "fresh", "--results", "results.json"),
)


def baseline_inputs(folder: Path) -> Iterator[Input]:
    data = load(folder / BASELINE.path)
    yield from _any_json(BASELINE)
    yield BASELINE.input("of schema version 2", set_to(("schema_version",), 2), says="schema_version")
    yield BASELINE.input("of another kind", set_to(("kind",), "wan-parity approvals"))
    yield BASELINE.input("of another case", set_to(("case",), "violin"), says="violin")
    yield BASELINE.input("an unknown key", set_to(("outptu",), {}), says="outptu")
    yield BASELINE.input("no output", remove(("output",)), says="output")
    yield from wrong_values(BASELINE, data, keys=_record_key)
    for at in (("recipe",), ("environment",), ("environment", "versions"), ("recipe", "scheduler")):
        yield SHOWN.input(f"{'.'.join(at)} is a number", set_to(at, 5), "clean")


def approval_inputs(folder: Path) -> Iterator[Input]:
    data = load(folder / APPROVALS.path)
    yield from _any_json(APPROVALS)
    yield APPROVALS.input("of schema version 2", set_to(("schema_version",), 2), says="schema_version")
    yield APPROVALS.input("approves nothing", set_to(("cases",), []), says="cases")
    yield APPROVALS.input("approves another video", set_to(("cases", 0, "output_sha256"), "0" * 64), says="guitar")
    yield APPROVALS.input("approves a case twice", set_to(("cases",), data["cases"] * 2), says="twice")
    yield APPROVALS.input("approves a case that is not there", set_to(("cases", 0, "id"), "violin"), says="violin")
    yield from wrong_values(APPROVALS, data, keys=lambda _: "refused")


def results_inputs(folder: Path) -> Iterator[Input]:
    yield from _any_json(REPORTED)
    yield REPORTED.input("of schema version 2", set_to(("schema_version",), 2), says="schema_version")
    yield REPORTED.input("no cases", remove(("cases",)))
    yield REPORTED.input("a status that is none", set_to(("cases", 0, "status"), "fine"), says="status")
    yield from list(wrong_values(REPORTED, load(folder / REPORTED.path), keys=_shallow))
    yield from list(wrong_values(REPORTED, load(folder / REPORTED.path), keys=_deep))[::7]
    data = load(folder / CHECKED.path)
    for target in (CHECKED, ACCEPTED):
        yield from cuts(target, 50)
        yield from wrong_values(target, data, keys=_metric if target is CHECKED else _output)
    yield CHECKED.input("negative frames", set_to(("cases", 0, "output", "frames"), -9), "clean")
    yield CHECKED.input("no per_frame", set_to(("cases", 0, "metrics", "psnr", "per_frame"), []), "clean")
    yield REPORTED.input("artifacts outside of the folder", set_to(("cases", 0, "artifacts"), _escape()), "clean")
    yield REPORTED.input("per_frame is empty", set_to(("cases", 0, "metrics", "psnr", "per_frame"), []), "clean")
    yield REPORTED.input("asked without applied", set_to(("cases", 0, "recipes"), _odd_recipes()), "clean")


def _escape() -> dict[str, str]:
    return {"preview_frames": "../../../../../etc", "output_frames": "/dev/zero", "output": "a\0b"}


def _odd_recipes() -> dict[str, dict[str, object]]:
    odd: dict[str, object] = {"width": {"applied": [1]}, "scheduler": [[], {}], "": {"": None}}
    return {"preview": odd, "inference": {"width": {"asked": {}, "applied": {}}}}


def _any_json(target: Target) -> Iterator[Input]:
    yield from no_file(target)
    yield from no_text(target)
    yield from cuts(target, 1, 50, 95)
    yield from json_bombs(target)
    yield from scattered_bits(target, 10)
    yield target.input("keys without values", instead(b"{}"))


def _deep(at: Place) -> Outcome | None:
    """Inside of a diagnosis, a search, a recipe: there are a thousand keys, of which a few are tried."""
    return _record_key(at) if len(at) > 3 and at[2] not in ("metrics", "output") else None


def _metric(at: Place) -> Outcome | None:
    return _record_key(at) if {"psnr", "ssim"} & set(at) else None


def _output(at: Place) -> Outcome | None:
    return _record_key(at) if {"output", "environment", "started"} & set(at) else None


def _shallow(at: Place) -> Outcome | None:
    return None if _deep(at) else _record_key(at)


_FREE = {"recipe", "recipes", "environment", "settings", "finding", "preview_recipe"}
"""A value that is read unchanged: another version may have written it."""


def _record_key(at: Place) -> Outcome | None:
    return "clean" if set(at[:-1]) & _FREE else "refused"
