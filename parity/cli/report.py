"""`parity report`: render results.json as one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from parity.cli.options import add_max_size
from pipelines.errors import UsageError
from pipelines.files.words import cannot_write


def add(parsers: Any) -> None:
    """Add `parity report`."""
    command = parsers.add_parser(
        "report",
        help="render results.json as one HTML file",
        description="Renders results.json as one self-contained HTML file. Several (matrix jobs, shards) are merged "
        "into one report.",
        epilog="examples:\n  parity report reports/out/2026-11-30_090000\n"
        "  parity report shard-1 shard-2 --out report.html --summary summary.md\n",
    )
    command.add_argument(
        "results", nargs="+", type=Path, metavar="RESULTS", help="results.json, or the folder it is in"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside the first results.json")
    add_max_size(command.add_argument)
    command.add_argument("--summary", type=Path, metavar="FILE", help="also write a summary in Markdown")
    command.add_argument(
        "--github",
        action="store_true",
        help="also append that summary to $GITHUB_STEP_SUMMARY and print annotations of the cases that failed",
    )
    command.set_defaults(run=report)


def report(options: argparse.Namespace) -> int:
    """Merge the given results and write the page, and the summaries asked for."""
    from parity.results.merge import merge
    from parity.terminal.github import summary_file, tell_github, write_summary
    from reports.render import write_report

    if options.github:
        summary_file()
    merged = merge(options.results)
    out = options.out or merged.first.parent / "report.html"
    try:
        write_report(merged.run, merged.folder, out, max_bytes=options.max_size)
    except OSError as error:
        raise UsageError(cannot_write(out, error)) from None
    print(out)
    if options.summary is not None:
        write_summary(merged.run, merged.folder, options.summary)
    if options.github:
        tell_github(merged.run, merged.folder, sys.stdout)
    return 0
