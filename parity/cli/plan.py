"""`parity plan`: show both recipes of every case and where they differ, without running a model."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.cli.selection import add_selection, selected
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from parity.case.load import Case
    from parity.importing.fit import Fit


def add(parsers: Any) -> None:
    """Add `parity plan`."""
    command = parsers.add_parser(
        "plan",
        help="show both recipes of every case, where they differ, and what a run costs; runs no model",
        description="Shows both recipes, with requested and applied values, and names the factors in which they "
        "differ; then what a run costs: downloads, memory that the weights take, steps, and minutes once a run was "
        "made on this machine. Runs no model. Asks the Hub for sizes if weights are missing. With --output it names "
        "what a video made with ComfyUI was generated with that the preview was not, by the graph in the file.",
        epilog="examples:\n  parity plan\n  parity plan cases/my_job --tag step-2000\n"
        "  parity plan my_case.yaml --json\n  parity plan --output ComfyUI_00001_.mp4 my_case.yaml\n"
        "  parity plan --output ComfyUI_00001_.mp4 ~/ai-toolkit/output/my_job\n",
    )
    add_selection(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a video that ComfyUI saved, or a workflow's JSON; CASES is then one case, or a job's folder, of which "
        "the preview with the graph's prompt, seed and LoRA is taken",
    )
    command.add_argument("--json", action="store_true", help="print recipes and findings as JSON")
    command.set_defaults(run=plan)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of every selected case."""
    if options.output is not None:
        return _plan_output(options)
    from parity.cost.estimate import cost_of, job_of_run
    from parity.cost.machine import this_machine
    from parity.cost.speeds import last_used
    from parity.results.folders import default_out
    from parity.terminal.cost import cost_row, cost_text, total_text
    from parity.terminal.text import plan_text

    cases, speed = selected(options), last_used()
    jobs = {case.id: job for case in cases if (job := job_of_run(case)) is not None}
    total = cost_of(list(jobs.values()), speed)
    alone = {name: cost_of([job], speed, known=total.downloads) for name, job in jobs.items()}
    if not options.json:
        costs = {name: f"\n  {cost_text(cost)}" for name, cost in alone.items()}
        for number, case in enumerate(cases):
            print(("\n" if number else "") + plan_text(case) + costs.get(case.id, ""))
        if jobs:
            print(f"\n{total_text(total, len(jobs), this_machine(), default_out().parent)}")
        return 0
    for number, case in enumerate(cases):  # one by one: the rows of thousands of cases would not fit into memory
        row = _row(case) | {"cost": cost_row(alone[case.id]) if case.id in alone else None}
        text = json.dumps([row], indent=1, ensure_ascii=False).removeprefix("[").removesuffix("\n]")
        print(("," if number else "[") + text, end="")
    print("\n]")
    return 0


def _row(case: Case) -> dict[str, Any]:
    """One case as JSON."""
    from dataclasses import asdict

    from parity.factors.findings import known_differences
    from pipelines.recipe import to_dict

    return {
        "id": case.id,
        "tags": case.tags,
        "recipes": {"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
        "findings": [asdict(finding) for finding in known_differences(case)],
        "expect": case.expect,
        "target": case.target.url if case.target is not None else None,
        "output": None if case.output is None else str(case.output),
        "graph": None if case.found is None else case.found.where,
        "unknown": case.unknown,
    }


def _plan_output(options: argparse.Namespace) -> int:
    """Print what a video made elsewhere was generated with, against one preview."""
    from dataclasses import asdict

    from parity.factors.comfyui import comfy_advice
    from parity.terminal.made_elsewhere import output_plan_text
    from pipelines.limits import all_obstacles

    case, fit = case_of_output(options.cases, options.output)
    if options.json:
        obstacles = {"preview": all_obstacles(case.preview), "inference": all_obstacles(case.inference)}
        notes = {"preview": case.preview.notes, "inference": case.inference.notes}
        chosen = {"preview": str(case.video), "chosen_by": [] if fit is None else fit.reasons}
        changes = [asdict(row) for row in comfy_advice(case).changes]
        row = _row(case) | chosen | {"changes": changes, "obstacles": obstacles, "notes": notes}
        print(json.dumps([row], indent=1, ensure_ascii=False))
        return 0
    print(output_plan_text(case, options.output, () if fit is None else fit.reasons, fit.command if fit else None))
    return 0


def case_of_output(places: Sequence[Path], video: Path) -> tuple[Case, Fit | None]:
    """The case that a video or graph is compared in, and how its preview was chosen, if it was.

    `places`: one case, or one job's folder. Raises UsageError and CaseError.
    """
    from parity.case.load import find_case_files, is_job, load_case_for
    from parity.importing.fit import fit_to_job
    from pipelines.comfyui.graph import read_graph
    from pipelines.comfyui.metadata import find_graph
    from pipelines.files.content import present
    from pipelines.files.document import parse, read

    if not present(video):
        raise UsageError(f"--output {video}: does not exist")
    if len(places) != 1:
        raise UsageError(
            f"--output compares with one preview: name its case or the job's folder, e.g. parity plan --output {video} "
            "output/my_job"
        )
    place = places[0]
    if not is_job(place):
        files = find_case_files([place])
        if len(files) > 1:
            raise UsageError(f"{place}: has {len(files)} cases; --output compares with one: name its file")
        return _made(load_case_for(read(files[0]), video), video), None
    found = find_graph(video)
    if found.graph is None:
        raise UsageError(f"{found.origin}, so nothing says which preview it belongs to; name a case instead of {place}")
    named = None if video.suffix.lower() == ".json" else video.name
    fit = fit_to_job(place, read_graph(found.graph, filename=named, where=found.origin))
    return _made(load_case_for(parse(fit.path, fit.text), video), video), fit


def _made(case: Case, video: Path) -> Case:
    """The case with a workflow's file as its output too: what is known of it is known by the file."""
    return dataclasses.replace(case, output=video)
