"""What a server did, found out here: what is expected of it is generated, or what it generated is looked for."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from parity.case.progress import Progress
from parity.comparison.compare import deliver
from parity.diagnosis.counterfactuals import diagnose, make_plan
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.search import OF_SERVER, plan_text, search
from parity.remote.run import Compared, Keep, judged
from parity.results.case import CaseResult, Evidence
from parity.results.diagnosis import Diagnosis, Search
from pipelines.engine.stages import Trace
from pipelines.errors import OutOfMemoryError, ParityError
from pipelines.media.video import Frames
from pipelines.recipe import Recipe

_NO_PROOF = (
    "what the server did was not looked for: its drawings of one request are not alike, so none made here could prove "
    "what it does, and what comes near could not be told from its noise"
)


class ServerDiagnosis:
    """Finds out here what a server did: draws what is expected of it, or looks for what it drew."""

    def __init__(self, compared: Compared, lab: Lab, mode: Literal["full", "gains"], progress: Progress, keep: Keep):
        """`lab`: of the case, with its preview. `keep`: hears of the result as it grows."""
        self._compared, self._lab, self._mode = compared, lab, mode
        self._progress, self._keep = progress, keep

    def diagnose(self) -> CaseResult:
        """The comparison's result with proven findings, a diagnosis, a search: as far as each came."""
        compared, result = self._compared, self._compared.result
        if result.repeat is not None and not result.repeat.identical:
            return dataclasses.replace(result, notes=(*result.notes, _NO_PROOF))
        expected = dataclasses.replace(compared.known.recipe, obstacles=())
        self._progress.planned("1 generation: is the server's file what is expected of it?")
        trace = Trace()
        try:
            frames = self._lab.generate(expected, "what is expected of the server", trace)
        except BudgetSpentError:
            return result
        except OutOfMemoryError:
            raise  # the session tries again with another offload mode; the server is not asked again
        except ParityError as error:
            return dataclasses.replace(result, diagnosis=_not_drawn(self._mode, error))
        if self._is_the_servers(frames, expected):
            note = "drawn here, what is expected of the server gives its file to the last bit"
            return self._explain(self._known_as(expected, "pixels", note), expected, self._lab, frames, trace)
        return self._search(expected)

    def _is_the_servers(self, frames: Frames, recipe: Recipe) -> bool:
        served = self._compared.served
        encoded, delivered = deliver(frames, recipe)
        if hashlib.sha256(encoded).digest() == hashlib.sha256(served.encoded).digest():
            return True
        return delivered.frames.shape == served.video.frames.shape and bool(
            np.array_equal(delivered.frames, served.video.frames)
        )

    def _known_as(self, recipe: Recipe, proof: Evidence, note: str) -> CaseResult:
        """The result, now that the server is known to have drawn `recipe`."""
        compared = self._compared
        known = dataclasses.replace(compared.known, recipe=recipe, proof=proof)
        result = judged(compared.case, known, compared.comparison, compared.served, compared.measured)
        return dataclasses.replace(
            result,
            notes=(*result.notes, note),
            artifacts=compared.result.artifacts,
            timings=compared.result.timings,
        )

    def _explain(self, result: CaseResult, recipe: Recipe, lab: Lab, frames: Frames, trace: Trace) -> CaseResult:
        """What each factor costs, our drawing standing in for the server's."""
        plan = make_plan(dataclasses.replace(self._compared.case, inference=recipe), self._mode)
        self._progress.planned(str(plan))
        self._keep(result)
        fixes = {finding.factor: finding.fix for finding in result.findings}

        def with_diagnosis(known: Diagnosis) -> CaseResult:
            factors = tuple(dataclasses.replace(one, fix=fixes.get(one.factor, one.fix)) for one in known.factors)
            return dataclasses.replace(result, diagnosis=dataclasses.replace(known, factors=factors))

        return with_diagnosis(diagnose(lab, plan, frames, trace, lambda known: self._keep(with_diagnosis(known))))

    def _search(self, expected: Recipe) -> CaseResult:
        compared = self._compared
        case = dataclasses.replace(
            compared.case,
            preview=expected,
            inference=compared.case.preview,
            video=Path(f"output{compared.served.suffix}"),
        )
        self._progress.planned(plan_text(case, OF_SERVER))

        def keep(found: Search) -> None:
            self._keep(dataclasses.replace(compared.result, search=found))

        lab = self._lab.for_video(case, compared.served.video)
        found, best = search(lab, keep, OF_SERVER)
        if found.verdict == "proven":
            note = "what the server did was found by drawing it here: its file, to the last bit"
            result = dataclasses.replace(self._known_as(best, "pixels", note), search=found)
            frames = lab.generate(best, "what the server did")  # its latents are known
            again = lab.for_video(compared.case, compared.preview)
            return self._explain(result, best, again, frames, Trace())
        if found.verdict == "likely":
            note = "what the server did was found as far as rounding lets it: another kind of CPU or GPU drew its file"
            return dataclasses.replace(self._known_as(best, "likely", note), search=found)
        note = "what is expected of the server does not give its file here, and nothing that was tried does"
        result = dataclasses.replace(compared.result, notes=(*compared.result.notes, note))
        return dataclasses.replace(result, search=found)


def _not_drawn(mode: Literal["full", "gains"], error: ParityError) -> Diagnosis:
    """The server's video was compared; what it did can only be found out by an engine here."""
    reason = (
        f"what the server did is found out by drawing here, which needs checkpoint and LoRA on this machine: {error}"
    )
    return Diagnosis(mode=mode, sentence=f"stopped: {reason}", explained=None, stopped="error", error=reason)
