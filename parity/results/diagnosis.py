"""The results of a diagnosis in results.json: each factor's effect, the first divergence, the cost of finding out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Level = Literal["frames do not pair", "visible", "rounding", "decode only", "file only", "none"]
"""The cost of a factor when it alone is wrong; LEVELS says what each means."""

LEVELS: dict[Level, str] = {
    "frames do not pair": "different size or number of frames, so there are no figures",
    "visible": "more than rounding",
    "rounding": "no more than another CPU or GPU would cost; such factors cannot be ranked by their figures",
    "decode only": "with --quick, which decodes nothing: the latents are equal, the frames may differ",
    "file only": "every frame is equal, the file differs (frame duration, codec)",
    "none": "bit-identical",
}
"""The meaning of every level, costliest first."""

Stopped = Literal["explained", "budget", "interrupted", "error"]

Thoroughness = Literal["full", "gains", "quick"]
"""full: each factor fixed alone (gain) and broken alone (loss). gains: only the gains, half the generations.
quick: a ranking by latents, for two generations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A change as code that runs as it stands, to be copied."""

    language: Literal["python", "json"]
    """python: for a diffusers pipeline `pipe`, imports included. json: keys of the request."""
    text: str
    """The code, one or more lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """The closeness of two videos, as means over the frames like a case's metrics."""

    identical: bool
    """True if every pixel is equal."""
    psnr: float | None = None
    """PSNR in dB, over the frames that differ; null if none does, or if not comparable."""
    ssim: float | None = None
    """Mean SSIM; null: not comparable, or not measured."""
    unavailable: str | None = None
    """The reason why there are no figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe, generated and compared with the preview."""

    to_preview: Closeness
    """The encoded output compared with the preview file, both decoded."""
    to_recipe: Closeness | None = None
    """Raw frames compared with those of the preview's recipe, without a codec; null: the latter were not generated."""
    raw_sha256: str
    """Hash of our frames before encoding."""
    file_sha256: str
    """Hash of our encoded file."""
    denoising_steps: int
    """Denoising steps run for this trial; 0 if an earlier one had the same latents."""
    stills: str | None = None
    """Folder with stills of its encoded output, relative to results.json; null: none were kept (`--stills`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorCost:
    """The effect of one factor."""

    factor: str
    """The factor; `parity explain FACTOR` explains it."""
    preview: str
    """Its value in the preview's recipe, in words."""
    inference: str
    """Its value in the request's recipe, in words."""
    fix: str
    """The change to make in the inference code or the request."""
    code: Snippet | None = None
    """The same as code that runs; null: no code can, `fix` says what to do."""
    level: Level | None = None
    """The size of the effect; null: not measured."""
    rank: int | None = None
    """1 for the largest effect; by the loss if measured, otherwise by the gain. null: not measured."""
    gain: Trial | None = None
    """The inference recipe with this factor alone taken from the preview."""
    loss: Trial | None = None
    """The preview recipe with this factor alone taken from the request."""
    latent_gap: float | None = None
    """With --quick: the change of the latents when only this factor is broken; squared error over squared size."""
    not_measured: str | None = None
    """The reason why gain or loss is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallStep:
    """One step from the request to the preview's recipe, adding fixes one by one."""

    taken: str | None
    """The factor fixed in this step; null for the unchanged request."""
    trial: Trial | None
    """The trial; null: not generated, because the budget was spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGap:
    """One stage of both recipes, compared alone."""

    stage: str
    """noise, prompt, negative_prompt, image, image_latents, sigmas, timesteps, first_prediction, decode."""
    equal: bool | None
    """True if the stage is bit-identical; null: not comparable, see `note`."""
    gap: float | None = None
    """Squared difference over squared size."""
    note: str = ""
    """Why it is not comparable, or what else there is to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The point where the two recipes diverge."""

    sentence: str
    """Where they diverge, in one sentence."""
    stages: tuple[StageGap, ...]
    """The stages in the order in which a generation runs them."""
    sigmas: Mapping[str, tuple[float, ...]]
    """Noise levels of `preview` and `inference`, one more than steps."""
    first_step: int | None
    """The first step, counted from 1, after which latents differ; null: none, or not comparable."""
    latent_gaps: tuple[float, ...]
    """The difference of the latents after each step: squared difference over squared size. Empty if not comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a diagnosis or search. One equivalent is a whole generation, with denoising and decoding."""

    planned: float
    """The most equivalents that were planned."""
    spent: float
    """Equivalents spent: denoising steps run, divided by those of a whole generation of the same recipe."""
    denoising_steps: int
    """Denoising steps run."""
    decodes: int
    """Videos decoded from latents."""
    encodings: int
    """Prompts and images encoded."""
    reused: int
    """Generations that were reused from an equal earlier one."""
    loads: int
    """Checkpoints loaded."""
    seconds: float
    """Seconds in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The diagnosis of one case: the reasons why it drifted."""

    mode: Thoroughness
    """full: gains and losses. gains: gains alone. quick: latents of few steps."""
    sentence: str
    """The outcome in one sentence."""
    explained: bool | None
    """True: the preview's recipe reproduces the preview bit for bit. False: a residual is left. null: unknown."""
    stopped: Stopped | None = None
    """The reason why it stopped early; null: it did not."""
    error: str | None = None
    """What went wrong; null: nothing."""
    factors: tuple[FactorCost, ...] = ()
    """The factors, sorted by rank."""
    smallest_set: tuple[str, ...] | None = None
    """The fewest fixes that give the video of the preview's recipe; null: unknown."""
    smallest_set_evidence: str = ""
    """How the smallest set is known."""
    code: Snippet | None = None
    """The whole of the smallest set, or of all factors if it is unknown, as code for a pipeline; null: none can."""
    as_is: Trial | None = None
    """The trial of the unchanged request."""
    preview_recipe: Trial | None = None
    """The trial of the preview's recipe."""
    residue: Closeness | None = None
    """The remaining difference between the video of the preview's recipe and the preview; null: none, or unknown."""
    outside: tuple[str, ...] = ()
    """Possible causes of the residual that are outside any recipe."""
    waterfall: tuple[WaterfallStep, ...] = ()
    """From the request to the preview's recipe, adding fixes one by one."""
    origin: Origin | None = None
    """Where the two recipes diverge; null: not looked for."""
    stills: int | None = None
    """Frames of each trial that were to be kept as stills (`--stills`); null: an older version, which kept none."""
    stills_missing: str | None = None
    """The reason why trials have no stills although some were to be kept; null: they have."""
    cost: Cost | None = None
    """What the diagnosis cost; null: unknown."""

    def trials(self) -> dict[str, Trial]:
        """The trials that were generated: `as_is`, `recipe` (the preview's), `waterfall:0`, `gain:FACTOR`, …."""
        named = {"as_is": self.as_is, "recipe": self.preview_recipe}
        named |= {f"waterfall:{place}": step.trial for place, step in enumerate(self.waterfall)}
        named |= {f"gain:{cost.factor}": cost.gain for cost in self.factors}
        named |= {f"loss:{cost.factor}": cost.loss for cost in self.factors}
        return {name: trial for name, trial in named.items() if trial is not None}

    def with_stills(self, place: Callable[[str], str | None]) -> Diagnosis:
        """The same with the folders of stills moved to where `place` says; None drops one."""

        def moved(trial: Trial | None) -> Trial | None:
            return trial if trial is None or trial.stills is None else replace(trial, stills=place(trial.stills))

        return replace(
            self,
            as_is=moved(self.as_is),
            preview_recipe=moved(self.preview_recipe),
            factors=tuple(replace(cost, gain=moved(cost.gain), loss=moved(cost.loss)) for cost in self.factors),
            waterfall=tuple(replace(step, trial=moved(step.trial)) for step in self.waterfall),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One value of a setting that was tried."""

    value: str
    """The value, in words."""
    to_preview: Closeness | None
    """The closeness to the preview; null: not generated, `note` says why."""
    note: str = ""
    """What there is to say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting that a search varied."""

    name: str
    """The factor that the setting belongs to."""
    assumed: str
    """The config's value."""
    found: str
    """The value that comes closest."""
    changed: bool
    """True if it is not the assumed one."""
    tried: tuple[Candidate, ...]
    """Every value that was tried."""
    evidence: str
    """How the value is known."""


Verdict = Literal["proven", "likely", "not found"]
"""proven: a hypothesis reproduces the video bit for bit. likely: it does up to the rounding of another machine.
not found: neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The result of a search for the settings that generated a video."""

    verdict: Verdict
    """proven: bit for bit. likely: up to another machine's rounding. not found: neither."""
    sentence: str
    """The outcome in one sentence."""
    best: Closeness
    """The closeness of the best hypothesis."""
    settings: tuple[Setting, ...]
    """The settings that were varied."""
    recipe: Mapping[str, Any]
    """The best hypothesis."""
    stopped: Stopped | None = None
    """Why it stopped early; null: it did not."""
    cost: Cost | None = None
    """What the search cost; null: unknown."""
    notes: tuple[str, ...] = field(default=())
    """What else limits the search."""
    of: Literal["preview", "server", "file"] = "preview"
    """The video whose settings were searched: the preview, a server's, or a file made elsewhere (`output`). `assumed`
    values are those of the preview's config, or those expected of the server or file."""
