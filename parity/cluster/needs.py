"""What a machine needs before it can run cases: the same packages, and the files at the same paths."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parity.case.load import Case
from pipelines.errors import UsageError
from pipelines.files.words import listed, plural
from pipelines.recipe import MISSING

SAME = ("wan-parity", "torch", "diffusers", "transformers")
"""Packages of which driver and workers need the same version: the first for what they tell each other, the others for
the bits."""

Report = Mapping[str, Any]
"""`host`, `versions` by package (None: not installed) and `missing` paths of one machine."""


def files_of(cases: Iterable[Case]) -> tuple[str, ...]:
    """The files and folders that generating cases reads, absolute. Repositories of the Hub are fetched by each machine.

    Files that are not on this machine either, as some previews' are, are left out.
    """
    paths: set[str] = set()
    for case in cases:
        paths |= {os.path.abspath(path) for path in (case.video, case.output) if path is not None}  # noqa: PTH100
        for recipe in (case.preview, case.inference):
            loras = (*recipe.lora_files, *(file for merge in recipe.earlier_merges for file in merge.files))
            paths |= {os.path.abspath(lora.path) for lora in loras if not lora.sha256.startswith(MISSING)}  # noqa: PTH100
            paths |= {place for place in recipe.weights.places().values() if Path(place).is_absolute()}
    return tuple(sorted(paths))


def reporter() -> Callable[[Sequence[str], Sequence[str]], Report]:
    """A function for a machine that may have no wan-parity: it travels by value, and needs nothing but Python."""

    def report(packages: Sequence[str], paths: Sequence[str]) -> Report:
        import os
        import platform
        import socket
        from importlib.metadata import PackageNotFoundError, version

        versions: dict[str, str | None] = {"Python": platform.python_version()}
        for package in packages:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                versions[package] = None
        missing = [path for path in paths if not os.path.exists(path)]  # noqa: PTH110
        return {"host": socket.gethostname(), "versions": versions, "missing": missing}

    return report


def check(reports: Iterable[Report]) -> None:
    """Raises UsageError for machines that cannot run the cases, with the reasons of all of them."""
    here: dict[str, str | None] = {"Python": platform.python_version(), **{name: version(name) for name in SAME}}
    problems = [problem for report in reports for problem in _problems(report, here)]
    if problems:
        raise UsageError("\n  ".join(("--on: nothing was generated, because", *problems)))


def _problems(report: Report, here: Mapping[str, str | None]) -> list[str]:
    host, problems = report["host"], []
    for name, mine in here.items():
        theirs = report["versions"][name]
        if name == "Python" and mine and theirs:
            mine, theirs = mine.rpartition(".")[0], theirs.rpartition(".")[0]
        if theirs != mine:
            has = f"has {name} {theirs}" if theirs else f"has no {name}"
            problems.append(f"{host} {has}, this machine {mine}: install the same on both")
    if report["missing"]:
        count = len(report["missing"])
        problems.append(
            f"{host} lacks {plural(count, 'path')}: {listed(report['missing'], 4)}; LoRA "
            "files, checkpoints and previews must be at the same paths on all machines"
        )
    return problems
