"""What a run will cost, in lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.cost.downloads import Download
from parity.cost.estimate import Cost, sized, warnings
from parity.cost.machine import Machine
from parity.cost.memory import Held
from parity.results.words import duration
from pipelines.downloads import cache_folder
from pipelines.files.words import listed, plural
from pipelines.offload import OFFLOADS


def lines_before_a_run(cost: Cost, machine: Machine, out: Path, offload: str) -> list[str]:
    """At most four lines: the work, its downloads, its weights, and the first of what this machine lacks."""
    missing = warnings(cost, machine, out, offload)
    lines = [work_text(cost), *download_lines(cost.downloads)]
    if cost.weights is not None:
        where = sized(cost.weights.on_gpu(offload)) if machine.gpu is not None else sized(cost.weights.in_ram())
        has = _has(machine)
        lines.append(f"weights take {where} in memory, what is computed with them comes on top{has}")
    return [*lines[:3], *(f"warning: {text}" for text in missing)][:4]


def _has(machine: Machine) -> str:
    if machine.gpu is not None and machine.gpu_total is not None:
        return f"; {machine.gpu} has {sized(machine.gpu_total)}"
    return f"; {sized(machine.ram_free)} of RAM are free" if machine.ram_free is not None else ""


def work_text(cost: Cost, unknown: str = "; no speed is known yet on this machine: the first run tells") -> str:
    """Generations, steps and time: `19 generations, 114 steps: about 3 min on NVIDIA H200, from 3 earlier runs`.

    `unknown`: what is said without a speed.
    """
    count = (
        plural(int(cost.generations), "generation")
        if cost.generations == int(cost.generations)
        else (f"{cost.generations:.1f} generations")
    )
    work = f"{count}, {plural(round(cost.steps), 'step')}" if cost.generations else "as many generations as it takes"
    if cost.seconds is None:
        return work + unknown
    return f"{work}: about {duration(max(1, cost.seconds))} {cost.basis}"


def download_lines(downloads: Sequence[Download]) -> list[str]:
    """One line on what is to be downloaded; none if nothing is."""
    missing = [download for download in downloads if download.missing]
    if not missing:
        return []
    total = sum(download.missing for download in missing)
    names = listed([f"{download.place} ({sized(download.missing)})" for download in missing], 3)
    reasons = list(dict.fromkeys(download.why_estimated for download in missing if download.basis == "estimate"))
    if not reasons:
        return [f"download: {sized(total)} from the Hub into {cache_folder()}: {names}"]
    return [f"download: at most about {sized(total)}, an estimate ({'; '.join(reasons)}): {names}"]


def weights_text(weights: Held) -> str:
    """The weights by offload mode: `weights: 40.2 GB on a GPU, 28.6 GB with --offload model, …`."""
    assumed = f" ({', '.join(weights.assumed)} as published)" if weights.assumed else ""
    whole, part, layer = (sized(weights.on_gpu(mode)) for mode in OFFLOADS)
    return (
        f"weights: {whole} on a GPU, {part} with --offload model, about {layer} with --offload sequential; "
        f"{sized(weights.in_ram())} of RAM{assumed}"
    )


def cost_text(cost: Cost) -> str:
    """What one case costs, in a line: the work, and its weights."""
    weights = f"; weights {sized(cost.weights.on_gpu('none'))}" if cost.weights is not None else ""
    download = f"; download {sized(cost.missing)}" if cost.missing else ""
    return f"cost: {work_text(cost, unknown='')}{weights}{download}"


def cost_row(cost: Cost) -> dict[str, Any]:
    """What one case costs, for JSON: seconds, and bytes."""
    row: dict[str, Any] = {"generations": cost.generations, "steps": cost.steps}
    row |= {"seconds": cost.seconds, "seconds_from": cost.basis}
    if cost.weights is not None:
        offloads = {mode: cost.weights.on_gpu(mode) for mode in OFFLOADS}
        row["weights"] = {"parts": dict(cost.weights.parts), "gpu": offloads, "ram": cost.weights.in_ram()}
        row["weights"]["assumed"] = list(cost.weights.assumed)
    row["downloads"] = [asdict(download) for download in cost.downloads]
    return row


def total_text(cost: Cost, count: int, machine: Machine, out: Path) -> str:
    """What the cases of a plan cost together, at most. `count`: those that are generated on this machine."""
    lines = [f"{'this case' if count == 1 else f'all {count} cases'}: {work_text(cost)}"]
    lines += download_lines(cost.downloads)
    if cost.weights is not None:
        lines.append(f"{weights_text(cost.weights)}; what is computed with them comes on top")
    lines += [f"warning: {text}" for text in warnings(cost, machine, out)]
    return "\n  ".join(lines)
