"""The `parity` command: its arguments and exit codes. What each subcommand does is in parity.commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from parity import commands, interrupt
from parity.arguments import add_max_size, add_repeat, add_running, add_tag, add_target, megabytes
from parity.baselines.arguments import add_baseline
from parity.server.arguments import add_serve
from pipelines.errors import ParityError

_IN_GITHUB = """\
In GitHub Actions (GITHUB_ACTIONS is "true" and GITHUB_STEP_SUMMARY is set) the job summary and annotations are written
too; with --json annotations go to stderr.

"""
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
    interrupt.listen()
    try:
        code: int = options.run(options)
        return code
    except ParityError as error:
        print(f"parity: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("parity: stopped; what was known by then is in results.json", file=sys.stderr)
        return interrupt.exit_code()
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
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(parsers)
    _add_diagnose(parsers)
    _add_plan(parsers)
    _add_import(parsers)
    _add_report(parsers)
    add_baseline(parsers)
    add_serve(parsers)
    models = parsers.add_parser("models", help="the API's Wan models and their defaults, or the page of one")
    models.add_argument("model", nargs="?", metavar="ID", help="print the page of this model, in Markdown")
    models.set_defaults(run=commands.models)
    explain = parsers.add_parser("explain", help="what a factor is, what it looks like, what to change")
    explain.add_argument("factor", nargs="?", metavar="FACTOR", help="without one: a list of all")
    explain.set_defaults(run=commands.explain)
    _add_selftest(parsers)
    _add_cache(parsers)
    schema = parsers.add_parser("schema", help="JSON Schema of case files, requests or results.json")
    schema.add_argument("name", choices=("case", "request", "result"))
    schema.set_defaults(run=commands.schema)
    fetch = parsers.add_parser("fetch-lpips", help="download the AlexNet weights that LPIPS needs, once")
    fetch.set_defaults(run=commands.fetch_lpips)
    return parser


def _add_run(parsers: Any) -> None:
    run = parsers.add_parser(
        "run",
        help="draw every case's request and hold it against the preview",
        description="Draws every case's request with the real diffusers pipeline and holds it against the preview. "
        "Without CASES the embedded demo runs.",
        epilog="examples:\n  parity run\n  parity run cases/ -k 'guitar and not faithful'\n"
        "  parity run my_case.yaml --device cuda:0 --offload model\n  parity run my_case.yaml --repeat 3\n"
        "  parity run cases/ --target http://gpu1:8000 --target-lora-root /mnt/output\n\n" + _IN_GITHUB + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_selection(run)
    run.add_argument("--diagnose", action="store_const", const="full", help="find out why, for every case (slow)")
    add_repeat(run.add_argument)
    _add_running(run)
    run.set_defaults(run=commands.run, run_only=True, search=False, budget=None)


def _add_diagnose(parsers: Any) -> None:
    diagnose = parsers.add_parser(
        "diagnose",
        help="find out why a case drifted: what each factor costs, and what restores the preview",
        description="Draws counterfactuals: the request with one factor put right (gain), the preview's recipe with "
        "one factor made wrong (loss), and both ends. Says what each factor costs, the smallest set that restores the "
        "preview, where the two drawings part, and what is left. k factors take 2k + 2 generations at most; the plan "
        "is printed before the first. Of a case on a server (--target) it finds out first what the server did: what is "
        "expected of it is drawn here, and unless that gives its file, its settings are looked for in its pixels.",
        epilog="examples:\n  parity diagnose my_case.yaml\n  parity diagnose my_case.yaml --quick\n"
        "  parity diagnose my_case.yaml --gains --budget 5\n  parity diagnose my_case.yaml --search\n"
        "  parity diagnose my_case.yaml --target http://gpu1:8000\n\n"
        "Ctrl-C prints what is known by then and leaves it in results.json.\n\n" + _IN_GITHUB + _EXIT_CODES,
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
    diagnose.set_defaults(run=commands.run, run_only=False, repeat=None)


def _add_selftest(parsers: Any) -> None:
    selftest = parsers.add_parser(
        "selftest",
        help="plant drift in every factor of the tiny checkpoints and see whether it is found",
        description="Plants every factor that can drift alone and in random combinations of 2 to 5, draws the previews "
        "and asks findings, diagnosis, --quick and --search what was planted. Prints a table; exit code 1 if anything "
        "was missed, named without being planted, or cost more than promised.",
    )
    selftest.add_argument(
        "--kind", choices=("t2v", "i2v", "wan22-t2v", "wan22-i2v"), action="append", help="default: all"
    )
    selftest.add_argument(
        "--combinations", type=int, default=20, metavar="N", help="random combinations a kind (default: 20)"
    )
    selftest.add_argument("--no-search", action="store_true", help="leave --search out")
    selftest.add_argument("--only-search", action="store_true", help="leave diagnosis out")
    selftest.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    selftest.set_defaults(run=commands.selftest)


def _add_cache(parsers: Any) -> None:
    cache = parsers.add_parser(
        "cache",
        help="the drawn frames that are kept, so that unchanged cases are not drawn again",
        description="Drawn frames are kept by the content of recipe, weights, code and libraries, and by the "
        "environment that reaches their bits. They lie in $WAN_PARITY_CACHE, or in wan-parity/frames in the user's "
        "cache folder; set the variable to nothing to keep none.",
    )
    actions = cache.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("ls", help="what is kept, the one used last first")
    listing.set_defaults(run=commands.cache_list)
    prune = actions.add_parser("prune", help="remove what was not used for long, or does not fit")
    prune.add_argument("--older-than", type=_days, metavar="DAYS", help="not used for so many days; 0: everything")
    prune.add_argument("--max-size", type=megabytes, metavar="MB", help="keep at most this much, used last first")
    prune.set_defaults(run=commands.cache_prune)


def _days(text: str) -> timedelta:
    try:
        return timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be a number of days, e.g. 30, is {text!r}") from None


def _budget(text: str) -> float:
    """At least both ends, or there is nothing to say."""
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 generation, is {text}")
    return value


def _add_running(command: argparse.ArgumentParser) -> None:
    add_running(command.add_argument)
    add_target(command.add_argument)
    command.add_argument("--json", action="store_true", help="print results.json to stdout")
    command.add_argument("--no-html", action="store_true", help="write no report.html")
    add_max_size(command.add_argument)


def _add_report(parsers: Any) -> None:
    report = parsers.add_parser(
        "report",
        help="render results.json as one HTML file",
        description="Renders results.json as one self-contained HTML file. Several (matrix jobs, shards) become one "
        "report.",
    )
    report.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json, or the folder it is in")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside the first results.json")
    add_max_size(report.add_argument)
    report.add_argument("--summary", type=Path, metavar="FILE", help="also write a summary in Markdown")
    report.add_argument(
        "--github",
        action="store_true",
        help="also append that summary to $GITHUB_STEP_SUMMARY and print annotations of the cases that failed",
    )
    report.set_defaults(run=commands.report)


def _add_plan(parsers: Any) -> None:
    plan = parsers.add_parser(
        "plan",
        help="show both recipes of every case and where they differ; runs no model",
        description="Shows both recipes, asked and applied, and names the factors in which they differ. Runs no model.",
    )
    _add_selection(plan)
    plan.add_argument("--json", action="store_true", help="print recipes and findings as JSON")
    plan.set_defaults(run=commands.plan)


def _add_import(parsers: Any) -> None:
    imports = parsers.add_parser(
        "import",
        help="write a case for every preview of an ai-toolkit job",
        description="Reads a job folder as ai-toolkit leaves it (config.yaml, samples/, *.safetensors), pairs every "
        "preview with its prompt, step, LoRA file and control image, and writes a case file for each. Files that are "
        "there are never written over: importing again adds what is new. A preview that nobody can repeat, because "
        "its LoRA was pruned, say, becomes a case that is reported as unpairable, with the reason.",
        epilog="examples:\n  parity import ~/ai-toolkit/output/my_job\n"
        "  parity import output/my_job --step last --prompt 0 --out cases/guitar\n"
        "  parity import output/my_job --toolkit 0.12.26 --dry-run\n"
        "  parity run cases/my_job --tag step-2000\n\n"
        "exit codes:\n  0  every preview has its case\n"
        "  2  bad usage, no job, or a model that is not run; nothing was written\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    imports.add_argument("job", type=Path, metavar="JOB_DIR", help="the folder with config.yaml and samples/")
    imports.add_argument("--out", type=Path, metavar="DIR", help="default: cases/<job name>")
    imports.add_argument(
        "--step", type=_step, default="all", metavar="last|all|N", help="previews of this training step (default: all)"
    )
    imports.add_argument(
        "--prompt", type=_index, action="append", default=[], metavar="N", help="prompt index, from 0 (repeatable)"
    )
    imports.add_argument(
        "--toolkit", metavar="VERSION", help="ai-toolkit version or commit, for previews whose LoRA does not say it"
    )
    imports.add_argument("--model", metavar="ID", help="API model id (`parity models`), where the job leaves it open")
    imports.add_argument(
        "--checkpoint", metavar="DIR|ID", help="folder or Hub id of the weights, where the config's are elsewhere"
    )
    imports.add_argument(
        "--pipeline",
        choices=("reference", "faithful"),
        default="reference",
        help="the graph under test: the inference server's, or the trainer's (default: reference)",
    )
    imports.add_argument(
        "--expect",
        type=_factors,
        metavar="FACTORS",
        help="factors known to differ, with commas: cases pass while exactly these are found",
    )
    imports.add_argument("--dry-run", action="store_true", help="show what would be written, write nothing")
    imports.set_defaults(run=commands.import_job)


def _factors(text: str) -> tuple[str, ...]:
    from parity.factors import PAGES
    from pipelines.catalog import did_you_mean

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in PAGES:
            raise argparse.ArgumentTypeError(f"{name} is no factor{did_you_mean(name, list(PAGES))}")
    return names


def _step(text: str) -> str:
    if text not in ("last", "all") and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be last, all or a step number, is {text!r}")
    return text


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a prompt index from 0, is {text!r}")
    return int(text)


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument("cases", nargs="*", type=Path, metavar="CASES", help="case files, or folders of *.yaml")
    command.add_argument("-k", metavar="EXPR", help="only cases whose id or tags match: words, and, or, not, ( )")
    add_tag(command.add_argument)


if __name__ == "__main__":
    sys.exit(main())
