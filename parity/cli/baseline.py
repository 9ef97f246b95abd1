"""`parity baseline accept|check|show|undo`: compare a run with accepted results, or accept it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_kept_stills, add_noise, add_results
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from parity.baselines.gate import Gate
    from parity.baselines.sources import SourcedCase
    from parity.baselines.store import Store

_EXIT_CODES = """\
exit codes:
  0  check: every case is unchanged or improved
     accept: everything asked for was accepted
  1  check: a case failed; accept --all: some were left out
  2  bad usage, or a file that cannot be read; nothing was written
"""


def add(parsers: Any) -> None:
    """Add `parity baseline accept|check|show|undo`."""
    baseline = parsers.add_parser(
        "baseline",
        help="compare a run with accepted results, or accept it",
        description="A baseline is the output of a case that a person last accepted: one JSON file per case and a few "
        "small pictures, kept in the repository.",
        epilog="examples:\n  parity baseline accept --all\n  parity baseline check\n  parity baseline show\n"
        "  parity baseline undo\n\n" + _EXIT_CODES,
    )
    actions = baseline.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_accept(actions)
    _add_check(actions)
    command = actions.add_parser(
        "show",
        help="list the baselines",
        description="Lists the accepted results: hash of the file, metrics, when and where they were generated.",
        epilog="examples:\n  parity baseline show\n  parity baseline show t2v-guitar --baselines ci/baselines\n",
    )
    command.add_argument("cases", nargs="*", metavar="CASE", help="case ids (default: all)")
    _add_folder(command)
    command.add_argument("--json", action="store_true", help="print the baselines as JSON")
    command.set_defaults(run=show)
    command = actions.add_parser(
        "undo",
        help="undo the last accept",
        description="Restores the baselines that the last accept replaced, and removes those that it added.",
        epilog="examples:\n  parity baseline undo --dry-run\n  parity baseline undo\n",
    )
    _add_folder(command)
    command.add_argument("--dry-run", action="store_true", help="show what would be restored, change nothing")
    command.add_argument("--json", action="store_true", help="print what is restored as JSON")
    command.set_defaults(run=undo)


def _add_accept(actions: Any) -> None:
    command = actions.add_parser(
        "accept",
        help="accept the current output as the baseline",
        description="Makes results the baselines of their cases. Prints what will change before anything is written; "
        "without CASE, --all or --from it only prints.",
        epilog="examples:\n  parity baseline accept\n  parity baseline accept t2v-guitar 'i2v-*'\n"
        "  parity baseline accept --all --dry-run\n  parity baseline accept --from approvals.json\n\n" + _EXIT_CODES,
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("cases", nargs="*", default=[], metavar="CASE", help="case ids, or patterns: 'tiny_*'")
    which.add_argument(
        "--all", action="store_true", help="every case with the expected outcome; drifted cases must be named"
    )
    which.add_argument(
        "--from", dest="approvals", type=Path, metavar="FILE", help="approvals exported from the HTML report"
    )
    add_kept_stills(command.add_argument)
    command.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")
    command.add_argument("--json", action="store_true", help="print what changes as JSON")
    add_results(command)
    _add_folder(command)
    command.set_defaults(run=accept)


def _add_check(actions: Any) -> None:
    command = actions.add_parser(
        "check",
        help="fail cases whose output changed, got worse or has no baseline",
        description="Compares every case of a run with its baseline. In an equal environment (device, versions, "
        "flags) the output must be bit-identical. In a different one the recipe, size and frame count must be equal, "
        "and the metrics within the noise between environments.",
        epilog="examples:\n  parity baseline check\n  parity baseline check t2v-guitar --results ci/results.json\n"
        "  parity baseline check --noise-psnr 44 --json\n\n" + _EXIT_CODES,
    )
    command.add_argument("cases", nargs="*", metavar="CASE", help="case ids (default: all cases of the run)")
    add_results(command)
    _add_folder(command)
    add_noise(command.add_argument, "--noise")
    command.add_argument("--json", action="store_true", help="print the outcome as JSON")
    command.set_defaults(run=check)


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("--baselines", type=Path, metavar="DIR", help="default: baselines")


def _store(options: argparse.Namespace) -> Store:
    from parity.baselines.store import DEFAULT, Store

    return Store(options.baselines or DEFAULT)


def _existing(options: argparse.Namespace) -> Store:
    """The folder of baselines, which must exist: with a misspelt name, every baseline would look lost."""
    store = _store(options)
    if not store.exists():
        raise UsageError(f"folder of baselines not found: {store.folder}; `parity baseline accept` creates it")
    return store


def _warn_of_leftover(store: Store) -> None:
    leftover = store.leftover()
    if leftover is not None:
        print(f"parity: {leftover}", file=sys.stderr)


def accept(options: argparse.Namespace) -> int:
    from parity.baselines.accept import choose, propose
    from parity.baselines.accept_smoke import choose_smoke, propose_smoke
    from parity.baselines.approvals import results_of
    from parity.baselines.file import to_text
    from parity.baselines.smoke import FOLDER, read_all
    from parity.baselines.smoke import to_text as smoke_text
    from parity.baselines.sources import cases_of, read_sources
    from parity.baselines.store import Store
    from parity.terminal.as_json import accept_json
    from parity.terminal.baselines import proposals_text, sources_text

    by_default = isinstance(options.results, tuple)  # given ones are a list
    elsewhere = by_default or not any(path.exists() for path in options.results)  # as of another machine
    viewed = results_of(options.approvals, options.results) if options.approvals and elsewhere else []
    results = viewed or options.results
    sources = read_sources(results)
    store = _store(options)
    _warn_of_leftover(store)
    baselines, broken = store.read_what_can_be()
    found = cases_of(sources)
    smoked = [item for item in found if item.result.smoke is not None] if options.approvals is None else []
    smoke_store = Store(store.folder / FOLDER)
    known = read_all(store.folder)
    smoke_chosen, smoke_left_out = choose_smoke(smoked, options.cases, known)
    smokes = propose_smoke(smoke_chosen, known)
    ids = [item.result.id for item in smoke_chosen]
    names = [name for name in options.cases if not fnmatch.filter(ids, name)]
    whole = [item for item in found if item.result.smoke is None]
    chosen, left_out = choose(whole, names, options.approvals, baselines) if whole or names else ([], [])
    if options.cases and not names:
        chosen, left_out = [], []
    left_out = [*left_out, *smoke_left_out]
    proposals = propose(chosen, baselines, broken, stills=options.stills, folder=store.folder)
    changed = [item for item in proposals if item.kind != "unchanged"]
    texts = {item.baseline.case: to_text(item.baseline) for item in changed}
    smoke_texts = {item.baseline.case: smoke_text(item.baseline) for item in smokes if item.kind != "unchanged"}
    asked = bool(options.cases or options.all or options.approvals)
    if not options.json:
        print(sources_text(sources))
        print(proposals_text(proposals, left_out, smokes))
    if asked and not options.dry_run:
        store.clean()
        if texts:
            store.replace(texts, {item.baseline.case: item.stills for item in changed})
        smoke_store.clean()
        if smoke_texts:
            smoke_store.replace(smoke_texts)
    if options.json:
        written = [*texts, *smoke_texts] if asked and not options.dry_run else []
        print(accept_json(store.folder, proposals, left_out, written, smokes))
    if not asked:
        raise UsageError("nothing was accepted: name the cases, or pass --all or --from approvals.json")
    if not options.json:
        if chosen or not smokes:
            print(_outcome(len(texts), store, chosen, dry_run=options.dry_run))
        if smokes:
            print(_outcome(len(smoke_texts), smoke_store, smoke_chosen, dry_run=options.dry_run))
    return 1 if left_out else 0


def _outcome(count: int, store: Store, chosen: Sequence[SourcedCase], *, dry_run: bool) -> str:
    """What accepting has written, and the next command."""
    from parity.results.next_steps import run_command

    if dry_run:
        return f"{count} would be written to {store.folder}; nothing was written (--dry-run)"
    smokes = [item.result.smoke for item in chosen if item.result.smoke is not None]
    undo = shlex.join(("parity", "baseline", "undo", *(("--baselines", str(store.folder)) if smokes else ())))
    written = f"{count} written to {store.folder}; review and commit them, or undo: {undo}"
    files = [Path(item.result.case_file) for item in chosen]
    more = ("--blocks", ",".join(map(str, smokes[0].blocks))) if smokes else ()
    folder = store.folder.parent if smokes else store.folder
    then = run_command(files, *more, "--baselines", str(folder))
    return f"{written if count else 'nothing to write'}\nnext: {then}"


def check(options: argparse.Namespace) -> int:
    from parity.baselines.gate import check_all
    from parity.baselines.noise import Noise
    from parity.baselines.smoke import read_all
    from parity.baselines.sources import read_sources
    from parity.baselines.stills import damage
    from parity.terminal.baselines import gate_text, sources_text

    sources = read_sources(options.results)
    store = _existing(options)
    _warn_of_leftover(store)
    noise = Noise(psnr=options.noise_psnr, ssim=options.noise_ssim)
    baselines = store.read_all()
    gate = check_all(sources, baselines, noise, options.cases, read_all(store.folder))
    for item in gate.cases:
        for problem in damage(baselines[item.case], store.folder) if item.case in baselines else ():
            print(f"parity: {problem}; the check needs no pictures", file=sys.stderr)
    if options.json:
        print(sources_text(sources), file=sys.stderr)
        print(json.dumps(_json(gate, options), indent=1, ensure_ascii=False))
    else:
        print(sources_text(sources))
        print(gate_text(gate, options.baselines))
    return 1 if gate.failed else 0


def _json(gate: Gate, options: argparse.Namespace) -> dict[str, object]:
    from dataclasses import asdict

    from parity.results.next_steps import accept_command

    cases = []
    for item in gate.cases:
        path = None if item.source is None else item.source.path
        acceptable = item.check.acceptable and path is not None
        cases.append(
            {"case": item.case}
            | asdict(item.check)
            | {
                "failed": item.check.failed,
                "results": None if path is None else str(path),
                "accept": accept_command([item.case], path, options.baselines) if acceptable and path else None,
            }
        )
    unfinished = [str(path) for path in gate.unfinished]
    return {
        "failed": gate.failed,
        "cases": cases,
        "unused": gate.unused,
        "unfinished": unfinished,
        "missing": gate.missing,
    }


def show(options: argparse.Namespace) -> int:
    from parity.baselines.file import to_text
    from parity.terminal.as_json import json_text
    from parity.terminal.baselines import baselines_text
    from pipelines.files.words import did_you_mean

    store = _existing(options)
    _warn_of_leftover(store)
    baselines = store.read_all()
    for name in options.cases:
        if name not in baselines:
            raise UsageError(f"{name}: no baseline in {store.folder}{did_you_mean(name, list(baselines))}")
    shown = [item for name, item in sorted(baselines.items()) if not options.cases or name in options.cases]
    if options.json:
        print(json_text(folder=store.folder, baselines=[json.loads(to_text(item)) for item in shown]))
        return 0
    print(baselines_text(shown) if shown else f"{store.folder}: no baselines")
    return 0


def undo(options: argparse.Namespace) -> int:
    from parity.terminal.as_json import json_text

    store = _existing(options)
    _warn_of_leftover(store)
    leftover = store.leftover()
    if not options.dry_run:
        store.clean()
    nothing = leftover is not None and not leftover.placed
    change = None if nothing else store.last_change() if options.dry_run else store.undo()
    restored, removed = ([], []) if change is None else (change.replaced, change.new)
    if options.json:
        print(json_text(folder=store.folder, dry_run=options.dry_run, restored=restored, removed=removed))
        return 0
    if nothing:
        print("nothing to undo: the last accept replaced nothing; `parity baseline undo` again undoes the one before")
    would = "would be " if options.dry_run else ""
    for name in restored:
        print(f"{store.folder / name}: {would}restored")
    for name in removed:
        print(f"{store.folder / name}: {would}removed (it was new)")
    return 0
