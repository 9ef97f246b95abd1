"""The `parity` command. Heavy modules are imported by the subcommand that needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import ParityError, UsageError

_EXIT_CODES = """\
exit codes:
  0  every case as expected
  1  a case drifted or a gate failed
  2  bad usage or a bad case file; nothing was run
  3  a case could not be run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code; a user's mistake is one message on stderr, never a traceback."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except ParityError as error:
        print(f"parity: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("parity: stopped; what was known by then is in results.json", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parity",
        description="Does your Wan inference draw what ai-toolkit's preview showed? If not: why?",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_diagnose(commands)
    _add_plan(commands)
    report = commands.add_parser("report", help="render results.json as one HTML file")
    report.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json, or the folder it is in")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside the first results.json")
    report.set_defaults(run=_report)
    models = commands.add_parser("models", help="the API's Wan models and their defaults")
    models.set_defaults(run=_models)
    explain = commands.add_parser("explain", help="what a factor is, what it looks like, what to change")
    explain.add_argument("factor", nargs="?", metavar="FACTOR", help="without one: a list of all")
    explain.set_defaults(run=_explain)
    schema = commands.add_parser("schema", help="JSON Schema of case files, requests or results.json")
    schema.add_argument("name", choices=("case", "request", "result"))
    schema.set_defaults(run=_schema)
    fetch = commands.add_parser("fetch-lpips", help="download the AlexNet weights that LPIPS needs, once")
    fetch.set_defaults(run=_fetch_lpips)
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="draw every case's request and hold it against the preview",
        description="Draws every case's request with the real diffusers pipeline and holds it against the preview. "
        "Without CASES the embedded demo runs.",
        epilog="examples:\n  parity run\n  parity run cases/ -k 'guitar and not faithful'\n"
        "  parity run my_case.yaml --device cuda:0 --offload model\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_selection(run)
    run.add_argument("--diagnose", action="store_const", const="full", help="find out why, for every case (slow)")
    _add_running(run)
    run.set_defaults(run=_run, run_only=True, search=False, budget=None)


def _add_diagnose(commands: Any) -> None:
    diagnose = commands.add_parser(
        "diagnose",
        help="find out why a case drifted: what each factor costs, and what restores the preview",
        description="Draws counterfactuals: the request with one factor put right (gain), the preview's recipe with "
        "one factor made wrong (loss), and both ends. Says what each factor costs, the smallest set that restores the "
        "preview, where the two drawings part, and what is left. k factors take 2k + 2 generations at most; the plan "
        "is printed before the first.",
        epilog="examples:\n  parity diagnose my_case.yaml\n  parity diagnose my_case.yaml --quick\n"
        "  parity diagnose my_case.yaml --gains --budget 5\n  parity diagnose my_case.yaml --search\n\n"
        "Ctrl-C prints what is known by then and leaves it in results.json.\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_selection(diagnose)
    how = diagnose.add_mutually_exclusive_group()
    how.add_argument(
        "--quick",
        dest="diagnose",
        action="store_const",
        const="quick",
        help="only rank the factors: few steps, latents alone, two generations at most",
    )
    how.add_argument(
        "--gains", dest="diagnose", action="store_const", const="gains", help="no losses: k + 2 generations at most"
    )
    how.add_argument(
        "--search",
        action="store_true",
        help="the config is missing or wrong: look for the settings that drew the preview, in its pixels",
    )
    diagnose.add_argument(
        "--budget", type=_budget, metavar="N", help="generations to spend on a case (default: what the plan says)"
    )
    _add_running(diagnose)
    diagnose.set_defaults(run=_run, run_only=False)


def _budget(text: str) -> float:
    """At least both ends, or there is nothing to say."""
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 generation, is {text}")
    return value


def _add_running(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, metavar="DIR", help="default: reports/out/<start time>")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    command.add_argument(
        "--offload",
        choices=("none", "model", "sequential"),
        default="none",
        help="keep weights in CPU memory: a model or a layer at a time on the GPU (default: none)",
    )
    command.add_argument("--json", action="store_true", help="print results.json to stdout")
    command.add_argument("--no-html", action="store_true", help="write no report.html")


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="show both recipes of every case and where they differ; runs no model",
        description="Shows both recipes, asked and applied, and names the factors in which they differ. Runs no model.",
    )
    _add_selection(plan)
    plan.add_argument("--json", action="store_true", help="print recipes and findings as JSON")
    plan.set_defaults(run=_plan)


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument("cases", nargs="*", type=Path, metavar="CASES", help="case files, or folders of *.yaml")
    command.add_argument("-k", metavar="EXPR", help="only cases whose id or tags match: words, and, or, not, ( )")
    command.add_argument(
        "--tag", action="append", default=[], help="only cases with this tag (repeatable: any of them)"
    )


def _selected(options: argparse.Namespace) -> list[Any]:
    from parity.case import find_case_files, load_cases
    from parity.select import select

    return select(load_cases(find_case_files(options.cases)), options.k, options.tag)


def _run(options: argparse.Namespace) -> int:
    from parity.terminal import Bar, count_of, summary

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


def _explain(options: argparse.Namespace) -> int:
    from parity.factors import CATALOGUE, PAGES, explain
    from parity.terminal import table

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


def _plan(options: argparse.Namespace) -> int:
    from parity.findings import find_differences
    from parity.terminal import plan_text
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


def _report(options: argparse.Namespace) -> int:
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


def _models(_: argparse.Namespace) -> int:
    from pipelines.catalog import MODELS

    for model in MODELS.values():
        print(f"{model.id}  {model.title}")
        for name, value in model.quick_facts().items():
            print(f"  {name:22}{value}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from pydantic import TypeAdapter

    from parity.case_file import CaseKeys
    from parity.result import Run
    from pipelines.request import Request

    schema = {"case": CaseKeys, "request": Request, "result": Run}[options.name]
    print(json.dumps(TypeAdapter(schema).json_schema(), indent=2))
    return 0


def _fetch_lpips(_: argparse.Namespace) -> int:
    from parity.metrics import fetch_lpips

    try:
        print(fetch_lpips())
    except OSError as error:
        raise UsageError(f"the AlexNet weights could not be downloaded: {error}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
