"""Finding out on this machine what a server did: generate what it is expected to do, or search for its settings."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from parity.case.progress import Progress
from parity.comparison.compare import deliver
from parity.diagnosis.counterfactuals import diagnose, make_plan, whole_code
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.search import OF_SERVER, plan_text, search
from parity.remote.run import Keep, ServedComparison, judged
from parity.results.case import CaseResult, Evidence
from parity.results.diagnosis import Diagnosis, Search
from pipelines.engine.stages import Trace
from pipelines.errors import OutOfMemoryError, ParityError
from pipelines.media.video import Frames
from pipelines.recipe import Recipe

_NO_PROOF = (
    "the server's settings were not searched for: it gives a different video for each request, so no generation on "
    "this "
    "machine could prove them"
)


class ServerDiagnosis:
    """Finds out on this machine what a server did: generates what is expected of it, or searches for its settings."""

    def __init__(
        self, compared: ServedComparison, lab: Lab, mode: Literal["full", "gains"], progress: Progress, keep: Keep
    ):
        """`lab` is that of the case, with its preview. `keep` is called with the result as it grows."""
        self._compared, self._lab, self._mode = compared, lab, mode
        self._progress, self._keep = progress, keep

    def diagnose(self) -> CaseResult:
        """The comparison's result, with proven findings, a diagnosis and a search as far as each got."""
        compared, result = self._compared, self._compared.result
        if result.repeat is not None and not result.repeat.identical:
            return dataclasses.replace(result, notes=(*result.notes, _NO_PROOF))
        expected = dataclasses.replace(compared.known.recipe, obstacles=())
        self._progress.planned("up to 1 generation, to check whether the server's file is as expected")
        trace = Trace()
        try:
            frames = self._lab.generate(expected, "the server's expected recipe", trace)
        except BudgetSpentError:
            return result
        except OutOfMemoryError:
            raise  # the session tries again with another offload mode, without another request to the server
        except ParityError as error:
            return dataclasses.replace(result, diagnosis=_not_generated(self._mode, error))
        if self._is_the_servers(frames, expected):
            note = "the server's expected recipe, generated on this machine, gives its file bit for bit"
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
        """The result, now that the server is known to use `recipe`."""
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
        """Measure each factor's effect, with our frames in place of the server's."""
        plan = make_plan(dataclasses.replace(self._compared.case, inference=recipe), self._mode)
        self._progress.planned(str(plan))
        self._keep(result)
        found = {finding.factor: finding for finding in result.findings}

        def with_diagnosis(known: Diagnosis) -> CaseResult:
            factors = tuple(
                dataclasses.replace(one, fix=found[one.factor].fix, code=found[one.factor].code)
                if one.factor in found
                else one
                for one in known.factors
            )
            # What the server itself does wrong, no code of the user's can change.
            faults = {one.factor for one, before in zip(factors, known.factors, strict=True) if one.fix != before.fix}
            code = whole_code(factors, known.smallest_set, self._compared.case.preview, without=faults)
            return dataclasses.replace(result, diagnosis=dataclasses.replace(known, factors=factors, code=code))

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
            note = "the server's settings were found: generated on this machine, they give its file bit for bit"
            result = dataclasses.replace(self._known_as(best, "pixels", note), search=found)
            frames = lab.generate(best, "the server's settings")  # its latents are known
            again = lab.for_video(compared.case, compared.preview)
            again.keep_stills = self._lab.keep_stills
            return self._explain(result, best, again, frames, Trace())
        if found.verdict == "likely":
            note = (
                "the server's settings were found up to rounding: its file was generated on another kind of CPU or GPU"
            )
            return dataclasses.replace(self._known_as(best, "likely", note), search=found)
        note = "neither the server's expected recipe nor any setting tried gives its file on this machine"
        result = dataclasses.replace(compared.result, notes=(*compared.result.notes, note))
        return dataclasses.replace(result, search=found)


def _not_generated(mode: Literal["full", "gains"], error: ParityError) -> Diagnosis:
    """The diagnosis if generation on this machine fails; the server's video was compared all the same."""
    reason = f"finding out what the server did needs its checkpoint and LoRA on this machine: {error}"
    return Diagnosis(mode=mode, sentence=f"stopped: {reason}", explained=None, stopped="error", error=reason)
