"""What a diagnosis says, as it stands in results.json: each factor's cost, where drift starts, what it took to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How near one video comes to another; means over the frames, as in a case's metrics."""

    identical: bool
    """Every pixel equal."""
    psnr: float | None = None
    """dB, over the frames that differ; null if none does, or if not comparable."""
    ssim: float | None = None
    unavailable: str | None = None
    """Why there are no figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe, drawn and held against the preview."""

    to_preview: Closeness
    """Delivered file against the preview file, both decoded."""
    to_recipe: Closeness | None = None
    """Raw frames against those of the preview recipe, drawn here too: no codec between. null: that was not drawn."""
    raw_sha256: str
    """Of our frames before encoding."""
    file_sha256: str
    """Of our frames encoded."""
    denoising_steps: int
    """Run for this trial; 0 if an earlier one drew the same latents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorCost:
    """What one factor costs."""

    factor: str
    preview: str
    inference: str
    fix: str
    """What to change in the inference code or the request."""
    level: Level | None = None
    """null: not measured."""
    rank: int | None = None
    """1 costs most; by the loss alone where measured, else by the gain. null: not measured."""
    gain: Trial | None = None
    """The inference recipe with this factor alone taken from the preview."""
    loss: Trial | None = None
    """The preview recipe with this factor alone taken from the request."""
    latent_gap: float | None = None
    """With --quick: how far the latents move when this factor alone is wrong; squared error over squared size."""
    not_measured: str | None = None
    """Why gain or loss is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallStep:
    """From the request as it is to the preview's recipe, one factor more at a time."""

    taken: str | None
    """The factor put right in this step; null for the start."""
    trial: Trial | None
    """null: not drawn, within the budget given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGap:
    """One stage of both recipes on its own."""

    stage: str
    """noise, prompt, negative_prompt, image, image_latents, sigmas, timesteps, first_prediction, decode."""
    equal: bool | None
    """To the last bit. null: not comparable, see note."""
    gap: float | None = None
    """Squared difference over squared size."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the two recipes part."""

    sentence: str
    stages: tuple[StageGap, ...]
    sigmas: Mapping[str, tuple[float, ...]]
    """Of `preview` and `inference`, one more than steps."""
    first_step: int | None
    """The first step, from 1, after which latents differ; null: none does, or not comparable."""
    latent_gaps: tuple[float, ...]
    """After each step: squared difference over squared size. Empty if not comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was spent. One equivalent: a whole generation, denoising and decoding, from nothing."""

    planned: float
    """Equivalents, at most."""
    spent: float
    """Equivalents: denoising steps run, over those of a whole drawing of the same recipe."""
    denoising_steps: int
    decodes: int
    encodings: int
    reused: int
    """Drawings taken from an equal one before."""
    loads: int
    """Checkpoints."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why one case drifted."""

    mode: Literal["full", "gains", "quick"]
    sentence: str
    explained: bool | None
    """True: the preview's recipe repeats the preview to the bit. False: a residue is left. null: not known."""
    stopped: Stopped | None = None
    """Why it ended before the plan did; null: it did not."""
    error: str | None = None
    factors: tuple[FactorCost, ...] = ()
    """By rank."""
    smallest_set: tuple[str, ...] | None = None
    """The fewest factors that, put right, draw the preview recipe's video; null: not known."""
    smallest_set_evidence: str = ""
    as_is: Trial | None = None
    """The request as it is."""
    preview_recipe: Trial | None = None
    """The preview's recipe."""
    residue: Closeness | None = None
    """What the preview's recipe leaves between its video and the preview; null: none, or not known."""
    outside: tuple[str, ...] = ()
    """What is known to lie outside any recipe and may be the residue's cause."""
    waterfall: tuple[WaterfallStep, ...] = ()
    origin: Origin | None = None
    cost: Cost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One value of a setting, tried."""

    value: str
    to_preview: Closeness | None
    """null: not drawn; `note` says why."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting that a search varied."""

    name: str
    assumed: str
    """The config's value."""
    found: str
    changed: bool
    tried: tuple[Candidate, ...]
    evidence: str


Verdict = Literal["proven", "likely", "not found"]
"""proven: a hypothesis draws the preview to the bit. likely: it comes as near as rounding on another machine lets it.
not found: neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The settings that drew a video, looked for in its pixels."""

    verdict: Verdict
    sentence: str
    best: Closeness
    settings: tuple[Setting, ...]
    recipe: Mapping[str, Any]
    """The best hypothesis."""
    stopped: Stopped | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = field(default=())
    of: Literal["preview", "server"] = "preview"
    """Whose video it is; `assumed` is then what its config says, or what is expected of it."""
