"""The functions behind `import parity`: the command line's steps, with values instead of text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from parity.case.load import Case, find_case_files, load_cases
from parity.cli.options import REPORT_BYTES
from parity.results import merge
from parity.results.case import CaseResult, Run
from parity.results.pair import PairResult
from pipelines.errors import ParityError

__all__ = [
    "Case",
    "CaseResult",
    "PairResult",
    "ParityError",
    "Run",
    "__version__",
    "compare",
    "find_cases",
    "read_results",
    "run_cases",
]

__version__ = version("wan-parity")


def find_cases(*paths: str | os.PathLike[str], tags: Sequence[str] = (), matching: str | None = None) -> list[Case]:
    """Read case files, and those in folders; without paths, the embedded demo's. Loads no model.

    `tags`: only cases with any of these. `matching`: what `-k` takes, e.g. "guitar and not faithful".
    Raises ParityError with every mistake of every file, or if no case is left.
    """
    return load_cases(find_case_files([Path(path) for path in paths]), expression=matching, tags=tags)


def run_cases(
    cases: Sequence[Case],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    diagnose: bool = False,
    repeat: int | None = None,
    resume: bool = False,
    cache: bool = True,
    isolate: bool = False,
    baselines: str | os.PathLike[str] | None = None,
) -> Run:
    """Generate every case's request, compare it with the preview, write results.json and report.html into `out`.

    The arguments are those of `parity run`. `baselines` is the folder with what was accepted, which then decides.
    A case that drifts or cannot be run is a result, not an exception: see
    `Run.exit_code` and `CaseResult.status`. Raises ParityError for what concerns the whole run: no such device, say.
    """
    from parity.baselines.in_run import RunGate
    from parity.baselines.noise import Noise
    from parity.case.progress import Quiet
    from parity.results.folders import cache_folder
    from parity.run.options import Options
    from parity.run.outdir import write_page
    from parity.run.runner import started
    from parity.run.session import in_loading_order
    from parity.run.task import Task

    options = Options(
        out=Path(out),
        task=Task(diagnose="full" if diagnose else None, repeat=repeat),
        device=device,
        command=("parity.run_cases", *(str(case.path) for case in cases)),
        cache=cache_folder() if cache else None,
        resume=resume,
        isolate=isolate,
        gate=None if baselines is None else RunGate.read(Path(baselines), Noise(), "baselines"),
    )
    with started(options) as session:
        for case in in_loading_order(cases):
            session.run_case(case, Quiet())
        run = session.finish([case.id for case in cases])
        write_page(run, options.out, REPORT_BYTES)
    return run


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    metrics: Sequence[str] = (),
) -> PairResult:
    """Compare two video files, or folders of PNG frames, as `parity compare` does: what was done to A to have B.

    `out`: write report.html, comparison.json and the frames there. `metrics`: "lpips" and "vmaf" on every frame.
    Raises ParityError for a file that cannot be read, or if both are one file.
    """
    from parity.pair.compare import compare_files
    from parity.pair.folder import STILLS, check_folder, write_pair
    from reports.pair import write_pair_report

    if out is not None:
        check_folder(Path(out))
    compared = compare_files(Path(a), Path(b), metrics)
    if out is not None:
        write_pair(compared, Path(out))
        write_pair_report(compared.result, Path(out), Path(out) / "report.html", stills=STILLS, max_bytes=REPORT_BYTES)
    return compared.result


def read_results(path: str | os.PathLike[str]) -> Run:
    """Read a results.json, or the one in a folder. Raises ParityError if it is none that this version reads."""
    return merge.read_results(merge.results_file(Path(path)))
