"""A diagnosis and a search as the page shows them: chips, cells and rows, without markup."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parity.results.case import Status
from parity.results.diagnosis import (
    LEVELS,
    Closeness,
    Cost,
    Diagnosis,
    FactorCost,
    Origin,
    Search,
    StageGap,
    Stopped,
    Trial,
    Verdict,
)
from parity.results.words import decibels
from reports import diagnosis_charts as charts
from reports.answer_parts import STOPPED
from reports.diagnosis_charts import Bar, Chart, percent

_VERDICTS: dict[Verdict, tuple[Status, str]] = {
    "proven": ("passed", "✓"),
    "likely": ("expected_drift", "≈"),
    "not found": ("drifted", "✗"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A short label with an icon. `tone` is the status whose colour it takes."""

    tone: str
    icon: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value with its details, or the reason why there is none."""

    main: str
    details: tuple[str, ...] = ()
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorRow:
    """One factor in the table."""

    rank: str
    factor: str
    level: str
    preview: str
    inference: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One stage of both recipes, compared."""

    stage: str
    icon: str
    result: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step in numbers, for the table beside the charts."""

    step: str
    preview: str
    inference: str
    apart: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginView:
    """The first divergence of the two recipes."""

    sentence: str
    stages: list[StageRow]
    gaps: Chart | None
    no_gaps: str
    """The sentence shown if there is no chart."""
    sigmas: Chart | None
    steps: list[StepRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostView:
    """The time and the generations that were spent."""

    summary: str
    facts: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisView:
    """The diagnosis of a case, shaped for the page."""

    diagnosis: Diagnosis
    quick: bool
    as_is: Cell | None
    """The request as sent, in the column of the gains; None if there is no such row."""
    preview_recipe: Cell | None
    """The preview's recipe, in the column of the losses; None if there is no such row."""
    rows: list[FactorRow]
    levels: list[tuple[str, str]]
    """All levels with their meanings."""
    bars: list[Bar]
    residue: Cell | None
    origin: OriginView | None
    cost: CostView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRow:
    """One candidate of a setting."""

    setting: str
    value: str
    figures: Cell
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchView:
    """The settings a search found, shaped for the page."""

    search: Search
    chips: list[Chip]
    best: Cell
    tried: list[TriedRow]
    cost: CostView | None


def diagnosis_view(diagnosis: Diagnosis) -> DiagnosisView:
    """Shape a diagnosis for the page."""
    quick = diagnosis.mode == "quick"
    ends = bool(diagnosis.factors) and not quick
    return DiagnosisView(
        diagnosis=diagnosis,
        quick=quick,
        as_is=_trial(diagnosis.as_is, "not generated") if ends else None,
        preview_recipe=_trial(diagnosis.preview_recipe, "not generated") if ends else None,
        rows=[_factor_row(cost, quick=quick) for cost in diagnosis.factors],
        levels=list(LEVELS.items()),
        bars=charts.waterfall(diagnosis.waterfall),
        residue=figures(diagnosis.residue) if diagnosis.residue is not None else None,
        origin=_origin(diagnosis.origin) if diagnosis.origin is not None else None,
        cost=_cost(diagnosis.cost) if diagnosis.cost is not None else None,
    )


def search_view(search: Search) -> SearchView:
    """Shape a search for the page."""
    tone, icon = _VERDICTS[search.verdict]
    return SearchView(
        search=search,
        chips=[Chip(tone=tone, icon=icon, text=search.verdict), *_stopped(search.stopped)],
        best=figures(search.best),
        tried=[
            TriedRow(
                setting=setting.name,
                value=candidate.value,
                figures=figures(candidate.to_preview),
                note=candidate.note or "none",
            )
            for setting in search.settings
            for candidate in setting.tried
        ],
        cost=_cost(search.cost) if search.cost is not None else None,
    )


def figures(closeness: Closeness | None) -> Cell:
    """PSNR and SSIM, or why there are none."""
    if closeness is None:
        return Cell(main="not generated", missing=True)
    if closeness.identical:
        return Cell(main="bit-identical")
    if closeness.unavailable is not None or closeness.psnr is None:
        return Cell(main="no value", details=(closeness.unavailable or "not comparable",), missing=True)
    ssim = (f"SSIM {closeness.ssim:.4f}",) if closeness.ssim is not None else ()
    return Cell(main=decibels(closeness.psnr), details=ssim)


def _stopped(reason: Stopped | None) -> list[Chip]:
    return [Chip(tone="unpairable", icon="■", text=f"stopped early: {STOPPED[reason]}")] if reason is not None else []


def _factor_row(cost: FactorCost, *, quick: bool) -> FactorRow:
    if quick:
        cells: tuple[Cell, ...] = (_moved(cost),)
    else:
        why = cost.not_measured or ""
        cells = (_trial(cost.gain, "not measured", why), _trial(cost.loss, "not measured", why))
    return FactorRow(
        rank="not ranked" if cost.rank is None else str(cost.rank),
        factor=cost.factor,
        level=cost.level or "not measured",
        preview=cost.preview,
        inference=cost.inference,
        cells=cells,
    )


def _moved(cost: FactorCost) -> Cell:
    if cost.latent_gap is None:
        return Cell(main="not measured", details=_given(cost.not_measured), missing=True)
    return Cell(main=percent(cost.latent_gap) if cost.latent_gap else "not at all")


def _trial(trial: Trial | None, missing: str, why: str = "") -> Cell:
    """The file against the preview, then the raw frames against the preview's recipe; or why there are none."""
    if trial is None:
        return Cell(main=missing, details=_given(why), missing=True)
    file = figures(trial.to_preview)
    raw = figures(trial.to_recipe)
    if trial.to_recipe is None:
        raw = Cell(main="the preview's recipe was not generated")
    return replace(file, details=(*file.details, f"raw: {', '.join((raw.main, *raw.details))}"))


def _given(text: str | None) -> tuple[str, ...]:
    return (text,) if text else ()


def _origin(origin: Origin) -> OriginView:
    equal, unknown = "The latents are equal after every step.", "The latents cannot be compared step by step."
    return OriginView(
        sentence=origin.sentence,
        stages=[_stage_row(stage) for stage in origin.stages],
        gaps=charts.gap_chart(origin),
        no_gaps=equal if origin.latent_gaps else unknown,
        sigmas=charts.sigma_chart(origin.sigmas),
        steps=_step_rows(origin),
    )


def _stage_row(stage: StageGap) -> StageRow:
    name = stage.stage.replace("_", " ")
    if stage.equal is None:
        return StageRow(stage=name, icon="⊘", result="not comparable", note=stage.note)
    if stage.equal:
        return StageRow(stage=name, icon="=", result="equal", note=stage.note)
    size = f" by {percent(stage.gap)}" if stage.gap is not None else ""
    return StageRow(stage=name, icon="≠", result=f"differs{size}", note=stage.note)


def _step_rows(origin: Origin) -> list[StepRow]:
    """Step by step: the sigmas it starts from, and how far the latents differ after it; then the end."""
    sides = [origin.sigmas.get(side, ()) for side in ("preview", "inference")]
    steps = max(len(origin.latent_gaps), *(len(values) - 1 for values in sides))
    gaps = origin.latent_gaps
    rows = []
    for place in range(steps):
        preview, inference = (f"{v[place]:.6g}" if place < len(v) - 1 else "no such step" for v in sides)
        apart = "not comparable" if place >= len(gaps) else percent(gaps[place]) if gaps[place] else "equal"
        rows.append(StepRow(step=str(place + 1), preview=preview, inference=inference, apart=apart))
    if rows and any(sides):
        preview, inference = (f"{values[-1]:.6g}" if values else "not known" for values in sides)
        rows.append(StepRow(step="end", preview=preview, inference=inference, apart="as above"))
    return rows


def _cost(cost: Cost) -> CostView:
    spent, planned = (f"{round(generations, 2):g}" for generations in (cost.spent, cost.planned))
    facts = {
        "generations planned, at most": planned,
        "generations spent": spent,
        "denoising steps": str(cost.denoising_steps),
        "decodes": str(cost.decodes),
        "encodings": str(cost.encodings),
        "generations reused": str(cost.reused),
        "checkpoints loaded": str(cost.loads),
        "seconds": f"{cost.seconds:.1f}",
    }
    return CostView(summary=f"{spent} of {planned} generations planned, {cost.seconds:.1f} s", facts=facts)
