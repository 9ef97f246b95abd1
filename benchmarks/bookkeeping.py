"""What a suite costs beside its generations, by the number of cases: plan, run, report, baselines, collection."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core import Row, Size, Used, child, duration
from benchmarks.shapes import TINY, made

_DAMAGED = "1795289016739__000000500_0"
_PAGE = 5000
"""The cases of the report whose size is measured, and the most of a report whose time is compared with that of 100."""
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
        folder = Path(name)
        made(dataclasses.replace(TINY, width=64, frames=1, steps=1), folder)
        (folder / "samples" / f"{_DAMAGED}.webp").write_bytes(b"RIFF")
        cache = {"WAN_PARITY_CACHE": str(folder / "cache")}
        child(["-m", "parity", "run", str(_cases("one", folder, 1)), "--out", "out-one"], folder, cache, ok=(1,))
        for what in ("plan", "pytest", "run", "resume", "report", "baseline accept", "baseline check"):
            used = {count: _used(what, folder, count, cache) for count in counts if what != "report" or count <= _PAGE}
            yield from _of(what, used)
        yield _page(folder, 20 if size.small else _PAGE, cache)


def _page(folder: Path, count: int, cache: dict[str, str]) -> Row:
    """A row about the size of the page of `count` cases."""
    used = _used("report", folder, count, cache)
    size = (folder / f"out-report-{count}" / "report.html").stat().st_size
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
    anchor = 100 if 100 in each else max(each, default=0)
    for count, seconds in each.items():
        if count < anchor:
            continue
        yield Row(
            what=f"{what}, {count:,} cases: CPU time of a case",
            anchor=f"that at {anchor:,}",
            ratio=seconds / each[anchor] if each[anchor] > 0 else None,
            promise="at most 1.5" if count > anchor and what != "report" else "",
            ours=f"{duration(seconds)}, {used[count].peak:.0f} MiB",
            theirs=duration(each[anchor]),
        )


def _used(what: str, folder: Path, count: int, cache: dict[str, str]) -> Used:
    """Run a command over `count` cases."""
    out = folder / f"out-{'baseline accept' if what == 'baseline check' else what}-{count}"
    accepted = ["--results", str(out), "--baselines", str(folder / f"baselines-{count}")]
    if what == "baseline check":  # what was accepted before
        return child(["-m", "parity", "baseline", "check", *accepted], folder, cache)
    cases = _cases(what, folder, count)
    if what in ("resume", "report", "baseline accept"):
        _copy_results(folder, cases, out, count)
    command = {
        "plan": ["parity", "plan", str(cases)],
        "pytest": ["pytest", "--pyargs", "parity", "--collect-only", "-q", "--parity-cases", str(cases)],
        "run": ["parity", "run", str(cases), "--out", str(out), "--no-html"],
        "resume": ["parity", "run", str(cases), "--out", str(out), "--no-html", "--resume"],
        "report": ["parity", "report", str(out)],
        "baseline accept": ["parity", "baseline", "accept", "case-*", *accepted],
    }[what]
    return child(["-m", *command], folder, cache, ok=(0, 1, 2, 3))


def _cases(what: str, folder: Path, count: int) -> Path:
    """Write `count` equal cases of one preview, which is damaged for `run`. Returns their folder."""
    cases = folder / f"{what}-{count}"
    cases.mkdir()
    text = (folder / "faithful" / "0.yaml").read_text().replace("../", f"{folder}/")
    if what == "run":
        text = re.sub(r"samples/\w+", f"samples/{_DAMAGED}", text)
    for number in range(count):
        (cases / f"{number}.yaml").write_text(text.replace("id: faithful-0", f"id: case-{number}"))
    return cases


def _copy_results(folder: Path, cases: Path, out: Path, count: int) -> None:
    """Write a finished run of `count` cases, each with the result and the artifacts of the one that was generated."""
    out.mkdir()
    results = json.loads((folder / "out-one" / "results.json").read_text())
    (one,) = results["cases"]
    (out / "artifacts").symlink_to(folder / "out-one" / "artifacts")
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
