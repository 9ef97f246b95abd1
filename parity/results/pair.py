"""The result of `parity compare`: two files, how they differ, and in which frames. Written as comparison.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from parity.results.case import MetricResult

SCHEMA_VERSION = 1

PairOutcome = Literal["identical", "recoded", "altered", "similar", "different"]
"""identical: every pixel. recoded: they differ by no more than their codecs cost. altered: one video, changed in ways
that are named, the rest identical or recoded. similar: one scene, with differences that nothing here explains, or whose
ComfyUI graphs differ in more than how they save. different: the structure differs."""

SAME: frozenset[PairOutcome] = frozenset(("identical", "recoded"))
"""Outcomes with exit code 0."""

Change = Literal[
    "resized",
    "cropped",
    "padded",
    "turned",
    "shifted",
    "speed",
    "offset",
    "reversed",
    "repeated",
    "frozen",
    "dropped",
    "length",
    "range",
    "matrix",
    "channels",
    "gamma",
    "saturation",
    "contrast",
    "tint",
    "truncated",
]
"""What can be done to a whole video without changing what it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One of the two files."""

    path: str
    """As it was given."""
    kind: str
    """Container and codec, e.g. `mp4, h264 (yuv420p)`."""
    lossless: bool | None
    """Whether the file holds its frames without loss; null: not known."""
    frames: int
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    fps: float
    """0: the file has no frame rate, as a folder of PNGs."""
    sha256: str
    """Hash of the file; of the decoded frames if it is a folder."""
    graph: str | None = None
    """Where a ComfyUI graph was found in it; null: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFinding:
    """One change from A to B that is clearly better than none."""

    change: Change
    text: str
    """What it is, about B: `one frame late: …`."""
    explains: float | None = None
    """The share of the squared error that it takes away, 0 to 1; null: without it nothing can be compared."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Its numbers, as frames, factors or pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDifference:
    """One setting in which the ComfyUI graphs of the two files differ."""

    node: str
    """The node of B that holds it."""
    name: str
    """Its widget."""
    a: str
    """What A's graph asks for."""
    b: str
    """What B's graph asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecEstimate:
    """What the codecs of the two files cost, as an estimate: the frames before encoding are unknown."""

    psnr: float
    """In dB: what two encodings of one video would be apart at these files' sizes."""
    how: str
    """How it was estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """Two videos compared. A is the first file, B the second; findings say how B differs from A."""

    a: FileFacts
    b: FileFacts
    outcome: PairOutcome
    sentence: str
    """The answer."""
    findings: tuple[PairFinding, ...] = ()
    """The changes that make B of A, size first, then timing, then levels."""
    pairs: tuple[tuple[int, int], ...] = ()
    """The frames that were compared, of A and of B, counted from 0."""
    compared_size: tuple[int, int] = (0, 0)
    """Width and height in pixels in which they were compared."""
    metrics: Mapping[str, MetricResult] = field(default_factory=dict)
    """psnr, ssim, lpips and what was asked for, over `pairs`, after size and timing, before levels."""
    as_they_are: float | None = None
    """The mean PSNR of equal frame numbers with nothing changed, in dB; null: infinite, or of other sizes."""
    after_levels: float | None = None
    """The mean PSNR once the levels are alike, in dB; null: infinite, or no change of levels was found."""
    codec: CodecEstimate | None = None
    """null: both files are lossless, or the codec cannot be estimated."""
    settings: tuple[SettingDifference, ...] | None = None
    """Where the ComfyUI graphs in the files differ; null: not both hold one that can be read."""
    notes: tuple[str, ...] = ()
    """What was not compared or is not known."""
    next_steps: tuple[str, ...] = ()
    """Commands that say more."""
    schema_version: int = SCHEMA_VERSION
    """The version of this format."""

    @property
    def same(self) -> bool:
        """True if the files hold the same video: identical, or as far apart as their codecs alone."""
        return self.outcome in SAME

    @property
    def exit_code(self) -> int:
        """0: the same video. 1: not."""
        return 0 if self.same else 1


def pair_json(result: PairResult) -> str:
    """The result as strict JSON."""
    return json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False, allow_nan=False)
