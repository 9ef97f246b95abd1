"""`parity report`: render results.json as one HTML file, and as what CI shows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_max_size, add_noise
from pipelines.errors import UsageError
from pipelines.files.words import cannot_write

if TYPE_CHECKING:
    from parity.baselines.in_run import RunGate
    from parity.results.merge import Merged

_EXIT_CODES = """\
exit codes:
  0  the report is written, however its cases came out
  2  bad usage, or results that cannot be read or do not belong together
  3  the report is written, and a shard or some of its cases are missing
"""


def add(parsers: Any) -> None:
    """Add `parity report`."""
    command = parsers.add_parser(
        "report",
        help="render results.json as one HTML file",
        description="Renders results.json as one self-contained HTML file. Several (matrix jobs, shards) are merged "
        "into one report, which says what is missing if a shard is.",
        epilog="examples:\n  parity report reports/out/2026-11-30_090000\n"
        "  parity report shard-1 shard-2 --out report.html --summary summary.md\n"
        "  parity report parity-out --junit junit.xml --comment comment.md\n"
        "  parity report parity-out --baselines baselines\n\n" + _EXIT_CODES,
    )
    command.add_argument(
        "results", nargs="+", type=Path, metavar="RESULTS", help="results.json, or the folder it is in"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside the first results.json")
    command.add_argument(
        "--baselines",
        type=Path,
        metavar="DIR",
        help="judge the results by these baselines, as `parity baseline check` does, and show what was accepted beside "
        "what is new (default: as the run judged them)",
    )
    add_noise(command.add_argument, "--noise")
    add_max_size(command.add_argument)
    command.add_argument("--summary", type=Path, metavar="FILE", help="also write a summary in Markdown")
    command.add_argument(
        "--comment",
        type=Path,
        metavar="FILE",
        help="also write the failures in Markdown, short enough for a comment on a pull request",
    )
    command.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML, one test for each case")
    command.add_argument(
        "--github",
        action="store_true",
        help="also append that summary to $GITHUB_STEP_SUMMARY and print annotations of the cases that failed",
    )
    command.set_defaults(run=report)


def report(options: argparse.Namespace) -> int:
    """Merge the given results and write the page, and what else was asked for."""
    from parity.results.merge import merge
    from parity.terminal.github import summary_file, tell_github
    from reports.render import write_report

    if options.github:
        summary_file()
    merged = merge(options.results, _gate(options))
    out = options.out or merged.first.parent / "report.html"
    try:
        write_report(merged.run, merged.folder, out, max_bytes=options.max_size)
    except OSError as error:
        raise UsageError(cannot_write(out, error)) from None
    print(out)
    _write_for_ci(merged, out, options)
    if options.github:
        tell_github(merged.run, merged.folder, sys.stdout)
    for missing in merged.run.missing:
        print(f"parity: {missing}", file=sys.stderr)
    return 3 if merged.run.missing else 0


def _gate(options: argparse.Namespace) -> RunGate | None:
    """The baselines that decide anew; None: the results stay as the run judged them."""
    if options.baselines is None:
        return None
    from parity.baselines.in_run import RunGate
    from parity.baselines.noise import Noise

    return RunGate.read(options.baselines, Noise(psnr=options.noise_psnr, ssim=options.noise_ssim))


def _write_for_ci(merged: Merged, page: Path, options: argparse.Namespace) -> None:
    """Write the summary, the comment and the JUnit report that were asked for."""
    from parity.terminal.github import workspace
    from pipelines.files.content import write_atomically
    from reports.github import comment, summary
    from reports.junit import junit

    run, folder = merged.run, merged.folder
    writers: dict[str, Callable[[], bytes]] = {
        "summary": lambda: summary(run, folder, workspace=workspace()).encode(),
        "comment": lambda: comment(run, folder, workspace=workspace()).encode(),
        "junit": lambda: junit(run, page),
    }
    for option, content in writers.items():
        path: Path | None = getattr(options, option)
        if path is None:
            continue
        try:
            write_atomically(path, content())
        except OSError as error:
            raise UsageError(cannot_write(f"--{option} {path}", error)) from None
