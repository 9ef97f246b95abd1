"""`parity fetch`: download what cases need before they run."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_shard
from parity.cli.selection import add_selection, in_part, part_of
from parity.run import interrupt
from parity.run.task import Task
from pipelines.errors import ParityError
from pipelines.files.words import plural

if TYPE_CHECKING:
    from parity.cost.downloads import Download, Need
    from parity.cost.fetching import Arrived


def add(parsers: Any) -> None:
    """Add `parity fetch`, and `fetch-lpips`, which old scripts call."""
    command = parsers.add_parser(
        "fetch",
        help="download the weights that cases need, before they run",
        description="Downloads from the Hub all that the selected cases need and that is not on this machine, one "
        "repository after another: the checkpoints of request and preview, text encoders and VAEs from elsewhere, "
        "accuracy recovery adapters. It says the sizes and checks the disk first. After an interruption, run it "
        "again: complete files are kept. Weights go into the Hub's cache ($HF_HOME/hub), a token comes from $HF_TOKEN.",
        epilog="examples:\n  parity fetch cases/\n  parity fetch cases/ -k t2v --dry-run\n"
        "  parity fetch cases/ --shard 2/4\n\n"
        "exit codes:\n  0  all of it is on this machine, or would be (--dry-run)\n"
        "  2  bad usage or a bad case file; nothing was downloaded\n"
        "  3  something could not be downloaded; everything else was\n",
    )
    add_selection(command)
    add_shard(command.add_argument)
    command.add_argument("--dry-run", action="store_true", help="only say what would be downloaded")
    command.add_argument("--lpips", action="store_true", help="nothing: the weights of LPIPS are installed by pip")
    command.add_argument("--json", action="store_true", help="print what was downloaded, and what was not, as JSON")
    command.set_defaults(run=fetch)
    old = parsers.add_parser(
        "fetch-lpips",
        description="Says where the weights of LPIPS are: pip installs them now.",
        epilog="examples:\n  parity fetch-lpips\n",
    )
    old.set_defaults(run=fetch, cases=[], k=None, tag=[], shard=None, balance=(), dry_run=False, lpips=True, json=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of one source."""

    source: str
    bytes: int
    basis: str
    """cached, hub (sizes by the Hub) or estimate."""
    state: str
    """here: it was on this machine. fetched, planned (--dry-run), or failed."""
    folder: str | None = None
    error: str | None = None


def fetch(options: argparse.Namespace) -> int:
    """Download what the selected cases need. Returns 3 if some of it could not be had."""
    outcomes: list[_Outcome] = []
    refused: list[str] = []
    only_lpips = options.lpips and options.cases == options.parser.get_default("cases")  # a project may name cases
    try:
        if not only_lpips:
            outcomes, refused = _fetch_weights(options)
        if options.lpips:
            outcomes.append(_lpips())
    except KeyboardInterrupt:
        print("parity: stopped; complete files are kept, the same command downloads the rest", file=sys.stderr)
        return interrupt.exit_code()
    for message in [*refused, *(outcome.error for outcome in outcomes if outcome.error)]:
        print(f"parity: {message}", file=sys.stderr)
    if options.json:
        rows = {"sources": [asdict(outcome) for outcome in outcomes], "refused": refused}
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        print(_summary(outcomes))
    return 3 if refused or any(outcome.state == "failed" for outcome in outcomes) else 0


def _fetch_weights(options: argparse.Namespace) -> tuple[list[_Outcome], list[str]]:
    """Everything from the Hub, and what was refused before it was known what else its cases need."""
    from parity.case.load import find_case_files, load_reachable
    from parity.cost.downloads import adapters_of, downloads, needs_of

    cases, refused = load_reachable(find_case_files(options.cases), expression=options.k, tags=options.tag)
    part = part_of(cases, options.shard, options.balance, Task())
    if not refused:  # without some of the cases all others would be split in another way
        cases = in_part(cases, part)
    here = [case for case in cases if case.target is None]  # a diagnosis of a file needs its weights
    if len(here) < len(cases):
        away = plural(len(cases) - len(here), "case")
        print(f"{away}: generated on a server, nothing is downloaded for them here", file=sys.stderr)
    recipes = [(recipe, case.token) for case in here for recipe in (case.inference, case.preview)]
    needs = [*needs_of((recipe, token) for recipe, token in recipes if not recipe.obstacles), *adapters_of(recipes)]
    sizes = downloads(needs)
    _check_disk(sizes)
    missing = sum(size.basis != "cached" for size in sizes)
    outcomes, number = [], 0
    for need, size in zip(needs, sizes, strict=True):
        number += size.basis != "cached"
        outcomes.append(_fetch_one(need, size, f"[{number}/{missing}]", dry_run=options.dry_run))
    return outcomes, refused


def _check_disk(sizes: list[Download]) -> None:
    """Raise ParityError if the Hub says that more is missing than the disk holds; of an estimate only warn."""
    from parity.cost.estimate import sized
    from parity.cost.machine import disk_free
    from pipelines.downloads import cache_folder

    total, free = sum(size.missing for size in sizes), disk_free(cache_folder())
    if total <= free:
        return
    said = (
        f"{sized(total)} are missing, and {cache_folder()} has {sized(free)} free; remove what is not needed (hf cache "
        "ls, hf cache rm), choose fewer cases (-k, --tag), or set HF_HOME to a folder on a larger disk"
    )
    if all(size.basis != "estimate" for size in sizes):
        raise ParityError(f"nothing was downloaded: {said}")
    print(f"warning: by an estimate {said}", file=sys.stderr)


def _fetch_one(need: Need, size: Download, number: str, *, dry_run: bool) -> _Outcome:
    from parity.cost.estimate import sized
    from parity.cost.fetching import fetch as download
    from pipelines.errors import HubError

    known: dict[str, Any] = {"source": need.place, "bytes": size.missing, "basis": size.basis}
    if size.basis == "cached":
        print(f"{need.place}: is here", file=sys.stderr)
        return _Outcome(**known, state="here")
    about = f"at most about {sized(size.missing)} ({size.why_estimated})" if size.missing else "of unknown size"
    words = sized(size.missing) if size.basis == "hub" else about
    print(f"{number} {need.place}: {words}", file=sys.stderr, flush=True)
    if dry_run:
        return _Outcome(**known, state="planned")
    line = _Line(f"{number} {need.place}")
    try:
        folder = download(need, size.missing if size.basis == "hub" else 0, line.show, line.every)
    except HubError as error:
        return _Outcome(**known, state="failed", error=str(error))
    finally:
        line.close()
    return _Outcome(**known, state="fetched", folder=str(folder))


class _Line:
    """One line of progress: written over on a terminal, a new one every 30 s elsewhere."""

    def __init__(self, head: str) -> None:
        from parity.terminal.live import LiveLine

        self._head, self._line = head, LiveLine()
        self.every = 0.5 if self._line.live else 30.0

    def show(self, arrived: Arrived) -> None:
        if self._line.live:
            self._line.show(f"{self._head}: {arrived}")
        else:
            print(f"{self._head}: {arrived}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._line.clear()


def _lpips() -> _Outcome:
    """The weights of LPIPS, which were downloaded once and come with the package now."""
    from parity.comparison.lpips import weights, why_not

    reason = why_not()
    here: dict[str, Any] = {"source": "LPIPS (AlexNet)", "bytes": 0, "basis": "cached"}
    if reason is not None:
        return _Outcome(**here, state="failed", error=f"LPIPS cannot be measured: {reason}")
    return _Outcome(**here, state="here", folder=str(weights()))


def _summary(outcomes: list[_Outcome]) -> str:
    """A line for each source, then how many of each state."""
    from parity.cost.estimate import sized
    from parity.terminal.text import table

    if not outcomes:
        return "nothing to download: every checkpoint is a folder on this machine"
    words = {"here": "already here", "planned": "to be downloaded", "fetched": "downloaded", "failed": "failed"}
    rows = [(one.source, words[one.state], sized(one.bytes) if one.bytes else "", one.folder or "") for one in outcomes]
    counts = [(state, sum(one.state == state for one in outcomes)) for state in words]
    return f"{table(rows)}\n{', '.join(f'{count} {words[state]}' for state, count in counts if count)}"
