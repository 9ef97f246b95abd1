"""What a run will cost: generations and steps, minutes if a speed is known, memory of the weights, downloads."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parity.case.load import Case
from parity.cost.downloads import Download, downloads, needs_of
from parity.cost.machine import Machine, disk_free
from parity.cost.memory import Held, held
from parity.cost.speeds import expected
from pipelines.downloads import cache_folder
from pipelines.files.words import listed, plural
from pipelines.limits import why_beyond_bounds, within_limits
from pipelines.offload import OFFLOADS
from pipelines.recipe import Recipe

_LEAST_DISK = 1 << 30
"""The bytes that should stay free beside downloads."""
_LEAST_OUT = 256 << 20
"""The bytes that results, stills and videos of a few cases take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one case asks for: its recipes, and how often they are generated at most."""

    recipes: tuple[Recipe, ...]
    """The recipe whose speed counts first; weights of all of them are needed."""
    generations: float = 1.0
    steps: float
    token: str | None = field(default=None, repr=False)


def job_of_run(case: Case, times: int = 1) -> Job | None:
    """Generating a case's request; None if it is made elsewhere, or nobody can."""
    if case.made_elsewhere or case.inference.obstacles or case.preview.obstacles:
        return None
    if why_beyond_bounds(case.inference) is not None:
        return None
    recipe = within_limits(case.inference)
    return Job(recipes=(recipe,), generations=times, steps=times * recipe.passes, token=case.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What jobs cost together, at most: frames that are cached already are not generated again."""

    generations: float
    steps: float
    seconds: float | None
    """The expected time; None: no speed is known on this machine for any of the jobs."""
    basis: str
    """Where the seconds come from, and for how many jobs no speed is known; empty without seconds."""
    unknown: int
    """For how many jobs no speed is known."""
    weights: Held | None
    """The weights of the job that takes most memory; None: nothing is generated."""
    downloads: tuple[Download, ...]
    """Each repository once."""

    @property
    def missing(self) -> int:
        """The bytes to download."""
        return sum(download.missing for download in self.downloads)


def cost_of(jobs: Sequence[Job], machine: tuple[str, str] | None, *, known: Sequence[Download] | None = None) -> Cost:
    """Add up jobs. `machine`: its name and offload mode, as `speeds` knows them.

    `known`: downloads asked for before, of these jobs and more; None: the Hub is asked.
    """
    weights = [held(recipe) for recipe in dict.fromkeys(recipe for job in jobs for recipe in job.recipes)]
    needs = needs_of((recipe, job.token) for job in jobs for recipe in job.recipes)
    if known is None:
        known = downloads(needs)
    places = {need.place for need in needs}
    seconds, basis, unknown = _time(jobs, machine)
    return Cost(
        generations=sum(job.generations for job in jobs),
        steps=sum(job.steps for job in jobs),
        seconds=seconds,
        basis=basis,
        unknown=unknown,
        weights=max(weights, key=lambda one: one.total, default=None),
        downloads=tuple(download for download in known if download.place in places),
    )


def _time(jobs: Sequence[Job], machine: tuple[str, str] | None) -> tuple[float | None, str, int]:
    """The expected seconds, where they come from, and for how many jobs they are not known."""
    known, bases = 0.0, []
    loaded = set()  # cases with the same weights run one after another
    for job in jobs:
        estimate = expected(job.recipes[0], *machine) if machine is not None else None
        if estimate is not None and job.generations:
            known += job.generations * estimate.seconds(0, load=False) + job.steps * (estimate.timing.step or 0.0)
            known += (estimate.timing.load or 0.0) if weights_of(job.recipes[0]) not in loaded else 0.0
            loaded.add(weights_of(job.recipes[0]))
            bases.append(estimate.basis)
    unknown = len(jobs) - len(bases)
    if not bases or machine is None:
        return None, "", unknown
    rest = [f"without {plural(unknown, 'case')} of unknown speed"] if unknown else []
    sources = [basis if basis.startswith("scaled") else f"from {basis}" for basis in dict.fromkeys(bases)]
    return known, ", ".join([f"on {machine[0]}", listed(sources, 2), *rest]), unknown


def weights_of(recipe: Recipe) -> Hashable:
    """What has to be loaded for a recipe; equal for recipes that share what is loaded."""
    places = tuple(recipe.weights.places().values())
    return recipe.pipeline, places, recipe.precision, recipe.quantization.effective


def warnings(cost: Cost, machine: Machine, out: Path, offload: str = "none") -> list[str]:
    """What this machine lacks, each with what to do. `out`: the folder that a run writes to."""
    found = []
    if disk_free(out) < _LEAST_OUT:
        found.append(
            f"{out} has {sized(disk_free(out))} free, and a run writes videos and stills there: remove old runs, or "
            "pass --out with a folder on a larger disk"
        )
    free = disk_free(cache_folder())
    if cost.missing and cost.missing + _LEAST_DISK > free:
        found.append(
            f"{sized(cost.missing)} are to be downloaded, and {cache_folder()} has {sized(free)} free: remove what is "
            "not needed (hf cache ls, hf cache rm), or set HF_HOME to a folder on a larger disk"
        )
    if cost.weights is None:
        return found
    if machine.gpu_total is not None and cost.weights.on_gpu(offload) > machine.gpu_total:
        found.append(_too_large(cost.weights, machine, offload))
    if machine.ram_free is not None and cost.weights.in_ram() > machine.ram_free:
        found.append(
            f"loading takes {sized(cost.weights.in_ram())} of RAM, {sized(machine.ram_free)} are free: close other "
            "programs, use a machine with more, or run fewer workers"
        )
    return found


def _too_large(weights: Held, machine: Machine, offload: str) -> str:
    total = machine.gpu_total or 0
    smaller = [mode for mode in OFFLOADS[OFFLOADS.index(offload) + 1 :] if weights.on_gpu(mode) < total]
    to_do = f"use --offload {smaller[0]} ({sized(weights.on_gpu(smaller[0]))})" if smaller else "no --offload fits"
    return f"the weights take {sized(weights.on_gpu(offload))}, {machine.gpu} has {sized(total)}: {to_do}"


def sized(count: float) -> str:
    """Bytes in words, in decimal units as the Hub has them: `40.2 GB`, `730 MB`, `14 kB`."""
    if count >= 99.95e9:
        return f"{count / 1e9:.0f} GB"
    if count >= 0.9995e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 0.9995e6 else f"{count / 1e3:.0f} kB"
