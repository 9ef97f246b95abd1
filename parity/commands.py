"""What each subcommand of `parity` does. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError


def _selected(options: argparse.Namespace) -> list[Any]:
    from parity.case import find_case_files, load_cases
    from parity.select import select

    return select(load_cases(find_case_files(options.cases)), options.k, options.tag)


def run(options: argparse.Namespace) -> int:
    from parity.terminal.progress import Bar
    from parity.terminal.text import count_of, summary

    cases = _selected(options)
    from parity.runner import Options, Session, Thoroughness, default_out, in_loading_order

    out = options.out or default_out()
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
        from reports.render import write_report

        written.append(out / "report.html")
        write_report(run, out, written[-1])
    print("\n".join(str(path) for path in written), file=sys.stderr if options.json else sys.stdout)
    if interrupted:
        raise KeyboardInterrupt
    return run.exit_code


def selftest(options: argparse.Namespace) -> int:
    from parity.terminal.selftest import print_selftest

    kinds = options.kind or ["t2v", "i2v"]
    return print_selftest(
        kinds,
        options.combinations,
        diagnose=not options.only_search,
        search=not options.no_search,
        device=options.device,
    )


def explain(options: argparse.Namespace) -> int:
    from parity.factors import CATALOGUE, PAGES, explain
    from parity.terminal.text import table

    if options.factor is not None:
        print(explain(options.factor), end="")
        return 0
    rows = [(name, CATALOGUE[name].note if name in CATALOGUE else "equal recipes, other bits") for name in PAGES]
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
    from parity.findings import find_differences
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
            "findings": [asdict(finding) for finding in find_differences(case.preview, case.inference)],
            "expect": case.expect,
        }
        for case in cases
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0


def report(options: argparse.Namespace) -> int:
    import dataclasses

    from parity.result import from_json
    from reports.render import write_report

    paths = [path / "results.json" if path.is_dir() else path for path in options.results]
    runs = []
    for path in paths:
        try:
            runs.append(from_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    folder = Path(os.path.commonpath([path.parent.resolve() for path in paths]))
    cases = [
        dataclasses.replace(
            case,
            artifacts={
                name: (path.parent.resolve() / value).relative_to(folder).as_posix()
                for name, value in case.artifacts.items()
            },
        )
        for path, run in zip(paths, runs, strict=True)
        for case in run.cases
    ]
    out = options.out or paths[0].parent / "report.html"
    write_report(dataclasses.replace(runs[0], cases=tuple(cases)), folder, out)
    print(out)
    return 0


def models(_: argparse.Namespace) -> int:
    from pipelines.catalog import MODELS

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
