"""`parity plan`: show both recipes of every case and where they differ, without running a model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from parity.cli.selection import add_selection, selected


def add(parsers: Any) -> None:
    """Add `parity plan`."""
    command = parsers.add_parser(
        "plan",
        help="show both recipes of every case, where they differ, and what a run costs; runs no model",
        description="Shows both recipes, with requested and applied values, and names the factors in which they "
        "differ; then what a run costs: downloads, memory that the weights take, steps, and minutes once a run was "
        "made on this machine. Runs no model. Asks the Hub for sizes if weights are missing.",
        epilog="examples:\n  parity plan\n  parity plan cases/my_job --tag step-2000\n"
        "  parity plan my_case.yaml --json\n",
    )
    add_selection(command)
    command.add_argument("--json", action="store_true", help="print recipes and findings as JSON")
    command.set_defaults(run=plan)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of every selected case."""
    from parity.cost.estimate import cost_of, job_of_run
    from parity.cost.machine import this_machine
    from parity.cost.speeds import last_used
    from parity.factors.findings import known_differences
    from parity.results.folders import default_out
    from parity.terminal.cost import cost_row, cost_text, total_text
    from parity.terminal.text import plan_text
    from pipelines.recipe import to_dict

    cases, speed = selected(options), last_used()
    jobs = {case.id: job for case in cases if (job := job_of_run(case)) is not None}
    total = cost_of(list(jobs.values()), speed)
    alone = {name: cost_of([job], speed, known=total.downloads) for name, job in jobs.items()}
    if not options.json:
        costs = {name: f"\n  {cost_text(cost)}" for name, cost in alone.items()}
        print("\n\n".join(plan_text(case) + costs.get(case.id, "") for case in cases))
        if jobs:
            print(f"\n{total_text(total, len(jobs), this_machine(), default_out().parent)}")
        return 0
    from dataclasses import asdict

    rows = [
        {
            "id": case.id,
            "tags": case.tags,
            "recipes": {"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
            "findings": [asdict(finding) for finding in known_differences(case)],
            "expect": case.expect,
            "target": case.target.url if case.target is not None else None,
            "cost": cost_row(alone[case.id]) if case.id in alone else None,
        }
        for case in cases
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0
