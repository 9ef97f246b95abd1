"""`parity run` and `parity diagnose`: generate, compare, and find out why videos differ."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.cli.options import (
    add_baselines,
    add_blocks,
    add_cluster,
    add_max_size,
    add_repeat,
    add_running,
    add_shard,
    add_stills,
    add_target,
    generations,
)
from parity.cli.parser import EXIT_CODES
from parity.cli.selection import add_selection, in_part, narrowing, part_of, selected
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.baselines.in_run import RunGate
    from parity.case.load import Case
    from parity.results.case import Run
    from parity.results.shard import Shard
    from parity.run.options import Options
    from parity.run.runner import CaseRunner
    from parity.run.task import Task
    from parity.terminal.progress import Shown

_IN_GITHUB = """\
In GitHub Actions (GITHUB_ACTIONS is "true" and GITHUB_STEP_SUMMARY is set) a job summary and annotations are written
too; with --json annotations go to stderr.

"""


def add(parsers: Any) -> None:
    """Add `parity run` and `parity diagnose`."""
    command = parsers.add_parser(
        "run",
        help="generate every case's request and compare it with the preview",
        description="Generates every case's request with the real diffusers pipeline and compares it with the preview. "
        "Without CASES the embedded demo runs.",
        epilog="examples:\n  parity run\n  parity run cases/ -k 'guitar and not faithful'\n"
        "  parity run cases/ --baselines baselines\n  parity run cases/ --blocks 0 --baselines baselines\n"
        "  parity run my_case.yaml --device cuda:0 --offload model\n  parity run my_case.yaml --repeat 3\n"
        "  parity run cases/ --shard 1/4 --out shard-1\n"
        "  parity run cases/ --target http://gpu1:8000 --target-lora-root /mnt/output\n\n" + _IN_GITHUB + EXIT_CODES,
    )
    add_selection(command)
    why = command.add_argument_group("why videos differ").add_mutually_exclusive_group()
    why.add_argument("--diagnose", action="store_const", const="full", help="find out why, for every case (slow)")
    why.add_argument("--diagnose-failed", action="store_true", help="find out why, for cases that drift unexpectedly")
    accepted = command.add_argument_group("what was accepted")
    add_baselines(accepted.add_argument)
    add_blocks(accepted.add_argument)
    _add_running(command, repeats=True)
    command.set_defaults(run=run, search=False, budget=None)
    _add_diagnose(parsers)


def _add_diagnose(parsers: Any) -> None:
    command = parsers.add_parser(
        "diagnose",
        help="find out why a case drifted: how much each factor matters, and which fixes reproduce the preview",
        description="Generates counterfactuals: the request with only one factor fixed (gain), the preview's recipe "
        "with only one factor broken (loss), and both endpoints. Shows how much each factor matters, the smallest set "
        "of fixes that reproduces the preview, the first divergence, and any residual. k factors take at most 2k + 2 "
        "generations; the plan is printed before the first. For a case on a server (--target) it first finds out what "
        "the server did: it generates what is expected of the server on this machine and, if the files differ, "
        "searches for the server's settings.",
        epilog="examples:\n  parity diagnose my_case.yaml\n  parity diagnose my_case.yaml --quick\n"
        "  parity diagnose my_case.yaml --gains --budget 5\n  parity diagnose my_case.yaml --search\n"
        "  parity diagnose my_case.yaml --target http://gpu1:8000\n\n"
        "After Ctrl-C, results so far are printed and kept in results.json.\n\n" + _IN_GITHUB + EXIT_CODES,
    )
    add_selection(command)
    why = command.add_argument_group("why videos differ")
    how = why.add_mutually_exclusive_group()
    how.add_argument(
        "--quick",
        dest="diagnose",
        action="store_const",
        const="quick",
        help="only rank the factors: few steps, latents only, at most two generations",
    )
    how.add_argument(
        "--gains",
        dest="diagnose",
        action="store_const",
        const="gains",
        help="only generate with one factor fixed, not broken: at most k + 2 generations",
    )
    how.add_argument(
        "--search",
        action="store_true",
        help="the config is missing or wrong: search the preview's pixels for the settings that generated it",
    )
    why.add_argument(
        "--budget", type=generations, metavar="N", help="generations to spend on a case (default: as many as planned)"
    )
    _add_running(command, repeats=False)
    command.set_defaults(run=diagnose, diagnose_failed=False, repeat=None, baselines=None, blocks=None)


def _add_running(command: argparse.ArgumentParser, *, repeats: bool) -> None:
    add_shard(command.add_argument_group("on several machines").add_argument)
    generating = command.add_argument_group("generating")
    add_running(generating.add_argument)
    if repeats:
        add_repeat(generating.add_argument)
    add_target(command.add_argument_group("on a server").add_argument)
    add_cluster(command.add_argument_group("on several GPUs or machines").add_argument)
    output = command.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print results.json to stdout")
    output.add_argument("--no-html", action="store_true", help="write no report.html")
    add_stills(output.add_argument)
    add_max_size(output.add_argument)


def diagnose(options: argparse.Namespace) -> int:
    """`parity diagnose`: run with a diagnosis of every case, or with a search for its settings."""
    if options.diagnose is None and not options.search:
        options.diagnose = "full"
    return run(options)


def run(options: argparse.Namespace) -> int:
    """`parity run`. Returns the run's exit code. Raises StoppedError after Ctrl-C, once all is written and said."""
    from parity.results.folders import check_writable, default_out
    from parity.results.last_run import last_results
    from parity.results.merge import refuse_folder_of_another
    from parity.run import interrupt
    from parity.terminal.progress import Shown
    from parity.terminal.text import summary
    from pipelines.files.words import plural

    if options.workers is not None and options.on is None:
        raise UsageError("--workers needs --on, e.g. --on ray; on this machine alone one process runs the cases")
    _refuse_beside_blocks(options)
    cases = selected(options)
    part = part_of(cases, options.shard, options.balance, _task(options))
    cases = in_part(cases, part)
    if part is not None:
        print(part.sentence, file=sys.stderr)
    gate = _gate(options)
    out = options.out or (last_results().parent if options.resume else default_out(part))
    check_writable(out)
    if part is not None and not options.resume:
        refuse_folder_of_another(out, part)
    results = out / "results.json"
    with Shown() as shown:
        shown.between(f"loading {plural(len(cases), 'case')}")
        from parity.run.outdir import write_page

        settings = _settings(options, out, gate, part)
        if options.on is None:
            finished, interrupted = _run_here(cases, settings, shown)
        else:
            finished, interrupted = _run_on_cluster(cases, settings, shown, options)
        shown.between("writing the report")
        page = None if options.no_html else write_page(finished, out, options.max_size)
    if options.json:
        print(results.read_text(encoding="utf-8"))
    print(summary(finished), file=sys.stderr)
    written = [str(path) for path in (results, page) if path is not None]
    print("\n".join(written), file=sys.stderr if options.json else sys.stdout)
    if not interrupted:
        _say_next(finished, results, page)
    _write_to_github(finished, out, options)
    if interrupted:
        print(f"parity: {shown.stopped()}; go on with:\n  {_to_go_on(options, out)}", file=sys.stderr)
        raise interrupt.StoppedError
    return finished.exit_code


def _task(options: argparse.Namespace) -> Task:
    from parity.run.task import Task

    return Task(
        diagnose="full" if options.diagnose_failed else options.diagnose,
        only_drifted=options.diagnose_failed,
        search=options.search,
        budget=options.budget,
        stills=options.stills,
        repeat=options.repeat,
        blocks=options.blocks or (),
    )


def _run_here(cases: Sequence[Case], settings: Options, shown: Shown) -> tuple[Run, bool]:
    """Run cases in this process. Returns the run, and whether it was stopped."""
    from parity.run.outlook import Outlook
    from parity.run.runner import started
    from parity.run.session import in_loading_order

    with started(settings) as session:
        if session.warning is not None:
            print(f"parity: {session.warning}", file=sys.stderr)
        _tell_cost(cases, session)
        ordered = in_loading_order(cases)
        shown.prepare(ordered, Outlook(session))
        try:
            for case in ordered:
                session.run_case(case, shown)
            return session.finish([case.id for case in cases]), False
        except KeyboardInterrupt:
            shown.pause()
            return session.run, True


def _run_on_cluster(
    cases: Sequence[Case], settings: Options, shown: Shown, options: argparse.Namespace
) -> tuple[Run, bool]:
    """Run cases on the workers of a cluster. Returns the run, and whether it was stopped."""
    from parity.cluster.results import Results
    from parity.cluster.run import run_cases
    from parity.terminal.workers import ShownWorkers

    if settings.isolate:
        shown.say("--isolate: nothing to add; workers of --on are processes apart already, and a dead one is replaced")
    results, listener = Results(settings, cases), ShownWorkers(shown, cases)
    try:
        run_cases(cases, results, settings, listener, on=options.on, workers=options.workers)
    except KeyboardInterrupt:
        shown.pause()
        return results.run, True
    return results.run, False


def _refuse_beside_blocks(options: argparse.Namespace) -> None:
    """Raise UsageError for options that need a whole generation, beside `--blocks`."""
    others = {"--diagnose": options.diagnose, "--diagnose-failed": options.diagnose_failed, "--repeat": options.repeat}
    given = [name for name, value in others.items() if value]
    if options.blocks is not None and given:
        raise UsageError(f"--blocks: makes no video, so {given[0]} has nothing to work on; leave one of them out")
    if options.blocks is not None and options.on is not None:
        raise UsageError("--blocks: not supported with --on yet; run it on one machine, where it takes seconds a case")


def _settings(options: argparse.Namespace, out: Path, gate: RunGate | None, part: Shard | None) -> Options:
    from parity.results.folders import cache_folder
    from parity.run.options import Options

    return Options(
        out=out,
        task=_task(options),
        device=options.device,
        offload=options.offload,
        command=("parity", *sys.argv[1:]),
        cache=None if options.no_cache else cache_folder(),
        resume=options.resume,
        timeout=options.timeout,
        isolate=options.isolate,
        gate=gate,
        narrowed=narrowing(options),
        part=part,
    )


def _to_go_on(options: argparse.Namespace, out: Path) -> str:
    """The command that continues this run."""
    more = [] if options.resume else ["--resume"]
    if options.out is None:  # another run may be the last one by then
        more += ["--out", str(out)]
    return shlex.join(("parity", *sys.argv[1:], *more))


def _gate(options: argparse.Namespace) -> RunGate | None:
    if options.baselines is None:
        return None
    from parity.baselines.in_run import RunGate
    from parity.baselines.noise import Noise

    noise = Noise(psnr=options.noise_psnr, ssim=options.noise_ssim)
    if options.baselines == options.parser.get_default("baselines") and not options.baselines.exists():
        return RunGate(folder=options.baselines, baselines={}, noise=noise)  # a project whose first run this is
    return RunGate.read(options.baselines, noise)


def _say_next(run: Run, results: Path, page: Path | None) -> None:
    """Say on stderr what to type next: after a red run, and after a green one that no baselines decided."""
    from parity.results.next_steps import Place, next_steps, of_baselines
    from parity.terminal.text import lines

    place = Place(results=results, command=run.command, baselines=run.baselines, page=page)
    for step in (*next_steps(run.cases, place), of_baselines(run, place)):
        if step is not None:
            print(lines(str(step)), file=sys.stderr)


def _write_to_github(finished: Run, out: Path, options: argparse.Namespace) -> None:
    """Write summary and annotations in GitHub Actions. If that fails, results and exit code stay as they are."""
    from parity.terminal.github import in_github, tell_github

    if not in_github():
        return
    try:
        tell_github(finished, out, sys.stderr if options.json else sys.stdout)
    except UsageError as error:
        print(f"parity: {error}", file=sys.stderr)


def _tell_cost(cases: Sequence[Case], session: CaseRunner) -> None:
    """Say on stderr, before anything is downloaded, what the run costs and what this machine lacks for it."""
    from parity.cost.estimate import cost_of
    from parity.cost.speeds import machine_of
    from parity.run.work import jobs_of
    from parity.terminal.cost import lines_before_a_run

    jobs = jobs_of(cases, session.options.task)
    if not jobs or session.options.task.blocks:
        return
    offload = session.offload
    cost = cost_of(jobs, (machine_of(session.environment), offload))
    lines = lines_before_a_run(cost, session.machine, session.options.out, offload)
    print(*lines, sep="\n", file=sys.stderr, flush=True)
