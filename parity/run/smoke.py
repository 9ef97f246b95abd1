"""A smoke run of a case: a few blocks of its checkpoint, whose stages a baseline knows by their hashes."""

from __future__ import annotations

import dataclasses
import time

from parity.case.load import Case
from parity.case.progress import Progress
from parity.comparison.outcome import blank_result
from parity.factors.findings import known_differences
from parity.results.case import CaseResult
from parity.results.smoke import NOT_A_COMPARISON, SmokeResult
from pipelines.engine.smoke import SmokeEngine
from pipelines.errors import CaseError
from pipelines.limits import within_limits


def smoke(engine: SmokeEngine, case: Case, progress: Progress) -> CaseResult:
    """Run a few blocks of a case's request. The preview is not read. Raises CaseError for a video made elsewhere."""
    if case.made_elsewhere:
        raise CaseError("--blocks runs blocks of a checkpoint on this machine, but this case's video is made elsewhere")
    if case.inference.obstacles:
        raise CaseError("; ".join(case.inference.obstacles))
    clock = time.perf_counter()
    progress.trial_started(f"smoke, {case.id}", case.inference.steps)
    smoked = engine.smoke(within_limits(case.inference), progress.step_done, case.token)
    recipe = smoked.recipe
    found = SmokeResult(
        blocks=tuple(sorted(engine.blocks)),
        layers=smoked.layers,
        steps=recipe.steps,
        frames=recipe.num_frames.applied,
        width=recipe.width.applied,
        height=recipe.height.applied,
        stages=smoked.stages,
    )
    ran = engine.ran
    missed = () if ran is None else ran.not_as_asked
    verdict = f"{NOT_A_COMPARISON}: {found.extent}; nothing to compare with: no baseline"
    return dataclasses.replace(
        blank_result(case, "smoke", "; ".join((verdict, *(f"not as asked: {what}" for what in missed))), ()),
        findings=known_differences(case),
        smoke=found,
        ran=ran,
        notes=(*smoked.notes, *(() if ran is None else ran.notes)),
        timings={"total": round(time.perf_counter() - clock, 3)},
    )
