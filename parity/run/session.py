"""Running cases in this process: one engine for all, and a result for each, on disk before the next one begins."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Literal, Self

from parity.case.load import Case
from parity.case.progress import Progress
from parity.case.target import Target
from parity.comparison.compare import read_preview
from parity.comparison.outcome import blank_result, cut_short, result_without_output
from parity.comparison.verdict import not_a_number
from parity.cost.fetching import quiet
from parity.cost.machine import Machine
from parity.cost.speeds import kind_of_machine, machine_of, remember
from parity.diagnosis.counterfactuals import diagnose, make_plan
from parity.diagnosis.lab import Lab
from parity.diagnosis.quick import diagnose_quickly, make_quick_plan
from parity.diagnosis.search import plan_text, search
from parity.elsewhere.compare import MadeComparison
from parity.elsewhere.diagnose import MadeDiagnosis
from parity.elsewhere.file import compare_file
from parity.factors.findings import known_differences
from parity.remote.exchange import Exchange
from parity.remote.run import compare_served
from parity.repeat.measure import generate_repeats
from parity.results.case import CaseResult, Status
from parity.results.diagnosis import Diagnosis, Search, Thoroughness
from parity.results.environment import describe, reaching_the_bits
from parity.results.folders import remember_hashes
from parity.run.cache import open_cache
from parity.run.encodings import KeptEncodings, folder_in
from parity.run.generation import Shelf
from parity.run.local import compare_locally
from parity.run.options import Options
from parity.run.runner import CaseRunner
from parity.run.smoke import smoke
from parity.run.stills import TrialStills
from parity.run.stopwatch import Stopwatch
from parity.run.unexpected import unexpected
from parity.run.watchdog import Watchdog
from parity.run.watched import Watched
from parity.run.work import machine_under
from pipelines.drift import frames_key
from pipelines.engine.engine import Engine
from pipelines.engine.smoke import SmokeEngine
from pipelines.engine.stages import Trace
from pipelines.errors import (
    CaseError,
    HubError,
    NotANumberError,
    OutOfMemoryError,
    ParityError,
    UnreproducibleError,
)
from pipelines.files.shown import shown
from pipelines.limits import within_limits
from pipelines.media.video import Frames
from pipelines.offload import OFFLOADS, Offload
from pipelines.phases import unheard


class Session(CaseRunner):
    """Runs cases with an engine in this process."""

    others = "--resume runs the remaining cases"
    """What becomes of the other cases when this process must be ended."""

    def __init__(self, options: Options, engine: Engine | None = None) -> None:
        """`engine` is shared with other sessions and stays loaded; with None the session creates its own."""
        remember_hashes()
        self._own_engine = engine is None
        self.engine = engine or _new_engine(options, options.offload)
        super().__init__(options, describe(options.device) | {"offload": options.offload})
        cache = open_cache(options.cache)
        self._exchanges: dict[Target, Exchange] = {}
        self._not_had: dict[str, str] = {}
        self._repeats: tuple[str, list[tuple[bool, Frames]]] | None = None
        self._shelf = Shelf(cache, self.environment) if cache is not None else None
        self._encodings: KeptEncodings | None = None
        self._kept: CaseResult | None = None
        """What is kept of the case that runs."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._keep_encodings()
        return self

    def __exit__(self, *_: object) -> None:
        for exchange in self._exchanges.values():
            exchange.close()
        if self._encodings is not None:
            self.engine.keep_encodings(None)
        if self._own_engine:
            self.engine.close()
        super().__exit__()

    def _keep_encodings(self) -> None:
        """Let the engine keep encoded texts and images in the cache folder.

        Not with --repeat, which asks whether the same comes out when all is made anew: encoding, too.
        """
        if self._shelf is not None and self.options.task.repeat is None:
            environment = {**self.environment, "offload": self.engine.offload}
            cache = self._shelf.cache
            self._encodings = KeptEncodings(folder_in(cache.root), reaching_the_bits(environment), cache.key)
            self.engine.keep_encodings(self._encodings)

    @property
    def offload(self) -> Offload:
        return self.engine.offload

    @property
    def machine(self) -> Machine:
        return machine_under(self.engine)

    def _result_of(self, case: Case, progress: Progress) -> CaseResult:
        watchdog = Watchdog(self.options.timeout, lambda reason: self._end(case, reason))
        stopwatch = Stopwatch()
        self._kept = None
        try:
            with watchdog.watching("loading"), self._telling(Watched(progress, watchdog, stopwatch)) as watched:
                result = self._run_once_more(case, watched)
            self._remember(case, stopwatch)
            result = self._timed(result, stopwatch)
        except UnreproducibleError as error:
            result = result_without_output(case, "unpairable", str(error))
        except HubError as error:
            result = self._cut_short(case, self._not_fetched(case, error))
        except ParityError as error:
            result = self._cut_short(case, str(error))
            if isinstance(error, NotANumberError):
                result = dataclasses.replace(result, findings=(*result.findings, not_a_number(str(error))))
        except BrokenPipeError:  # nobody reads the progress any more; that is no fault of the case
            raise
        except Exception as error:
            result = self._unexpected(case, error)
        if self._encodings is not None and self._encodings.problem is not None:
            result = dataclasses.replace(result, notes=(*result.notes, self._encodings.problem))
            self._encodings.problem = None
        result = self._keep(result)
        self._repeats = None
        return result

    @contextlib.contextmanager
    def _telling(self, progress: Progress) -> Iterator[Progress]:
        """Let the engine tell its phases to a listener, instead of the Hub library's bars."""
        self.engine.on_phase = progress.phase
        try:
            with quiet():
                yield progress
        finally:
            self.engine.on_phase = unheard

    def _remember(self, case: Case, stopwatch: Stopwatch) -> None:
        """Keep how long the case's own generation took; a video made elsewhere says nothing about this machine."""
        timing = stopwatch.timing()
        if timing is not None and not case.made_elsewhere and self.options.task.begins_with_the_request:
            remember(within_limits(case.inference), machine_of(self.environment), self.engine.offload, timing)

    def _timed(self, result: CaseResult, stopwatch: Stopwatch) -> CaseResult:
        """The result with the time of its own generation, if this run made one."""
        task = self.options.task
        if result.made_elsewhere or result.output is None or result.drawn_before is not None:
            return result
        machine = kind_of_machine(self.environment, self.engine.offload, self.options.workers)
        return dataclasses.replace(result, speed=stopwatch.speed(task.repeat or 1, machine))

    def _not_fetched(self, case: Case, error: HubError) -> str:
        """What the Hub refused, in full for the first case that it fails; the others refer to that one."""
        first = self._not_had.setdefault(error.source, case.id)
        return str(error) if first == case.id else f"{error.source} could not be fetched from the Hub, as for {first}"

    def _unexpected(self, case: Case, error: Exception) -> CaseResult:
        """The case's error, whatever it was: the other cases do not depend on it, and weights are loaded anew."""
        with contextlib.suppress(Exception):
            self.engine.close()
        said = unexpected(error, self.out.traceback_of(case.id), case.token)
        return self._cut_short(case, str(said))

    def _end(self, case: Case, reason: str) -> None:
        """Write the results so far and end the process, because something in it hangs and cannot be stopped."""
        self._keep(self._cut_short(case, f"{reason} and could not be stopped: the process was ended"))
        self.record.end()
        sys.stderr.write(f"parity: {shown(case.id)}: {reason}; the process is ended, {self.others}\n")
        sys.stderr.flush()
        os._exit(3)

    def _cut_short(self, case: Case, reason: str) -> CaseResult:
        return cut_short(case, self._kept, reason, self.options.task.diagnose)

    def _run_once_more(self, case: Case, progress: Progress) -> CaseResult:
        """Run a case; if memory runs out, once more with the next offload mode, which all later cases keep."""
        try:
            return self._run(case, progress)
        except OutOfMemoryError as error:
            tried = self.engine.offload
            next_modes = OFFLOADS[OFFLOADS.index(tried) + 1 :]
            if not self._own_engine or not next_modes or not can_offload(self.engine):
                raise
            reason = str(error)
        self.engine.close()
        self.engine = _new_engine(self.options, next_modes[0])
        self.engine.on_phase = progress.phase
        self._keep_encodings()
        result = self._run(case, progress)
        used = f"--offload {next_modes[0]} was used, as for all later cases"
        note = f"--offload {tried} was not enough ({reason}); {used}"
        return dataclasses.replace(result, notes=(*result.notes, note))

    def _run(self, case: Case, progress: Progress) -> CaseResult:
        if isinstance(self.engine, SmokeEngine):
            return smoke(self.engine, case, progress)
        if self.options.task.search:
            return self._search(case, progress)
        if self.options.task.diagnose == "quick":
            return self._quick(case, progress)
        if self.options.task.only_drifted:
            result = self._keep(self._compare(case, progress, None))
            if result.status != "drifted":
                return result
        return self._compare(case, progress, self.options.task.diagnose)

    def _keep(self, result: CaseResult) -> CaseResult:
        """Add a case to results.json, or replace its earlier result. Returns it as it was kept: judged."""
        self._kept = self._store(result)
        return self._kept

    def _store(self, result: CaseResult) -> CaseResult:
        return self.record.keep(result)

    def _compare(self, case: Case, progress: Progress, thoroughness: Thoroughness | None) -> CaseResult:
        if case.made_elsewhere:
            return self._compare_made(case, progress, thoroughness)
        _check(case)
        clock = time.perf_counter()
        progress.phase("read", "")
        preview = read_preview(case.video, case.preview)
        plan = make_plan(case, "gains" if thoroughness == "gains" else "full")
        if thoroughness is not None:
            progress.planned(str(plan), plan.cost)
        read_at = time.perf_counter()
        repeats = self._generate_repeats(case, progress)
        repeated_at = time.perf_counter()
        lab = Lab(self.engine, case, preview, progress, self.options.task.budget)
        trace = Trace() if thoroughness else None
        compared = compare_locally(lab, self.out, self._shelf, trace, repeats)
        timings = {"read_preview": read_at - clock, **({"repeat": repeated_at - read_at} if repeats else {})}
        timings |= {**compared.result.timings, "total": time.perf_counter() - clock}
        result = dataclasses.replace(
            compared.result, timings={name: round(seconds, 3) for name, seconds in timings.items()}
        )
        if trace is None:
            return result
        self._keep(result)
        lab.keep_stills = stills = TrialStills(self.out, result, case.video, self.options.task.stills)
        floor = result.repeat.raw_floor if result.repeat is not None else None
        noise = floor.psnr_mean if floor is not None else None
        as_is = compared.raw
        if frames_key(plan.case.inference) != frames_key(within_limits(case.inference)):
            trace = Trace()  # without what this version cannot generate, the request is another one
            as_is = lab.generate(plan.case.inference, "the request, as far as supported", trace)

        def concluded(known: Diagnosis) -> CaseResult:
            return stills.noted(dataclasses.replace(result, diagnosis=known))

        return concluded(diagnose(lab, plan, as_is, trace, lambda known: self._keep(concluded(known)), noise))

    def _generate_repeats(self, case: Case, progress: Progress) -> list[tuple[bool, Frames]]:
        """The generations of --repeat besides the case's own; made once, even if the case is compared twice."""
        if self.options.task.repeat is None:
            return []
        if self._repeats is None or self._repeats[0] != case.id:
            self._repeats = case.id, generate_repeats(self.engine, case, self.options.task.repeat, progress)
        return self._repeats[1]

    def _compare_made(self, case: Case, progress: Progress, thoroughness: Thoroughness | None) -> CaseResult:
        """Compare a video that a server generates, or that the case gives as a file."""
        compared = self._made(case, progress)
        if thoroughness is None:
            return compared.result
        mode: Literal["full", "gains"] = "gains" if thoroughness == "gains" else "full"
        return self._find_out(compared, mode, progress)

    def _made(self, case: Case, progress: Progress) -> MadeComparison:
        """Have the case's server generate it, or read its file, and compare."""
        if case.target is None:
            compared = compare_file(case, progress, repeat=self.options.task.repeat is not None)
        else:
            if case.target not in self._exchanges:
                self._exchanges[case.target] = Exchange(case.target)
            compared = compare_served(self._exchanges[case.target], case, progress, self.options.task.repeat)
        artifacts = self.out.write_videos(case, compared.comparison)
        return dataclasses.replace(compared, result=dataclasses.replace(compared.result, artifacts=artifacts))

    def _find_out(
        self, compared: MadeComparison, mode: Literal["full", "gains"], progress: Progress, *, search: bool = False
    ) -> CaseResult:
        """Find out on this machine how a video was made elsewhere; with `search` by nothing but a search."""
        case, result = compared.case, compared.result
        self._keep(result)
        lab = Lab(self.engine, case, compared.preview, progress, self.options.task.budget)
        lab.keep_stills = stills = TrialStills(self.out, result, case.video, self.options.task.stills)

        def keep(known: CaseResult) -> CaseResult:
            return self._keep(stills.noted(known))

        diagnosis = MadeDiagnosis(compared, lab, mode, progress, keep)
        return stills.noted(diagnosis.search() if search else diagnosis.diagnose())

    def _search(self, case: Case, progress: Progress) -> CaseResult:
        """Search for the settings behind the preview, or behind the case's file; no request is generated."""
        if case.output is not None:
            return self._find_out(self._made(case, progress), "full", progress, search=True)
        clock = time.perf_counter()
        progress.phase("read", "")
        preview = read_preview(case.video, case.preview)
        progress.planned(plan_text(case))
        findings = known_differences(case)
        result = blank_result(case, "passed", "", findings)

        def concluded(search: Search) -> CaseResult:
            timings = {"total": round(time.perf_counter() - clock, 3)}
            verdict = f"{search.verdict}; the request was not generated (--search)"
            status: Status = "passed" if search.verdict == "proven" else "drifted"
            return dataclasses.replace(result, status=status, verdict=verdict, search=search, timings=timings)

        lab = Lab(self.engine, case, preview, progress, self.options.task.budget)
        return concluded(search(lab, lambda found: self._keep(concluded(found)))[0])

    def _quick(self, case: Case, progress: Progress) -> CaseResult:
        """Rank the factors without a comparison: nothing is generated in full."""
        _check(case)
        clock = time.perf_counter()
        plan = make_quick_plan(case)
        progress.planned(str(plan), plan.cost)
        progress.phase("read", "")
        diagnosis = diagnose_quickly(Lab(self.engine, case, read_preview(case.video, case.preview), progress), plan)
        findings = known_differences(case)
        found = [finding.factor for finding in findings]
        status: Status = "passed" if not found else "drifted"
        if case.expect is not None:
            status = "expected_drift" if set(found) == set(case.expect) else "drifted"
        verdict = f"predicted from settings; nothing generated (--quick); differs in {', '.join(found) or 'nothing'}"
        timings = {"total": round(time.perf_counter() - clock, 3)}
        return dataclasses.replace(blank_result(case, status, verdict, findings), diagnosis=diagnosis, timings=timings)


def _new_engine(options: Options, offload: Offload) -> Engine:
    blocks = options.task.blocks
    return SmokeEngine(blocks, options.device, offload) if blocks else Engine(options.device, offload)


def _check(case: Case) -> None:
    """Raises UnreproducibleError for a preview that cannot be reproduced, CaseError for a request nobody serves."""
    if case.preview.obstacles:
        raise UnreproducibleError("; ".join(case.preview.obstacles))
    if case.inference.obstacles:
        raise CaseError("; ".join(case.inference.obstacles))


def can_offload(engine: Engine) -> bool:
    """Return whether weights can be kept in CPU memory while a GPU computes."""
    return engine.device.type != "cpu"


def in_loading_order(cases: Sequence[Case]) -> list[Case]:
    """Cases grouped so that every checkpoint is loaded once, otherwise in the order given."""
    groups: dict[object, list[Case]] = {}
    for case in cases:
        groups.setdefault(Engine.load_key(case.inference), []).append(case)
    return [case for group in groups.values() for case in group]
