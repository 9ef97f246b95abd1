"""What each subcommand of `parity` does. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.remote.target import NOTHING_GIVEN
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from parity.result import Run


_BEYOND_RECIPES = {
    "environment": "equal recipes, other bits",
    "broken_output": "what was drawn is no video: NaN, black or frozen",
}


def _selected(options: argparse.Namespace) -> list[Any]:
    from parity.arguments import given_target
    from parity.case import find_case_files, load_cases
    from parity.select import select

    given = given_target(vars(options).__getitem__) if hasattr(options, "target") else NOTHING_GIVEN
    return select(load_cases(find_case_files(options.cases), given), options.k, options.tag)


def run(options: argparse.Namespace) -> int:
    from parity.terminal.progress import Bar
    from parity.terminal.text import count_of, summary

    cases = _selected(options)
    from parity.cache import default_root
    from parity.outdir import default_out, last_results, write_page
    from parity.runner import Options, Session, Thoroughness, in_loading_order

    out = options.out or (last_results().parent if options.resume else default_out())
    _check_writable(out)
    print(f"loading {count_of(len(cases))} …", file=sys.stderr, flush=True)
    thoroughly: Thoroughness | None = None if options.search or options.run_only else "full"
    settings = Options(
        out=out,
        device=options.device,
        offload=options.offload,
        command=("parity", *sys.argv[1:]),
        diagnose=options.diagnose or thoroughly,
        search=options.search,
        budget=options.budget,
        cache=None if options.no_cache else default_root(),
        resume=options.resume,
        repeat=options.repeat,
        timeout=options.timeout,
    )
    interrupted = False
    with Session(settings) as session:
        bar = Bar(len(cases))
        try:
            for case in in_loading_order(cases):
                session.run_case(case, bar)
            run = session.finish([case.id for case in cases])
        except KeyboardInterrupt:
            interrupted, run = True, session.run
    if options.json:
        print(session.results_path.read_text(encoding="utf-8"))
    print(summary(run), file=sys.stderr)
    written = [session.results_path]
    if not options.no_html:
        written.append(write_page(run, out, options.max_size))
    print("\n".join(str(path) for path in written), file=sys.stderr if options.json else sys.stdout)
    _tell_github(run, out, options)
    if interrupted:
        raise KeyboardInterrupt
    return run.exit_code


def _tell_github(run: Run, out: Path, options: argparse.Namespace) -> None:
    """In a step of GitHub Actions. A summary that cannot be written leaves results and exit code as they are."""
    from parity.github import in_github, tell_github

    if not in_github():
        return
    try:
        tell_github(run, out, sys.stderr if options.json else sys.stdout)
    except UsageError as error:
        print(f"parity: {error}", file=sys.stderr)


def selftest(options: argparse.Namespace) -> int:
    from parity.selftest.planted import KINDS
    from parity.terminal.selftest import print_selftest

    return print_selftest(
        options.kind or KINDS,
        options.combinations,
        diagnose=not options.only_search,
        search=not options.no_search,
        device=options.device,
    )


def cache_list(_: argparse.Namespace) -> int:
    from parity.cache import Cache, default_root
    from parity.terminal.cache import cache_text

    root = default_root()
    print(cache_text(root, Cache(root).entries() if root is not None else []))
    return 0


def cache_prune(options: argparse.Namespace) -> int:
    from parity.cache import Cache, default_root
    from parity.terminal.cache import cache_text

    if options.older_than is None and options.max_size is None:
        raise UsageError("cache prune: say what may go, --older-than DAYS or --max-size MB")
    root = default_root()
    cache = Cache(root) if root is not None else None
    removed = cache.prune(older_than=options.older_than, max_bytes=options.max_size) if cache is not None else []
    print(f"{len(removed)} removed")
    print(cache_text(root, cache.entries() if cache is not None else []))
    return 0


def explain(options: argparse.Namespace) -> int:
    from parity.factors import CATALOGUE, PAGES, explain
    from parity.terminal.text import table

    if options.factor is not None:
        print(explain(options.factor), end="")
        return 0
    rows = [(name, CATALOGUE[name].note if name in CATALOGUE else _BEYOND_RECIPES[name]) for name in PAGES]
    print(table(rows, indent=""))
    return 0


def _check_writable(folder: Path) -> None:
    """Before minutes of work: can the results be written?"""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written: {error.strerror}") from None


def plan(options: argparse.Namespace) -> int:
    from parity.findings import known_differences
    from parity.terminal.text import plan_text
    from pipelines.recipe import to_dict

    cases = _selected(options)
    if not options.json:
        print("\n\n".join(plan_text(case) for case in cases))
        return 0
    from dataclasses import asdict

    rows = [
        {
            "id": case.id,
            "recipes": {"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
            "findings": [asdict(finding) for finding in known_differences(case)],
            "expect": case.expect,
            "target": case.target.url if case.target is not None else None,
        }
        for case in cases
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0


def import_job(options: argparse.Namespace) -> int:
    from parity.importing.case_files import default_out, plan_case_files, write_case_files
    from parity.importing.folder import UnsupportedModelError, Wanted, read_job_folder
    from parity.terminal.jobs import import_text, unsupported_text

    wanted = Wanted(
        step=options.step,
        prompts=tuple(options.prompt),
        model=options.model,
        checkpoint=options.checkpoint,
        toolkit=options.toolkit,
        pipeline=options.pipeline,
        expect=options.expect,
    )
    try:
        read_in = read_job_folder(options.job, wanted)
    except UnsupportedModelError as error:
        print(unsupported_text(error.table))
        raise
    except OSError as error:
        raise UsageError(f"{error.filename or options.job}: cannot be read: {error.strerror or error}") from None
    out = options.out or default_out(read_in.job.name)
    files = plan_case_files(read_in, out)
    if not options.dry_run:
        write_case_files(files)
    print(import_text(read_in, files, out, options.dry_run))
    return 0


def report(options: argparse.Namespace) -> int:
    from parity.github import summary_file, tell_github, write_summary
    from parity.merge import merge
    from reports.render import write_report

    if options.github:
        summary_file()
    merged = merge(options.results)
    out = options.out or merged.first.parent / "report.html"
    try:
        write_report(merged.run, merged.folder, out, max_bytes=options.max_size)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
    print(out)
    if options.summary is not None:
        write_summary(merged.run, merged.folder, options.summary)
    if options.github:
        tell_github(merged.run, merged.folder, sys.stdout)
    return 0


def models(options: argparse.Namespace) -> int:
    from pipelines.catalog import MODELS, find_model

    if options.model is not None:
        from parity.model_page import page

        print(page(find_model(options.model)), end="")
        return 0
    for model in MODELS.values():
        print(f"{model.id}  {model.title}")
        for name, value in model.quick_facts().items():
            print(f"  {name:22}{value}")
    return 0


def schema(options: argparse.Namespace) -> int:
    from pydantic import TypeAdapter

    from parity.case_file import CaseKeys
    from parity.result import Run
    from pipelines.request import Request

    schema = {"case": CaseKeys, "request": Request, "result": Run}[options.name]
    print(json.dumps(TypeAdapter(schema).json_schema(), indent=2))
    return 0


def fetch_lpips(_: argparse.Namespace) -> int:
    from parity.metrics import fetch_lpips

    try:
        print(fetch_lpips())
    except OSError as error:
        raise UsageError(f"the AlexNet weights could not be downloaded: {error}") from None
    return 0
