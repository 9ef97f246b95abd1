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
        help="show both recipes of every case and where they differ; runs no model",
        description="Shows both recipes, with requested and applied values, and names the factors in which they "
        "differ. Runs no model.",
        epilog="examples:\n  parity plan\n  parity plan cases/my_job --tag step-2000\n"
        "  parity plan my_case.yaml --json\n",
    )
    add_selection(command)
    command.add_argument("--json", action="store_true", help="print recipes and findings as JSON")
    command.set_defaults(run=plan)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of every selected case."""
    from parity.factors.findings import known_differences
    from parity.terminal.text import plan_text
    from pipelines.recipe import to_dict

    cases = selected(options)
    if not options.json:
        print("\n\n".join(plan_text(case) for case in cases))
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
        }
        for case in cases
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0
