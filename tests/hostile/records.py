"""Places in what the commands write themselves and read again: results, journals, baselines, approvals, the cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from parity.baselines.file import from_text
from parity.results.json_text import from_json
from tests.hostile.puts import as_keys, at, changed, holders, leaves, nothing, whole
from tests.hostile.session import Put, Slot, fixed
from tests.malformed.values import Place, load, replaced, show

SHOWN = "shown/results.json"
_REPORT = ("report", SHOWN, "--out", "report.html", "--summary", "summary.md", "--comment", "comment.md")
REPORT = fixed(*_REPORT, "--junit", "junit.xml", "--github")
GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "step.md"}
CHECK = fixed("baseline", "check", "--results", "results.json")
_OF_RESULTS = (
    ("baseline check", CHECK),
    ("baseline check --json", fixed("baseline", "check", "--results", "results.json", "--json")),
    ("baseline accept", fixed("baseline", "accept", "--results", "results.json", "--baselines", "fresh")),
    (
        "baseline accept --all",
        fixed("baseline", "accept", "--all", "--results", "results.json", "--baselines", "fresh"),
    ),
    ("expect", fixed("expect", ".", "--results", "results.json")),
    ("shards --balance", fixed("shards", "2", ".", "--balance", "results.json")),
    ("run --resume", fixed("run", "case.yaml", "--resume", "--out", "shown")),
)


def _free(data: Any, read: Callable[[str], object] = from_json) -> list[Place]:
    """The places whose string may be any other: those that the reader takes for text."""
    found = []
    for spot in leaves(data):
        value = data
        for part in spot:
            value = value[part]
        if isinstance(value, str) and _accepted(replaced(data, spot, "calm"), read):
            found.append(spot)
    return found


def _accepted(data: Any, read: Callable[[str], object] = from_json) -> bool:
    try:
        read(json.dumps(data))
    except ValueError:
        return False
    return True


def results_slots(folder: Path) -> Iterator[Slot]:
    data = load(folder / SHOWN)
    free = _free(data)
    shown = [spot for spot in free if "artifacts" not in spot and "stills" not in spot]
    for where, spots in (("all texts", free), ("all texts but files", shown)):
        yield Slot(
            kind="results",
            where=f"{where}, report",
            command=REPORT,
            put=at(SHOWN, *spots),
            places=len(spots),
            environment=GITHUB,
            twin=True,
        )
    keyed = [spot for spot in holders(data) if _accepted(_with_key(data, spot))]
    yield Slot(
        kind="results",
        where="a key more wherever one may be, report",
        command=REPORT,
        put=as_keys(SHOWN, *keyed),
        places=len(keyed),
        environment=GITHUB,
        twin=True,
    )
    strict = [spot for spot in leaves(data) if spot not in free and spot[:1] != ("environment",)]
    for spot in strict[:: max(1, len(strict) // 60)]:
        yield Slot(
            kind="results", where=f"{show(spot)}, report", command=REPORT, put=at(SHOWN, spot), environment=GITHUB
        )
    yield Slot(kind="results", where="the whole file, report", command=REPORT, put=whole(SHOWN), environment=GITHUB)
    yield from _of_others(folder)
    yield Slot(
        kind="results",
        where="a folder's name, merged",
        command=fixed("report", "shown", "a\n::error::x", "--out", "report.html"),
        put=nothing,
        environment=GITHUB,
    )
    yield _merged(shown)
    yield _journal(folder)


def _of_others(folder: Path) -> Iterator[Slot]:
    data = load(folder / "results.json")
    free = [spot for spot in _free(data) if spot[-1] not in ("id", "case_file")]
    for name, command in _OF_RESULTS:
        json_too = name.endswith("--json")
        file = SHOWN if "resume" in name else "results.json"
        torch = "resume" in name
        spots = [spot for spot in _free(load(folder / SHOWN)) if spot[-1] != "id"] if torch else free
        yield Slot(
            kind="results", where=f"all texts but ids, {name}", command=command, put=at(file, *spots),
            places=len(spots), is_json=json_too, torch=torch,
        )  # fmt: skip
        for last in ("id", "case_file", "verdict", "error"):
            spots = [("cases", 0, last)]
            yield Slot(
                kind="results",
                where=f"{last}, {name}",
                command=command,
                put=at(file, *spots),
                is_json=json_too,
                torch=torch,
            )


def _with_key(data: Any, spot: Place) -> Any:
    from tests.hostile.puts import inside

    return replaced({"": data}, ("", *spot), inside({"": data}, ("", *spot)) | {"calm": "x"})[""]


def _merged(spots: Sequence[Place]) -> Slot:
    def put(folder: Path, texts: Sequence[str]) -> None:
        shutil.copytree(folder / "shown", folder / "other")
        at(SHOWN, *spots)(folder, texts)
        for name, index in (("shown", 1), ("other", 2)):

            def shard(data: Any, index: int = index) -> Any:
                return data | {"shard": {"index": index, "of": 3, "partition": texts[0], "cases": texts[1:4]}}

            changed(folder / name / "results.json", shard)

    return Slot(
        kind="results",
        where="all texts, merged of shards",
        command=fixed("report", "shown", "other", "--out", "report.html", "--github", "--summary", "summary.md"),
        put=put,
        places=len(spots),
        environment=GITHUB,
    )


def _journal(folder: Path) -> Slot:
    whole_run = load(folder / SHOWN)
    spots = [spot[2:] for spot in _free(whole_run) if spot[:2] == ("cases", 0)]

    def put(folder: Path, texts: Sequence[str]) -> None:
        case = whole_run["cases"][0]
        for spot, text in zip(spots, texts, strict=True):
            case = replaced(case, spot, text)
        changed(folder / SHOWN, lambda data: data | {"finished": None})
        head = json.dumps({"started": whole_run["started"]})
        (folder / "shown/results.jsonl").write_text(f"{head}\n{json.dumps(case)}\n", encoding="utf-8")

    return Slot(
        kind="journal",
        where="all texts of a case",
        command=REPORT,
        put=put,
        places=len(spots),
        environment=GITHUB,
        twin=True,
    )


def baseline_slots(folder: Path) -> Iterator[Slot]:
    for kind, file, commands in (
        (
            "baseline",
            "baselines/guitar.json",
            {
                "check": CHECK,
                "show": fixed("baseline", "show"),
                "show --json": fixed("baseline", "show", "--json"),
                "report": fixed(
                    "report", "results.json", "--baselines", "baselines", "--junit", "junit.xml", "--github"
                ),
                "accept": fixed("baseline", "accept", "guitar", "--results", "results.json"),
            },
        ),
        (
            "approvals",
            "approvals.json",
            {"accept --from": fixed("baseline", "accept", "--from", "approvals.json", "--results", "results.json")},
        ),
    ):
        data = load(folder / file)
        for name, command in commands.items():
            github = GITHUB if name == "report" else {}
            for spot in leaves(data):
                if name in ("check", "accept --from") or len(spot) < 3:
                    yield Slot(
                        kind=kind, where=f"{show(spot)}, {name}", command=command, put=at(file, spot),
                        is_json="json" in name, environment=github,
                    )  # fmt: skip
            texts = [spot for spot in _free(data, from_text) if spot != ("case",)] if kind == "baseline" else []
            yield Slot(
                kind=kind, where=f"all texts, {name}", command=command, put=at(file, *texts), places=len(texts),
                is_json="json" in name, environment=github, twin=name == "report",
            )  # fmt: skip
            yield Slot(
                kind=kind, where=f"a key, {name}", command=command, put=as_keys(file, ()), is_json="json" in name
            )
            yield Slot(
                kind=kind, where=f"the whole file, {name}", command=command, put=whole(file), is_json="json" in name
            )


def cache_slots(_: Path) -> Iterator[Slot]:
    entry = {
        "key": "ab" * 32,
        "drawn": "2026-11-30T10:00:00+00:00",
        "case": "guitar",
        "model": "wan21_14b",
        "prompt": "a cat",
        "frames": 9,
        "width": 96,
        "height": 64,
        "sha256": "cd" * 32,
        "version": 1,
    }

    def written(*keys: str) -> Put:
        def put(folder: Path, texts: Sequence[str]) -> None:
            place = folder / "cache" / "ab" / ("ab" * 32)
            place.mkdir(parents=True)
            (place / "entry.json").write_text(json.dumps(entry | dict(zip(keys, texts, strict=True))), encoding="utf-8")
            (place / "frames.npz").write_bytes(b"")

        return put

    free = ("drawn", "case", "model", "prompt", "key", "sha256")
    for line in ("cache ls", "cache ls --json", "cache prune --older-than 0"):
        command = fixed("env:WAN_PARITY_CACHE=cache", *line.split())
        for key in free:
            where = f"{key}, {line}"
            yield Slot(kind="cache", where=where, command=command, put=written(key), is_json="--json" in line)
        everything = written(*free[:4])
        where = f"all texts, {line}"
        yield Slot(kind="cache", where=where, command=command, put=everything, places=4, is_json="--json" in line)
