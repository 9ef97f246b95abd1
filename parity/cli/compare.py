"""`parity compare`: two video files, with nothing else known."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from parity.cli.options import add_max_size
from pipelines.files.words import did_you_mean

METRICS = ("lpips", "vmaf")
"""The metrics that can be asked for; PSNR and SSIM are always measured, LPIPS on the worst frames of a long video."""


def add(parsers: Any) -> None:
    """Add `parity compare`."""
    command = parsers.add_parser(
        "compare",
        help="compare two video files: the same video, a changed one, or another?",
        description="Compares two videos with nothing else known: no config, no checkpoint, nothing is generated. Says "
        "whether B is A, A changed (late, reversed, at another rate, frozen, cropped, padded, resized, mirrored, "
        "washed out, another gamma, …), or another video; then how far apart they are and what their codecs cost. "
        "A change is named only if it is clearly better than none.",
        epilog="examples:\n  parity compare preview.webp comfyui.mp4\n"
        "  parity compare preview.webp comfyui.mp4 --out compared\n"
        "  parity compare frames/ video.webm --metrics vmaf --json\n\n"
        "A and B: webp, mp4, webm, mov, mkv, avi, gif, png, apng, jpg, or a folder of PNG frames in the order of their "
        "names.\n\n"
        "exit codes:\n  0  the same video: identical, or as far apart as re-encoding alone\n  1  not the same\n"
        "  2  bad usage\n  3  a file cannot be read\n",
    )
    command.add_argument("a", type=Path, metavar="A", help="the video to compare with, such as the preview")
    command.add_argument("b", type=Path, metavar="B", help="the other video")
    command.add_argument(
        "--metrics",
        type=_metrics,
        default=(),
        metavar="NAMES",
        help=f"also measure these on every frame: {', '.join(METRICS)} (comma-separated)",
    )
    output = command.add_argument_group("output")
    output.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html, comparison.json and the frames (default: nothing)"
    )
    output.add_argument("--json", action="store_true", help="print comparison.json to stdout")
    add_max_size(output.add_argument)
    command.set_defaults(run=compare)


def _metrics(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in METRICS:
            raise argparse.ArgumentTypeError(f"unknown metric {name!r}{did_you_mean(name, list(METRICS))}")
    return names


def compare(options: argparse.Namespace) -> int:
    """Compare, print the answer first, and write the page if it was asked for."""
    from parity.pair.compare import compare_files
    from parity.pair.folder import check_folder, write_pair
    from parity.results.pair import pair_json
    from parity.terminal.pair import pair_text

    if options.out is not None:
        check_folder(options.out)
    with _Told() as told:
        compared = compare_files(options.a, options.b, options.metrics, told.tell)
    result = compared.result
    written = [] if options.out is None else [write_pair(compared, options.out), _write_page(compared, options)]
    print(pair_json(result) if options.json else pair_text(result))
    for path in written:
        print(path, file=sys.stderr if options.json else sys.stdout)
    return result.exit_code


def _write_page(compared: Any, options: argparse.Namespace) -> Path:
    from parity.pair.folder import STILLS
    from pipelines.errors import MediaError
    from pipelines.files.words import cannot_write
    from reports.pair import write_pair_report

    page: Path = options.out / "report.html"
    try:
        write_pair_report(compared.result, options.out, page, stills=STILLS, max_bytes=options.max_size)
    except OSError as error:
        raise MediaError(cannot_write(page, error)) from None
    return page


class _Told:
    """Says on stderr what is being done: on a terminal in one line that is replaced, elsewhere if it takes long."""

    def __init__(self) -> None:
        from parity.terminal.heartbeat import EVERY_S, Heartbeat
        from parity.terminal.live import LiveLine

        self._line = LiveLine()
        self._text = "reading"
        self._heartbeat = Heartbeat(lambda: f"still {self._text}", self._write, None if self._line.live else EVERY_S)

    def __enter__(self) -> _Told:
        self._heartbeat.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._heartbeat.stop()
        self._line.clear()

    def tell(self, text: str) -> None:
        """What is being done now."""
        self._text = text
        self._line.show(f"{text} …")

    @staticmethod
    def _write(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
