"""A run for GitHub Actions: a job summary in Markdown, and annotations as workflow commands."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from parity.results.case import CaseResult, Run
from parity.results.diagnosis import FactorCost
from parity.results.frames import worst_frame
from parity.results.next_steps import Place, Step, next_steps
from parity.results.words import in_a_line
from pipelines.files.shown import shown, visible
from pipelines.files.words import sentence, shorten
from reports import view

SUMMARY_LIMIT = 1 << 20
"""The most bytes of all summaries of one step; GitHub does not show a larger file."""
COMMENT_LIMIT = 60 << 10
"""The most bytes of a comment on a pull request: GitHub takes 65,536 characters, and whoever posts it adds links."""
ANNOTATION_LIMIT = 10
"""The most annotations of one level that GitHub shows for one step."""
_TEXT, _CODE, _BLOCK = 500, 1000, 2000
"""The most characters of a sentence, of a path or command, and of an error's text."""
_FINDINGS = 20
"""The most findings listed for one case."""

_HTML = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_MARKS = re.compile(r"[\\`*_\[\]~$|]")
# What GitHub makes links of: people, issues, addresses.
_LINKS = re.compile(r"@|#(?=\d)|\bGH-(?=\d)|:(?=//)|www(?=\.)|(?:mailto|xmpp)(?=:)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A case in the job summary."""

    case: CaseResult
    file: str
    """The case file, relative to the repository where it lies in there."""
    command: str
    """The command that runs this case again."""
    seconds: float | None
    frame: int | None
    """The worst frame; None if no frame differs."""
    stills: tuple[str, ...]
    """The stills of that frame, preview and output, relative to results.json."""
    cause: FactorCost | None
    """The factor that matters most; None without a diagnosis, or if it ranks none."""


def summary(run: Run, folder: Path, *, workspace: Path | None = None, max_bytes: int = SUMMARY_LIMIT) -> str:
    """The run in Markdown, failures first, in at most `max_bytes` of UTF-8. It says what it left out.

    `folder` is that of results.json, `workspace` that of the repository. Empty if not even the verdict fits.
    """
    entries = [_entry(case, folder, workspace) for _, case in view.ordered(run)]
    return _fitting(run, entries, _steps(run, folder, workspace), max_bytes)


def comment(run: Run, folder: Path, *, workspace: Path | None = None, max_bytes: int = COMMENT_LIMIT) -> str:
    """The run for a comment on a pull request: the summary without the cases that are as expected, only their number.

    The arguments are those of `summary`.
    """
    failed = [case for _, case in view.ordered(run) if case.failed]
    entries = [_entry(case, folder, workspace) for case in failed]
    steps = _steps(run, folder, workspace)
    return _fitting(run, entries, steps, max_bytes, as_expected=len(run.cases) - len(failed))


def _steps(run: Run, folder: Path, workspace: Path | None) -> list[Step]:
    results = Path(_in_repository(str(folder / "results.json"), workspace))
    place = Place(results=results, command=run.command, baselines=run.baselines, resumable=False)
    cases = [dataclasses.replace(case, case_file=_in_repository(case.case_file, workspace)) for case in run.cases]
    return next_steps(cases, place)


def _fitting(run: Run, entries: Sequence[Entry], steps: Sequence[Step], max_bytes: int, *, as_expected: int = 0) -> str:
    """As many of these entries, failures first, as fit; `as_expected` is the number of the run's other cases."""
    failing = sum(entry.case.failed for entry in entries)
    template = _environment().get_template("github.md")

    def write(rows: int, details: int) -> str:
        left = {"left_rows": len(entries) - rows, "left_details": failing - details}
        limit = f"{max_bytes / (1 << 20):.3g} MiB" if max_bytes >= 1 << 20 else f"{max_bytes / 1024:.3g} KiB"
        text = template.render(
            run=run,
            verdict=view.verdict(run),
            command=shlex.join(run.command),
            rows=entries[:rows],
            details=entries[:details],
            metrics=[name for name in view.METRICS if _told(run, name.key)],
            max_findings=_FINDINGS,
            as_expected=as_expected,
            limit=limit,
            steps=steps if rows else (),
            **left,
        )
        return text.strip() + "\n"

    def fits(rows: int, details: int) -> bool:
        return len(write(rows, details).encode()) <= max_bytes

    details = _most(failing, lambda number: fits(len(entries), number))
    rows = len(entries) if details is not None else _most(len(entries), lambda number: fits(number, 0))
    return "" if rows is None else write(rows, details or 0)


def _told(run: Run, metric: str) -> bool:
    """Whether the table has a column for a metric: PSNR and SSIM always, others if some case asked for them."""
    return metric in ("psnr", "ssim") or any(
        metric in case.metrics and in_a_line(metric, case.tolerance) for case in run.cases
    )


def workflow_commands(run: Run, *, workspace: Path | None = None) -> list[str]:
    """A workflow command for what is missing, one for every case that failed, as many as GitHub shows, and the rest."""
    failed = [case for _, case in view.ordered(run) if case.failed]
    missing = [f"::error title=wan-parity::{_command_data(shorten(phrase, _CODE))}" for phrase in run.missing]
    lines = [*missing[:ANNOTATION_LIMIT], *(_annotation(case, workspace) for case in failed)][:ANNOTATION_LIMIT]
    more = len(failed) - max(0, len(lines) - len(missing))
    if more:
        what = "case that failed is" if more == 1 else "cases that failed are"
        lines.append(f"::notice title=wan-parity::{more} more {what} in the job summary")
    return lines


def _annotation(case: CaseResult, workspace: Path | None) -> str:
    parts = [case.verdict or case.status]
    if case.diagnosis is not None:
        parts.append(case.diagnosis.sentence)
    file = _property(_in_repository(case.case_file, workspace))
    title = _property(f"{case.id}: {case.status}")
    return f"::error file={file},title={title}::{_command_data(chr(10).join(shorten(part, _CODE) for part in parts))}"


def _command_data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _command_data(shown(text)).replace(":", "%3A").replace(",", "%2C")


def _most(top: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number up to `top` that fits, if every smaller one does too; None if none does."""
    if fits(top):
        return top
    low, high = -1, top  # low fits (or none is known to), high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low if low >= 0 else None


def _entry(case: CaseResult, folder: Path, workspace: Path | None) -> Entry:
    frame = worst_frame(case)
    file = _in_repository(case.case_file, workspace)
    ranked = [cost for cost in (case.diagnosis.factors if case.diagnosis else ()) if cost.rank == 1]
    return Entry(
        case=case,
        file=file,
        command=shlex.join(("parity", "run", file)),
        seconds=case.seconds,
        frame=frame,
        stills=_stills(case, frame, folder) if case.status == "drifted" and frame is not None else (),
        cause=ranked[0] if ranked else None,
    )


def _stills(case: CaseResult, frame: int, folder: Path) -> tuple[str, ...]:
    names = [
        f"{case.artifacts[key]}/{frame:04d}.webp"
        for key in ("preview_frames", "output_frames")
        if key in case.artifacts
    ]
    return tuple(name for name in names if (folder / name).is_file())


def _in_repository(file: str, workspace: Path | None) -> str:
    """A path relative to the repository, as GitHub wants it; a path outside is left unchanged."""
    if workspace is None:
        return file
    try:
        return Path(file).resolve().relative_to(workspace.resolve()).as_posix()
    except ValueError:
        return file


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=False,  # Markdown: every value goes through one of the filters below
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": markdown, "code": code, "cell": code_cell, "pre": preformatted}
    return environment


def markdown(text: Any) -> str:
    """Text of one line that stays text: no table cell, markup, HTML, formula, mention or link comes of it."""
    escaped = _MARKS.sub(r"\\\g<0>", _line(text, _TEXT).translate(_HTML))
    return _LINKS.sub(r"\g<0>&#8203;", escaped)


def code(text: Any) -> str:
    """The text as a Markdown code span."""
    line = _line(text, _CODE) or "(empty)"
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def code_cell(text: Any) -> str:
    """The text as a code span in a table, where a bar would end the cell."""
    return code(text).replace("|", "\\|")


def preformatted(text: Any) -> str:
    """The text as the inside of an HTML `pre`."""
    return shorten(visible(str(text)), _BLOCK).translate(_HTML)


def _line(text: Any, limit: int) -> str:
    return sentence(text, limit)
