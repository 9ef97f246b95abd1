"""What a suite costs beside its generations, by the number of cases: plan, run, report, baselines, collection."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core import Row, Size, Used, child, duration, median
from benchmarks.shapes import TINY, made

_DAMAGED = "1795289016739__000000500_0"
_ANCHOR = 100
"""The cases against one of which one of more is measured."""
_CHEAP = {"report": 1000, "baseline accept": 1000, "baseline check": 1000}
"""Commands of which 100 cases take less than their start varies, and the number of cases that is their anchor."""
_PAGE = 5000
"""The cases of the report whose size is measured."""
_PAGE_MB = 25
"""What `--max-size` is by default."""


def rows(size: Size) -> Iterator[Row]:
    """Plan, run, resume, report, accept, check and collect 100, 1,000, 10,000 … cases: the time of one to that at 100.

    `run` takes cases whose preview is damaged, so that each is read, refused and written down; `resume`, `report`,
    `baseline accept` and `baseline check` take the result of a real generation, as many copies as there are cases;
    pytest only collects. Last, the page of 5,000 cases against what it may weigh.
    """
    counts = [count for count in (1, 10) if count <= size.most] if size.small else _counts(size.most)
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        job = _Job(Path(name), 1 if size.small else size.pairs)
        for what in ("plan", "pytest", "run", "resume", "report", "baseline accept", "baseline check"):
            yield from _of(what, {count: job.used(what, count) for count in counts})
        yield _page(job, 20 if size.small else _PAGE)


def _page(job: _Job, count: int) -> Row:
    """A row about the size of the page of `count` cases."""
    used = job.once("report", count, job.folder / "page")
    size = (job.folder / "page" / "out" / "report.html").stat().st_size
    return Row(
        what=f"report, {count:,} cases: size of the page",
        anchor="--max-size",
        ratio=size / (_PAGE_MB << 20),
        promise="at most 1",
        ours=f"{size / 2**20:.3g} MiB; {duration(used.cpu)} of CPU, {used.peak:.0f} MiB of memory",
        theirs=f"{_PAGE_MB} MiB",
    )


def _counts(most: int) -> list[int]:
    return [count for count in (1, 10, 100, 1000, 10_000, 100_000) if count <= most]


def _of(what: str, used: dict[int, Used]) -> Iterator[Row]:
    """A row for each number of cases, the anchor's and more: fewer cost less than the start of Python varies.

    What a command takes for one case is taken off: it is that start.
    """
    least = min(used)
    each = {count: (used[count].cpu - used[least].cpu) / (count - least) for count in used if count > least}
    anchor = _CHEAP.get(what, _ANCHOR)
    anchor = anchor if anchor in each else max(each, default=0)
    for count, seconds in each.items():
        if count < anchor:
            continue
        yield Row(
            what=f"{what}, {count:,} cases: CPU time of a case",
            anchor=f"that at {anchor:,}",
            ratio=seconds / each[anchor] if each[anchor] > 0 else None,
            promise="at most 1.5" if count > anchor else "",
            ours=f"{duration(seconds)}, {used[count].peak:.0f} MiB",
            theirs=duration(each[anchor]),
        )


class _Job:
    """A job in a folder with the result of one generation."""

    def __init__(self, folder: Path, turns: int) -> None:
        """`turns`: how often the few cases are measured against which the many are."""
        self.folder, self._turns = folder, turns
        self._cache = {"WAN_PARITY_CACHE": str(folder / "cache")}
        made(dataclasses.replace(TINY, width=64, frames=1, steps=1), folder)
        (folder / "samples" / f"{_DAMAGED}.webp").write_bytes(b"RIFF")
        cases = self._cases(folder / "one", 1, damaged=False)
        self._child(["parity", "run", str(cases), "--out", "out-one"])

    def used(self, what: str, count: int) -> Used:
        """What a command uses over `count` cases; up to 100 of them the median of several times."""
        turns = self._turns if count <= _ANCHOR else 1
        return median([self.once(what, count, self.folder / f"{what}-{count}-{turn}") for turn in range(turns)])

    def once(self, what: str, count: int, place: Path) -> Used:
        """Run a command over `count` cases, in a new folder."""
        cases, out = self._cases(place, count, damaged=what == "run"), place / "out"
        accepted = ["--results", str(out), "--baselines", str(place / "baselines")]
        accept = ["parity", "baseline", "accept", "case-*", *accepted]
        if what in ("resume", "report", "baseline accept", "baseline check"):
            self._copy_results(cases, out, count)
        if what == "baseline check":
            self._child(accept)
        return self._child(
            {
                "plan": ["parity", "plan", str(cases)],
                "pytest": ["pytest", "--pyargs", "parity", "--collect-only", "-q", "--parity-cases", str(cases)],
                "run": ["parity", "run", str(cases), "--out", str(out), "--no-html"],
                "resume": ["parity", "run", str(cases), "--out", str(out), "--no-html", "--resume"],
                "report": ["parity", "report", str(out)],
                "baseline accept": accept,
                "baseline check": ["parity", "baseline", "check", *accepted],
            }[what]
        )

    def _child(self, command: list[str]) -> Used:
        return child(["-m", *command], self.folder, self._cache, ok=(0, 1, 3))

    def _cases(self, place: Path, count: int, *, damaged: bool) -> Path:
        """Write `count` equal cases of one preview, which may be a damaged one. Returns their folder."""
        cases = place / "cases"
        cases.mkdir(parents=True)
        text = (self.folder / "faithful" / "0.yaml").read_text().replace("../", f"{self.folder}/")
        if damaged:
            text = re.sub(r"samples/\w+", f"samples/{_DAMAGED}", text)
        for number in range(count):
            (cases / f"{number}.yaml").write_text(text.replace("id: faithful-0", f"id: case-{number}"))
        return cases

    def _copy_results(self, cases: Path, out: Path, count: int) -> None:
        """Write a finished run of `count` cases, each with result and artifacts of the one that was generated."""
        out.mkdir()
        results = json.loads((self.folder / "out-one" / "results.json").read_text())
        (one,) = results["cases"]
        (out / "artifacts").symlink_to(self.folder / "out-one" / "artifacts")
        results["cases"] = [
            one
            | {
                "id": f"case-{number}",
                "case_file": str(cases / f"{number}.yaml"),
                "case_yaml": (cases / f"{number}.yaml").read_text(),
            }
            for number in range(count)
        ]
        (out / "results.json").write_text(json.dumps(results))
