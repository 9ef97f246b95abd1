"""Experiments on one case: generate recipes and compare them with its preview, none twice, within a budget."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import TYPE_CHECKING, Protocol

from parity.case.load import Case
from parity.case.progress import TrialProgress
from parity.comparison.compare import closeness, deliver, frames_sha256, is_lossless
from parity.results.diagnosis import Cost, Trial
from pipelines.drift import frames_key, latents_key
from pipelines.engine.engine import Engine
from pipelines.engine.stages import Trace
from pipelines.limits import within_limits
from pipelines.media.video import Frames, Video
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    import torch


class BudgetSpentError(Exception):
    """The next generation would exceed the budget. Diagnosis and search catch this error themselves."""


class KeepStills(Protocol):
    """Keeps pictures of what was generated."""

    def __call__(self, label: str, sha256: str, frames: Frames) -> str | None:
        """Keep stills of a video, which `sha256` identifies. Returns their folder; None: none are kept."""


class Lab:
    """Generates recipes for one case.

    What this version cannot generate of a recipe is left out (`within_limits`).
    It keeps latents but not frames: for 81 frames at 1280x720 the latents take 19 MB, the frames 224 MB.
    """

    def __init__(
        self, engine: Engine, case: Case, preview: Video, progress: TrialProgress, budget: float | None = None
    ) -> None:
        """`budget` is in full-generation equivalents; None means no limit."""
        self.case = case
        self.preview = preview
        self.engine = engine
        self.budget = budget
        self.spent = 0.0
        self._spent_before = 0.0
        self.reused = 0
        self.progress = progress
        self._started = time.perf_counter()
        self._work_before = dataclasses.replace(engine.work)
        self._latents: dict[object, torch.Tensor] = {}
        self._trials: dict[object, Trial] = {}
        self._recipe_frames: Frames | None = None
        self.keep_stills: KeepStills | None = None
        """Keeps stills of every trial; None: none are kept."""

    def for_video(self, case: Case, video: Video) -> Lab:
        """Return a lab that compares with `video` instead of the preview.

        It shares the latents and the spent budget of this lab; its `cost` counts from zero. It keeps no stills.
        """
        other = Lab(self.engine, case, video, self.progress, self.budget)
        other.spent = other._spent_before = self.spent
        other._latents = self._latents
        return other

    def denoise(self, recipe: Recipe, label: str, trace: Trace | None = None, *, share: float = 1.0) -> torch.Tensor:
        """Return the final latents of a recipe, from memory if an equal recipe was denoised before.

        `trace` is filled only if this call denoises. `share` is the fraction of a full generation that it costs.
        Raises BudgetSpentError before denoising if the budget does not cover it.
        """
        recipe = within_limits(recipe)
        key = latents_key(recipe)
        if key in self._latents:
            self.reused += 1
            return self._latents[key]
        if self.budget is not None and self.spent + share > self.budget + 1e-9:
            raise BudgetSpentError
        self.progress.trial_started(label, recipe.steps)
        self.spent += share
        self._latents[key] = self.engine.denoise(recipe, self.progress.step_done, self.case.token, trace)
        return self._latents[key]

    def generate(self, recipe: Recipe, label: str, trace: Trace | None = None) -> Frames:
        """Return the frames of a recipe. Raises like `denoise`."""
        return self.decode(self.denoise(recipe, label, trace), recipe)

    def decode(self, latents: torch.Tensor, recipe: Recipe) -> Frames:
        """Return the frames of latents, decoded with a recipe's settings. Raises like `Engine.decode`."""
        return self.engine.decode(latents, within_limits(recipe), self.case.token)

    def trial(self, recipe: Recipe, label: str) -> Trial:
        """Generate a recipe and judge it, each recipe only once. Raises like `denoise`."""
        known = self._trials.get(_trial_key(recipe))
        if known is not None:
            self.reused += 1
            return known
        before = self.engine.work.denoising_steps
        frames = self.generate(recipe, label)
        return self.judge(recipe, frames, label, self.engine.work.denoising_steps - before)

    def judge(self, recipe: Recipe, frames: Frames, label: str, denoising_steps: int) -> Trial:
        """Compare a recipe's frames with the preview and, once they are known, with the preview recipe's frames."""
        self.progress.phase("encode", "")
        encoded, delivered = deliver(frames, recipe)
        self.progress.phase("compare", "")
        lossless = is_lossless(self.case.video)
        compared = frames if lossless else delivered.frames
        trial = Trial(
            to_preview=closeness(self.preview.frames, compared),
            to_recipe=None if self._recipe_frames is None else closeness(self._recipe_frames, frames),
            raw_sha256=frames_sha256(frames),
            file_sha256=hashlib.sha256(encoded).hexdigest(),
            denoising_steps=denoising_steps,
        )
        if self.keep_stills is not None:
            self.progress.phase("write", "")
            stills = self.keep_stills(label, trial.raw_sha256 if lossless else trial.file_sha256, compared)
            trial = dataclasses.replace(trial, stills=stills)
        self._trials[_trial_key(recipe)] = trial
        return trial

    def compare_with(self, recipe_frames: Frames) -> None:
        """Compare later trials with these raw frames as well."""
        self._recipe_frames = recipe_frames

    def knows(self, recipe: Recipe) -> bool:
        """Check whether the latents of a recipe are known, so that generating it denoises nothing."""
        return latents_key(within_limits(recipe)) in self._latents

    @property
    def used(self) -> float:
        """What this lab spent, in full-generation equivalents."""
        return self.spent - self._spent_before

    def cost(self, planned: float) -> Cost:
        """Return what was spent so far."""
        done, before = self.engine.work, self._work_before
        return Cost(
            planned=round(planned, 2),
            spent=round(self.used, 2),
            denoising_steps=done.denoising_steps - before.denoising_steps,
            decodes=done.decodes - before.decodes,
            encodings=done.encodings - before.encodings,
            reused=self.reused,
            loads=done.loads - before.loads,
            seconds=round(time.perf_counter() - self._started, 1),
        )


def _trial_key(recipe: Recipe) -> object:
    return frames_key(within_limits(recipe)), recipe.codec, recipe.fps
