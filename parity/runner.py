"""Running cases: one engine for all, a result for each, results.json whole after every case."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from parity.case import Case
from parity.compare import Comparison, compare, read_preview
from parity.diagnosis.counterfactuals import diagnose, make_plan
from parity.diagnosis.lab import Lab, TrialProgress
from parity.diagnosis.quick import diagnose_quickly, make_quick_plan
from parity.diagnosis.result import Search
from parity.diagnosis.search import plan_text, search
from parity.environment import describe
from parity.findings import find_differences
from parity.result import CaseResult, FindingResult, Run, Status, to_json, write_atomically
from parity.verdict import findings_from_pixels, judge
from pipelines.engine import Engine, Offload
from pipelines.errors import ParityError, UnreproducibleError
from pipelines.recipe import Recipe, to_dict
from pipelines.stages import Trace
from pipelines.video import Frames

Thoroughness = Literal["full", "gains", "quick"]
"""full: gains and losses. gains: half the drawings. quick: a ranking by latents, for two generations."""


class Progress(TrialProgress, Protocol):
    """Hears of cases and denoising steps as they go."""

    def case_started(self, case: Case) -> None: ...

    def planned(self, plan: str) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, as against what."""

    out: Path
    device: str = "auto"
    offload: Offload = "none"
    command: tuple[str, ...] = ()
    diagnose: Thoroughness | None = None
    """Whether to find out why, and how thoroughly."""
    search: bool = False
    """Whether to look for the settings that drew the preview."""
    budget: float | None = None
    """Full-generation equivalents a diagnosis or search may spend on a case; None: what its plan says."""


def default_out() -> Path:
    """Where a run's results go when nobody says: `reports/out/<start time>`."""
    return Path("reports/out") / datetime.now().strftime("%Y-%m-%d_%H%M%S")


class Session:
    """Runs cases into one folder. Use as a context manager, so that weights are let go of at the end."""

    def __init__(self, options: Options, engine: Engine | None = None) -> None:
        """`engine`: one to share with other sessions, who keep its weights; None: one of our own."""
        self.options = options
        self._own_engine = engine is None
        self.engine = engine or Engine(options.device, options.offload)
        self.run = Run(
            started=_now(),
            finished=None,
            command=options.command,
            environment=describe(options.device) | {"offload": options.offload},
            cases=(),
        )

    def __enter__(self) -> Session:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_engine:
            self.engine.close()

    @property
    def results_path(self) -> Path:
        return self.options.out / "results.json"

    def run_case(self, case: Case, progress: Progress) -> CaseResult:
        """Run one case and add it to results.json. What cannot be run is a result too, not an exception.

        A KeyboardInterrupt during a diagnosis is raised again once what is known is written.
        """
        progress.case_started(case)
        try:
            result = self._run(case, progress)
        except UnreproducibleError as error:
            result = _not_run(case, "unpairable", str(error))
        except ParityError as error:
            result = _not_run(case, "error", str(error))
        self._keep(result)
        progress.case_finished(result)
        if "interrupted" in (result.diagnosis and result.diagnosis.stopped, result.search and result.search.stopped):
            raise KeyboardInterrupt
        return result

    def finish(self, order: Sequence[str]) -> Run:
        """Put the cases in `order` (ids) and close the run."""
        rank = {case_id: number for number, case_id in enumerate(order)}
        cases = sorted(self.run.cases, key=lambda result: rank[result.id])
        self.run = dataclasses.replace(self.run, cases=tuple(cases), finished=_now())
        self._write()
        return self.run

    def _run(self, case: Case, progress: Progress) -> CaseResult:
        if self.options.search:
            return self._search(case, progress)
        if self.options.diagnose == "quick":
            return self._quick(case, progress)
        return self._compare(case, progress)

    def _keep(self, result: CaseResult) -> None:
        """Add a case to results.json, or put it in the place of what was known of it before."""
        others = (known for known in self.run.cases if known.id != result.id)
        self.run = dataclasses.replace(self.run, cases=(*others, result))
        self._write()

    def _write(self) -> None:
        write_atomically(self.results_path, to_json(self.run).encode())

    def _compare(self, case: Case, progress: Progress) -> CaseResult:
        if case.preview.obstacles:
            raise UnreproducibleError("; ".join(case.preview.obstacles))
        clock = time.perf_counter()
        preview = read_preview(case.video, case.preview)
        plan = make_plan(case, "gains" if self.options.diagnose == "gains" else "full")
        if self.options.diagnose is not None:
            progress.planned(str(plan))
        read_at = time.perf_counter()
        self.engine.load(case.inference, case.token)
        loaded_at = time.perf_counter()
        lab = Lab(self.engine, case, preview, progress, self.options.budget)
        trace = Trace() if self.options.diagnose else None
        raw = lab.draw(case.inference, case.id, trace)
        drawn_at = time.perf_counter()
        comparison = compare(case.video, preview, raw, case.preview, case.inference)
        known = find_differences(case.preview, case.inference)
        findings = (*known, *findings_from_pixels(comparison, known))
        status, verdict = judge(case, comparison, findings)
        artifacts = self._keep_videos(case, comparison)
        done_at = time.perf_counter()
        timings = {
            "read_preview": read_at - clock,
            "load": loaded_at - read_at,
            "generate": drawn_at - loaded_at,
            "compare": done_at - drawn_at,
            "total": done_at - clock,
        }
        result = dataclasses.replace(
            _base(case, status, verdict, findings),
            preview=comparison.preview,
            output=comparison.output,
            bit_identical=comparison.bit_identical,
            compared_as=comparison.compared_as,
            metrics=comparison.metrics,
            codec_floor=comparison.codec_floor,
            sigmas={"preview": _sigmas(case.preview), "inference": _sigmas(case.inference)},
            notes=(*case.preview.notes, *comparison.notes),
            timings={name: round(seconds, 3) for name, seconds in timings.items()},
            artifacts=artifacts,
            error=verdict if status == "error" else None,
        )
        if trace is None:
            return result
        self._keep(result)
        kept = functools.partial(dataclasses.replace, result)
        diagnosis = diagnose(lab, plan, raw, trace, lambda known: self._keep(kept(diagnosis=known)))
        return kept(diagnosis=diagnosis)

    def _search(self, case: Case, progress: Progress) -> CaseResult:
        """The settings behind the preview; the request itself is not drawn."""
        clock = time.perf_counter()
        preview = read_preview(case.video, case.preview)
        progress.planned(plan_text(case))
        findings = find_differences(case.preview, case.inference)
        result = _base(case, "passed", "", findings)

        def concluded(search: Search) -> CaseResult:
            timings = {"total": round(time.perf_counter() - clock, 3)}
            verdict = f"{search.verdict}; the request was not drawn (--search)"
            status: Status = "passed" if search.verdict == "proven" else "drifted"
            return dataclasses.replace(result, status=status, verdict=verdict, search=search, timings=timings)

        lab = Lab(self.engine, case, preview, progress, self.options.budget)
        return concluded(search(lab, lambda found: self._keep(concluded(found))))

    def _quick(self, case: Case, progress: Progress) -> CaseResult:
        """A ranking of factors without a comparison: nothing is drawn whole."""
        if case.preview.obstacles:
            raise UnreproducibleError("; ".join(case.preview.obstacles))
        clock = time.perf_counter()
        plan = make_quick_plan(case)
        progress.planned(str(plan))
        diagnosis = diagnose_quickly(Lab(self.engine, case, read_preview(case.video, case.preview), progress), plan)
        findings = find_differences(case.preview, case.inference)
        found = [finding.factor for finding in findings]
        status: Status = "passed" if not found else "drifted"
        if case.expect is not None:
            status = "expected_drift" if set(found) == set(case.expect) else "drifted"
        verdict = f"by the recipes alone, not drawn (--quick); differs in {', '.join(found) or 'nothing'}"
        timings = {"total": round(time.perf_counter() - clock, 3)}
        return dataclasses.replace(_base(case, status, verdict, findings), diagnosis=diagnosis, timings=timings)

    def _keep_videos(self, case: Case, comparison: Comparison) -> dict[str, str]:
        """Both videos as they are, and stills of every frame for the report."""
        folder = self.options.out / "artifacts" / case.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        output = folder / f"output.{case.inference.codec.format}"
        write_atomically(output, comparison.encoded)
        preview = folder / f"preview{case.video.suffix}"
        if case.video.is_dir():
            shutil.copytree(case.video, preview)
        else:
            shutil.copyfile(case.video, preview)
        kept = {"output": output, "preview": preview}
        for name, frames in (("preview", comparison.preview_frames), ("output", comparison.output_frames)):
            kept[f"{name}_frames"] = folder / f"{name}_frames"
            _write_stills(kept[f"{name}_frames"], frames)
        return {name: path.relative_to(self.options.out).as_posix() for name, path in kept.items()}


def _write_stills(folder: Path, frames: Frames) -> None:
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:04d}.webp", quality=90)


def _sigmas(recipe: Recipe) -> tuple[float, ...]:
    return recipe.scheduler.sigmas(recipe.steps)


def _yaml(case: Case) -> str | None:
    """The case file's text, without the request's Hub token."""
    try:
        text = case.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.replace(case.token, "…") if case.token else text


def _base(case: Case, status: Status, verdict: str, findings: tuple[FindingResult, ...]) -> CaseResult:
    return CaseResult(
        id=case.id,
        status=status,
        verdict=verdict,
        model=case.preview.model,
        case_file=str(case.path),
        tags=case.tags,
        expect=case.expect,
        tolerance=case.tolerance,
        findings=findings,
        recipes={"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
        case_yaml=_yaml(case),
        notes=case.preview.notes,
    )


def _not_run(case: Case, status: Status, reason: str) -> CaseResult:
    findings = find_differences(case.preview, case.inference)
    verb = "nobody can repeat this preview" if status == "unpairable" else "could not be run"
    return dataclasses.replace(_base(case, status, f"{verb}: {reason}", findings), error=reason)


def in_loading_order(cases: Sequence[Case]) -> list[Case]:
    """Cases grouped so that every checkpoint is loaded once; else in the order given."""
    groups: dict[object, list[Case]] = {}
    for case in cases:
        groups.setdefault(Engine.load_key(case.inference), []).append(case)
    return [case for group in groups.values() for case in group]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
