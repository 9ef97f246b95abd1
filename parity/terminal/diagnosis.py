"""Text of a diagnosis and of a search."""

from __future__ import annotations

import math

from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Origin, Search, Trial, WaterfallStep
from parity.results.words import decibels
from parity.terminal.text import Lines, lines, table
from pipelines.files.words import shorten

_BAR = 30
_FROM_DB, _TO_DB = 10.0, 55.0
"""The scale of the bars. Unrelated videos are at about 10 dB; a full bar means identical."""


def diagnosis_text(diagnosis: Diagnosis) -> Lines:
    """The conclusion, the table of factors, the fixes one by one, the first divergence, what to change, the cost."""
    parts = [f"  {diagnosis.sentence}"]
    if diagnosis.factors:
        parts.append(_factors(diagnosis))
    if len(diagnosis.waterfall) > 1:
        parts.append(_waterfall(diagnosis.waterfall))
    if diagnosis.smallest_set is not None:
        parts.append(f"  smallest set: {', '.join(diagnosis.smallest_set)} ({diagnosis.smallest_set_evidence})")
    if diagnosis.origin is not None:
        parts.append(_origin(diagnosis.origin))
    if diagnosis.residue is not None:
        parts.append(f"  left unexplained: {figures(diagnosis.residue)}. Possible causes outside the recipes:")
        parts += [f"    - {cause}" for cause in diagnosis.outside]
    needed = diagnosis.smallest_set if diagnosis.smallest_set is not None else [f.factor for f in diagnosis.factors]
    changes = [(cost.factor, cost.fix) for cost in diagnosis.factors if cost.factor in needed]
    if changes:
        parts.append("  what to change (details: `parity explain FACTOR`; code to paste: the report):")
        parts.append(table(changes, indent="    "))
    if diagnosis.stills_missing is not None:
        parts.append(f"  {diagnosis.stills_missing}")
    if diagnosis.cost is not None:
        cost = diagnosis.cost
        parts.append(
            f"  cost: {cost.spent:g} of {cost.planned:g} generations planned, {cost.denoising_steps} denoising steps, "
            f"{cost.decodes} decodes, {cost.encodings} encodings, {cost.reused} generations reused, {cost.seconds:g} s"
            + (f"; stopped: {diagnosis.stopped}" if diagnosis.stopped else "")
        )
    return lines(*parts)


def figures(closeness: Closeness | None) -> str:
    """PSNR and SSIM in short: `36.12 dB 0.9531`, `identical`, or why there are none."""
    if closeness is None:
        return "-"
    if closeness.unavailable is not None:
        return "not comparable"
    if closeness.identical:
        return "identical"
    ssim = f" {closeness.ssim:.4f}" if closeness.ssim is not None else ""
    return decibels(closeness.psnr) + ssim


def _factors(diagnosis: Diagnosis) -> Lines:
    if diagnosis.mode == "quick":
        rows: list[tuple[str, ...]] = [("rank", "factor", "preview", "inference", "latents change by", "level")]
        rows += [
            (_rank(cost), cost.factor, _cut(cost.preview), _cut(cost.inference), _change(cost), cost.level or "?")
            for cost in diagnosis.factors
        ]
    else:
        rows = [("rank", "factor", "only this fixed: file", "raw", "only this broken: file", "raw", "level")]
        rows += [
            (_rank(cost), cost.factor, *_pair(cost.gain), *_pair(cost.loss), cost.level or "?")
            for cost in diagnosis.factors
        ]
        if diagnosis.as_is is not None:
            rows.insert(1, ("", "as requested", *_pair(diagnosis.as_is), "", "", ""))
        if diagnosis.preview_recipe is not None:
            rows.append(("", "preview's recipe", *_pair(diagnosis.preview_recipe), "", "", ""))
    missing = [(cost.factor, cost.not_measured) for cost in diagnosis.factors if cost.not_measured]
    if diagnosis.mode == "quick":
        return table(rows)
    return lines(table(rows), *(f"  not measured: {factor}: {reason}" for factor, reason in missing))


def _rank(cost: FactorCost) -> str:
    return "?" if cost.rank is None else str(cost.rank)


def _pair(trial: Trial | None) -> tuple[str, str]:
    return ("-", "-") if trial is None else (figures(trial.to_preview), figures(trial.to_recipe))


def _change(cost: FactorCost) -> str:
    return "-" if cost.latent_gap is None else f"{math.sqrt(cost.latent_gap):.2%}"


def _waterfall(steps: tuple[WaterfallStep, ...]) -> Lines:
    rows = []
    for step in steps:
        name = "as requested" if step.taken is None else f"+ {step.taken}"
        if step.trial is None:
            rows.append((name, "not generated: more than the generations planned", ""))
        else:
            rows.append((name, figures(step.trial.to_preview), _bar(step.trial.to_preview)))
    return lines("  adding fixes one by one (each file compared with the preview):", table(rows, indent="    "))


def _bar(closeness: Closeness) -> str:
    if closeness.unavailable is not None:
        return ""
    if closeness.psnr is None:
        return "█" * _BAR
    share = (closeness.psnr - _FROM_DB) / (_TO_DB - _FROM_DB)
    return "█" * max(1, min(_BAR - 1, round(share * _BAR)))


def _origin(origin: Origin) -> Lines:
    parts = [f"  first divergence: {origin.sentence}"]
    if origin.latent_gaps:
        gaps = ", ".join(f"{math.sqrt(gap):.2%}" for gap in origin.latent_gaps)
        first = "never diverge" if origin.first_step is None else f"diverge at step {origin.first_step}"
        parts.append(f"    latents {first}; relative difference after each step: {gaps}")
    return lines(*parts)


def search_text(search: Search) -> Lines:
    """The conclusion, one row per setting, and the cost."""
    rows = [("setting", "assumed" if search.of == "preview" else "expected", "found", "evidence")]
    rows += [
        (s.name, _cut(s.assumed), _cut(s.found) if s.changed else "unchanged", s.evidence) for s in search.settings
    ]
    subject = {"preview": "", "server": "the server's settings: ", "file": "the settings behind the file: "}[search.of]
    parts = [f"  {subject}{search.sentence}", table(rows)]
    parts += [f"  note: {note}" for note in search.notes]
    if search.cost is not None:
        cost = search.cost
        parts.append(
            f"  cost: {cost.spent:g} generations, {cost.denoising_steps} denoising steps, {cost.decodes} decodes, "
            f"{cost.seconds:g} s" + (f"; stopped: {search.stopped}" if search.stopped else "")
        )
    return lines(*parts)


def _cut(text: str) -> str:
    return shorten(text, 44)
