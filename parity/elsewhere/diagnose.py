"""Finding out on this machine how a video was made elsewhere: generate what is known of it, or search for settings."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from parity.case.progress import Progress
from parity.comparison.compare import closeness, deliver
from parity.comparison.outcome import stopped_diagnosis
from parity.diagnosis.counterfactuals import diagnose, make_plan, whole_code
from parity.diagnosis.file_settings import why_not_generated
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.search import (
    GAIN_DB,
    OF_FILE,
    OF_SERVER,
    TWIN_DB,
    plan_text,
    rounding_twin,
    search,
    within_rounding,
)
from parity.elsewhere.compare import MadeComparison, judged
from parity.results.case import CaseResult, Evidence
from parity.results.diagnosis import Closeness, Diagnosis, Search
from parity.results.words import decibels
from pipelines.engine.stages import Trace
from pipelines.errors import OutOfMemoryError, ParityError
from pipelines.limits import limits_of
from pipelines.media.video import Frames
from pipelines.recipe import Recipe

Keep = Callable[[CaseResult], object]

_ALIKE_DB = 55.0
"""Closer than this, files differ by one level in a fifth of their values: no setting does so little. Where float32
rounds less than that, the rounding twin would ask for more than two implementations agree on: 60 dB for uni_pc, whose
coefficients have five digits. Another way to 8 bit is at 51 dB."""

_NO_PROOF = (
    "the server's settings were not searched for: it gives a different video for each request, so no generation on "
    "this machine could prove them"
)


class MadeDiagnosis:
    """Finds out on this machine how a video was made: generates what is known of it, or searches for its settings."""

    def __init__(
        self, compared: MadeComparison, lab: Lab, mode: Literal["full", "gains"], progress: Progress, keep: Keep
    ):
        """`lab` is that of the case, with its preview. `keep` is called with the result as it grows."""
        self._compared, self._made, self._lab, self._mode = compared, compared.made, lab, mode
        self._progress, self._keep = progress, keep
        self._has_graph = compared.made.file is not None and compared.case.comfyui is not None

    def diagnose(self) -> CaseResult:
        """The comparison's result, with proven findings, a diagnosis and a search as far as each got."""
        made, result = self._made, self._compared.result
        if result.repeat is not None and not result.repeat.identical:
            return dataclasses.replace(result, notes=(*result.notes, _NO_PROOF))
        obstacle = self._obstacle()
        if obstacle:
            return dataclasses.replace(result, diagnosis=stopped_diagnosis(self._mode, obstacle))
        count = "1 generation" if made.file is None else "2 generations"
        self._progress.planned(f"up to {count}, to check whether {self._aim}")
        trace = Trace()
        try:
            expected, frames, near = self._nearest(trace)
            twin = self._twin(frames, expected, near)
        except BudgetSpentError:
            return result
        except OutOfMemoryError:
            raise  # the session tries again with another offload mode, without another request to the server
        except ParityError as error:
            reason = f"finding out what {made.who} did needs its checkpoint and LoRA on this machine: {error}"
            return dataclasses.replace(result, diagnosis=stopped_diagnosis(self._mode, reason))
        if near.identical:
            note = f"{made.its_recipe}, generated on this machine, gives {self._its_file} bit for bit"
            known = self._known_as(expected, "pixels", note)
        elif twin is not None and (within_rounding(near, twin) or (near.psnr or 0.0) >= _ALIKE_DB):
            known = self._known_as(expected, "likely", f"{self._nearness(near, twin)}: as close as rounding lets it be")
        elif self._has_graph:
            note = f"{self._nearness(near, twin)}: something that the graph does not say differs too"
            known = self._known_as(expected, None, note)
        else:
            return self._search(expected)
        return self._explain(known, expected, self._lab, frames, trace)

    def search(self) -> CaseResult:
        """The comparison's result, with a search for the settings behind the video, whatever is known of them."""
        obstacle = why_not_generated(self._made.video)
        if obstacle:
            return dataclasses.replace(self._compared.result, diagnosis=stopped_diagnosis(self._mode, obstacle))
        return self._search(dataclasses.replace(self._compared.known.recipe, obstacles=()), explain=False)

    def _nearest(self, trace: Trace) -> tuple[Recipe, Frames, Closeness]:
        """Generate what is assumed of the video. Returns its recipe, its frames and how close they come to the video.

        Of a file without a graph nobody knows how its pixels became 8 bit, which costs 51 dB and no further step.
        """
        expected = dataclasses.replace(self._compared.known.recipe, obstacles=())
        frames = self._lab.generate(expected, self._made.its_recipe, trace)
        near = self._to_video(frames, expected)
        if self._made.file is None or self._has_graph or near.identical or near.psnr is None:
            return expected, frames, near
        other = dataclasses.replace(expected, eight_bit="rounded" if expected.eight_bit == "truncated" else "truncated")
        cut = self._lab.generate(other, f"{self._made.its_recipe}, {other.eight_bit} to 8 bit")
        nearer = self._to_video(cut, other)
        if nearer.identical or (nearer.psnr or 0.0) > near.psnr + GAIN_DB:
            return other, cut, nearer
        return expected, frames, near

    @property
    def _aim(self) -> str:
        return "the server's file is as expected" if self._made.file is None else f"{self._made.its_recipe} gives it"

    @property
    def _its_file(self) -> str:
        return "its file" if self._made.file is None else "the file"

    def _obstacle(self) -> str:
        """Why nothing that is known of a file can be generated; empty: it can."""
        if self._made.file is None:
            return ""  # what is expected of a server is generated as far as it goes
        case = self._compared.case
        obstacles = "; ".join(dict.fromkeys((*case.preview.obstacles, *case.inference.obstacles)))
        return obstacles or why_not_generated(self._made.video) or ""

    def _to_video(self, frames: Frames, recipe: Recipe) -> Closeness:
        """Compare our frames, encoded as the video is, with it."""
        encoded, delivered = deliver(frames, recipe)
        if hashlib.sha256(encoded).digest() == hashlib.sha256(self._made.encoded).digest():
            return Closeness(identical=True)
        return closeness(self._made.video.frames, delivered.frames)

    def _twin(self, frames: Frames, recipe: Recipe, near: Closeness) -> Closeness | None:
        """How far rounding alone moves the file's recipe; None: it need not be known, as the file is further away.

        A recipe that is right is at least as close as its codec lets any other copy of its frames be.
        """
        if self._made.file is None or near.identical or near.psnr is None:
            return None
        floor = closeness(frames, deliver(frames, recipe)[1].frames)
        if floor.psnr is not None and near.psnr < floor.psnr - TWIN_DB:
            return None
        return rounding_twin(self._lab, recipe, raw=False)

    def _nearness(self, near: Closeness, twin: Closeness | None) -> str:
        """How close our generation of the file's recipe came, as the beginning of a sentence."""
        figure = decibels(near.psnr, 1) if near.psnr is not None else near.unavailable
        alone = (
            "" if twin is None else f" (rounding alone: {'identical' if twin.identical else decibels(twin.psnr, 1)})"
        )
        return f"{self._made.its_recipe}, generated on this machine and encoded alike, is at {figure} from it{alone}"

    def _known_as(self, recipe: Recipe, proof: Evidence | None, note: str) -> CaseResult:
        """The result, now that the video is known to come of `recipe`."""
        compared = self._compared
        known = dataclasses.replace(compared.known, recipe=recipe, proof=proof)
        result = judged(compared.case, known, compared.comparison, compared.made, compared.measured)
        limits = [
            f"generated without {factor}, which is not supported yet: {reason}"
            for factor, reason in (limits_of(recipe) if self._made.file is not None else {}).items()
        ]
        return dataclasses.replace(
            result,
            notes=(*result.notes, note, *limits),
            artifacts=compared.result.artifacts,
            timings=compared.result.timings,
        )

    def _explain(self, result: CaseResult, recipe: Recipe, lab: Lab, frames: Frames, trace: Trace) -> CaseResult:
        """Measure each factor's effect, with our frames in place of the video's."""
        if self._compared.case.preview.obstacles:
            return result  # of a file: its settings were searched for, the preview's own cannot be generated
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
            if self._compared.case.comfyui is not None:  # no code of a diffusers pipeline sets what a graph does
                factors, code = tuple(dataclasses.replace(one, code=None) for one in factors), None
            return dataclasses.replace(result, diagnosis=dataclasses.replace(known, factors=factors, code=code))

        return with_diagnosis(diagnose(lab, plan, frames, trace, lambda known: self._keep(with_diagnosis(known))))

    def _search(self, expected: Recipe, *, explain: bool = True) -> CaseResult:
        """Search for the settings behind the video; `explain`: what each of those that were found costs."""
        compared, made = self._compared, self._made
        subject = OF_SERVER if made.file is None else OF_FILE
        case = dataclasses.replace(
            compared.case,
            preview=expected,
            inference=compared.case.preview,
            video=Path(f"output{made.suffix}"),
        )
        self._progress.planned(plan_text(case, subject))

        def keep(found: Search) -> None:
            self._keep(dataclasses.replace(compared.result, search=found))

        lab = self._lab.for_video(case, made.video)
        found, best = search(lab, keep, subject)
        if found.verdict == "not found":
            note = f"neither {made.its_recipe} nor any setting tried gives {self._its_file} on this machine"
            return dataclasses.replace(compared.result, search=found, notes=(*compared.result.notes, note))
        if found.verdict == "proven":
            note = f"{made.its_settings} were found: generated on this machine, they give {self._its_file} bit for bit"
            result = dataclasses.replace(self._known_as(best, "pixels", note), search=found)
        else:
            where = "on another kind of CPU or GPU" + ("" if made.file is None else ", or by another program")
            note = f"{made.its_settings} were found up to rounding: {self._its_file} was generated {where}"
            result = dataclasses.replace(self._known_as(best, "likely", note), search=found)
        if not explain or (found.verdict == "likely" and made.file is None):
            return result
        frames = lab.generate(best, made.its_settings)  # its latents are known
        again = lab.for_video(compared.case, compared.preview)
        again.keep_stills = self._lab.keep_stills
        return self._explain(result, best, again, frames, Trace())
