"""The results of a run, written as results.json (schema version 1): the contract between running and viewing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from parity.results.comfyui import ComfyAdvice
from parity.results.diagnosis import Closeness, Diagnosis, Search, Snippet
from parity.results.shard import Shard
from parity.results.smoke import SmokeResult
from parity.results.speed import Speed
from pipelines.ran import Ran

SCHEMA_VERSION = 1

Status = Literal["passed", "drifted", "expected_drift", "unpairable", "error", "smoke"]
"""passed: within tolerance. drifted: out of tolerance, or other factors differ than expected. expected_drift: exactly
the expected factors differ. unpairable: the preview cannot be reproduced. error: the case could not be run. smoke: only
a few blocks ran (`--blocks`), nothing was compared with the preview, and no stage differs from what was accepted."""

NOT_RUN: tuple[Status, ...] = ("error", "unpairable")
"""Statuses of cases without a comparison: exit code 3."""

FAILING: tuple[Status, ...] = ("drifted", *NOT_RUN)
"""Statuses that fail a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """One of the two videos of a case."""

    frames: int
    """Number of frames."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    fps: float
    """Read from the file: a WebP requested at 16 fps has 62 ms per frame, which is 16.129."""
    sha256: str
    """Hash of the file; of the decoded frames if the video is a folder."""
    raw_sha256: str | None = None
    """Hash of the frames before encoding (shape and bytes); null unless generated on this machine."""
    frame_sha256: tuple[str, ...] = ()
    """The first 16 hex digits of every raw frame's hash, which show the frames that changed. Empty unless generated on
    this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One metric over all frames. All numbers are null where `unavailable` says why."""

    variant: str
    """The exact formula, since there are many kinds of SSIM."""
    higher_is_better: bool
    """True for PSNR, SSIM and VMAF, false for LPIPS."""
    mean: float | None = None
    """The mean over all frames; PSNR: over the frames that differ, null if none does."""
    min: float | None = None
    """The lowest value; null: infinite (PSNR of identical frames)."""
    max: float | None = None
    """The highest value; null: infinite (PSNR of identical frames)."""
    per_frame: tuple[float | None, ...] = ()
    """One value per frame; null: infinite (PSNR of an identical frame), or not in `measured`."""
    measured: tuple[int, ...] | None = None
    """Indices of the frames that were measured, which mean, min and max are of; null: all."""
    identical_frames: int = 0
    """Number of frames that are equal, pixel for pixel."""
    unavailable: str | None = None
    """Why it was not measured; null: it was."""

    @property
    def worst(self) -> float | None:
        """The value of the worst frame. None: infinite, or not measured."""
        return self.min if self.higher_is_better else self.max


BeyondRecipes = Literal["environment", "broken_output"]
"""Factors that no recipe holds. environment: the recipes are equal and the frames are not. broken_output: the
generated frames are not a usable video."""

Evidence = Literal["recipe", "pixels", "file", "reported", "likely", "expected"]
"""The evidence that a factor differs.

recipe: both recipes were read, and the request was generated on this machine. pixels: the files show it; for a server
also: a generation on this machine proved it bit for bit. file: the ComfyUI graph in the file says so. The others
are for servers and for files made elsewhere. reported: the server's answer says so. likely: a search found it up to
rounding. expected: assumed from the case's `pipeline`, not verified.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingResult:
    """A factor in which the two sides differ."""

    factor: str
    """The factor; `parity explain FACTOR` explains it."""
    preview: str
    """Its value in the preview's recipe, in words."""
    inference: str
    """Its value in the request's recipe, in words."""
    note: str
    """What the difference means."""
    fix: str = ""
    """The change to make in the inference code or the request, with the preview's values; empty: none."""
    code: Snippet | None = None
    """The same as code that runs; null: no code can, `fix` says what to do."""
    evidence: Evidence = "recipe"
    """How it is known that the factor differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """The server that generated a case, and its answers."""

    url: str
    """The server's URL, without credentials."""
    arguments: tuple[str, ...] = ()
    """Arguments for a command that runs the case on that server again; none if the case file names it."""
    request_id: str | None = None
    """The server's id of the request; null: it accepted none."""
    shared_with: str | None = None
    """The case whose equal request was sent before, and whose result this case shares."""
    attempts: int = 0
    """The number of times the request was sent: 2 if the server forgot it."""
    queue_seconds: float | None = None
    """Time in the queue, by the server's clock; null: not reported."""
    draw_seconds: float | None = None
    """Generation time for all prompts of the request, by the server's clock; null: not reported."""
    fetched: str | None = None
    """The file's URL, or its path on a shared disk."""
    profile: str | None = None
    """The profile that the server reports (`metadata.profile` of the result)."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """The result's statements about the video: format, width, height, num_frames, fps, seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """The file that a case compares instead of generating (`output`)."""

    path: str
    """The file, as the case names it."""
    made_by: str | None = None
    """The program that its metadata names, e.g. `ComfyUI`; null: it names none."""
    graph: str | None = None
    """Where the ComfyUI graph was read, e.g. `mp4 key prompt`; null: there is none."""
    unknown: tuple[str, ...] = ()
    """What decides pixels and is not in the file, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedGeneration:
    """One of several generations of one request."""

    where: Literal["this process", "fresh process", "server"]
    """Where it was generated."""
    file_sha256: str
    """Hash of the encoded file."""
    to_preview: Closeness
    """Its closeness to the preview."""
    raw_sha256: str | None = None
    """Hash of the frames before encoding (shape and bytes); null: generated on a server."""
    request_id: str | None = None
    """The server's id of the request; null: generated on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatFloor:
    """The difference between the generations of one request; every two of them are compared."""

    psnr_mean: float
    """Mean PSNR in dB, over the pairs that differ, computed like a case's metrics."""
    psnr_lowest: float
    """PSNR of the two that differ most."""
    ssim_mean: float | None = None
    """Mean SSIM; null: not measured (raw frames of a lossy file; frames that are too small)."""
    ssim_lowest: float | None = None
    """SSIM of the two that differ most; null: not measured."""
    per_frame: tuple[float | None, ...] = ()
    """The lowest PSNR of every frame; null: equal in all generations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatResult:
    """The comparison of several generations of one request (`--repeat`)."""

    drawings: tuple[RepeatedGeneration, ...]
    """All generations, the first being the case's output."""
    identical: bool
    """True if every pixel before encoding is equal; for a server, every pixel of its decoded files."""
    between_processes: bool
    """True if those of this process are identical and that of a fresh process differs; only three or more can tell."""
    reason: str | None
    """The reason in the recipe why generations may differ; null: they must be identical (on a server: should be)."""
    sentence: str
    """The outcome in one sentence."""
    frames: tuple[int, ...] = ()
    """Indices of frames that differ between generations, counted from 0."""
    floor: RepeatFloor | None = None
    """The difference of the frames as compared with the preview; null: equal, or different in size or frame count."""
    raw_floor: RepeatFloor | None = None
    """The difference of the frames before encoding; null: equal, or generated on a server."""
    within: bool | None = None
    """True if the difference from the preview is no larger than the floor; null: there is no floor."""
    notes: tuple[str, ...] = ()
    """What else limits the comparison."""


BaselineOutcome = Literal["holds", "improved", "changed", "worse", "no_baseline", "not_run", "unpairable"]
"""holds: unchanged, that is bit-identical, or within the noise between environments, with the accepted factors and
rules. improved: closer to the preview by more than that noise. worse: further from it by more than that noise. changed:
different bits, recipe, size, preview or factors, or a rule of the case fails that did not when it was accepted.
no_baseline: never accepted. not_run: no output. unpairable: never accepted, and the preview cannot be reproduced."""

BASELINE_FAILS: frozenset[BaselineOutcome] = frozenset(("changed", "worse", "no_baseline", "not_run"))
"""Outcomes that fail a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """The comparison of a case with its baseline, which is what a person last accepted."""

    outcome: BaselineOutcome
    """How the case came out against its baseline."""
    status: Status
    """The status by the case's own rules: `expect` and `tolerance`."""
    verdict: str
    """That status in one sentence."""
    problems: tuple[str, ...] = ()
    """Reasons why it fails, the most serious first."""
    notes: tuple[str, ...] = ()
    """What else changed, and what limits the comparison."""
    environment: tuple[str, ...] = ()
    """Differences from the baseline's environment; without any the output must be bit-identical."""
    compared: Literal["bits", "tolerance"] | None = None
    """How it was compared; equal bits need no tolerance in any environment. null: there was nothing to compare."""
    acceptable: bool = False
    """True if accepting the result would change anything."""
    accepted_at: str | None = None
    """When the baseline was accepted, ISO 8601; null: there is none."""
    accepted_output: VideoResult | None = None
    """The video that was accepted; null: there is no baseline, or an older version did not record it here."""
    accepted_means: Mapping[str, float | None] = field(default_factory=dict)
    """Each metric's mean of the accepted output against its preview; null: infinite (PSNR, every frame identical)."""
    accepted_factors: tuple[str, ...] | None = None
    """The factors in which the accepted output differed from its preview; null: there is no baseline, or it does not
    record them."""
    frames_changed: tuple[int, ...] | None = None
    """Indices of frames whose bits are others than the accepted ones; null: unknown, or the frame counts differ."""
    accepted_seconds: float | None = None
    """Seconds of the accepted generation, measured like `speed`; null: there is no baseline, or it has none."""
    slowdown: float | None = None
    """`speed.seconds` divided by the accepted seconds; null: not judged, and a note says why, or no `seconds_ratio`."""
    slower: bool = False
    """True if that is more than the case's `seconds_ratio` allows."""

    @property
    def failed(self) -> bool:
        return self.outcome in BASELINE_FAILS

    @property
    def only_slower(self) -> bool:
        """True if the case fails for its time alone."""
        return self.slower and len(self.problems) == 1


_SHOW_NAN = {"ser_json_inf_nan": "constants"}
"""How pydantic writes these values: NaN as NaN, which is then noticed, and not as null, which has a meaning here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The result of one case."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _SHOW_NAN

    id: str
    """The case's id: unique in a run."""
    status: Status
    """The outcome; exit code 1 for drifted, 3 for unpairable and error."""
    model: str
    """API model id."""
    verdict: str
    """The status in one sentence."""
    case_file: str
    """Path of the case file, as it was given."""
    tags: tuple[str, ...] = ()
    """The case's tags."""
    expect: tuple[str, ...] | None = None
    """Factors that the case expects to differ; null: it states none."""
    tolerance: Mapping[str, float] = field(default_factory=dict)
    """The gates by tolerance key, as in the case file, but for `seconds_ratio`."""
    seconds_ratio: float | None = None
    """The gate on time: how many times the accepted baseline's seconds the generation may take; null: any time."""
    preview: VideoResult | None = None
    """The preview's file; null: not read."""
    output: VideoResult | None = None
    """The generated file; null: nothing was generated."""
    bit_identical: bool | None = None
    """True if every decoded frame is equal; null if nothing was compared."""
    compared_as: str | None = None
    """The kinds of frames compared, e.g. `decoded webp with decoded webp`."""
    metrics: Mapping[str, MetricResult] = field(default_factory=dict)
    """psnr, ssim, lpips and, if asked for, vmaf."""
    codec_floor: Mapping[str, float | None] | None = None
    """The loss from the codec alone, on our own frames, by each metric that was measured (psnr in dB; null: none).
    null: the preview is lossless, or the output was generated on a server, whose raw frames are unknown. For a file
    made elsewhere an estimate: the greater loss of the two videos, each encoded as the other is."""
    findings: tuple[FindingResult, ...] = ()
    """The factors in which the two sides differ."""
    code: Snippet | None = None
    """The changes for all findings as one piece of code; null: none can make any of them, or a server generates."""
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """All fields of `preview` and `inference`; `{asked, applied}` where requested and applied values can differ."""
    sigmas: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Noise levels of both schedules, `preview` and `inference`, one more than steps."""
    case_yaml: str | None = None
    """The case file's text; null if it could not be read again."""
    notes: tuple[str, ...] = ()
    """Assumptions, and facts outside the recipes."""
    diagnosis: Diagnosis | None = None
    """The effect of each factor; null: not requested."""
    search: Search | None = None
    """The search for the settings that generated the preview; null: not requested."""
    weights_sha256: str | None = None
    """Hash of the content of all files from which the request's checkpoint and text encoder are loaded."""
    drawn_before: str | None = None
    """When the output was generated (ISO 8601, UTC) if its frames come from the cache; null: in this run."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds per phase."""
    smoke: SmokeResult | None = None
    """The hashes of a smoke run (`--blocks`), in which nothing was compared with the preview; null: no such run."""
    ran: Ran | None = None
    """What really ran in the generation, beside what was asked; null: not observed, as for frames from the cache and
    videos made elsewhere."""
    speed: Speed | None = None
    """How long the generation itself took, for `seconds_ratio`; null: not measured, as for frames from the cache and
    videos made elsewhere."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Paths relative to results.json. `preview_frames` and `output_frames` are folders of stills for viewing,
    `baseline_frames` is one with the few stills that the baseline kept of the accepted output."""
    error: str | None = None
    """Why the case could not be run; null: it was."""
    target: TargetResult | None = None
    """The server that generated the output; null: this machine did. A server's `inference` recipe is only expected, and
    every finding names its evidence."""
    file: FileResult | None = None
    """The file made elsewhere that was compared instead of generating (`output`); null: the request was generated."""
    repeat: RepeatResult | None = None
    """The result of `--repeat`: does the request give the same video each time? null: not requested."""
    baseline: BaselineResult | None = None
    """The comparison with the baseline, which `status` and `verdict` then follow; null: run without `--baselines`."""
    comfyui: ComfyAdvice | None = None
    """What to set in ComfyUI for the preview; null: an older version wrote this."""

    @property
    def made_elsewhere(self) -> bool:
        """True if a server generated the output, or a file was given as output."""
        return self.target is not None or self.file is not None

    @property
    def failed(self) -> bool:
        """True if the case fails its run. An unpairable case without a baseline does not fail a run with baselines."""
        return self.baseline.failed if self.baseline is not None else self.status in FAILING

    @property
    def seconds(self) -> float | None:
        """All the time that the case took, with its diagnosis and search; None: no time was taken.

        `timings` are those of the comparison, but for a case that only ranks or searches. The clock of a diagnosis
        runs from before its case is generated here, and from after the answer of a server or the reading of a file.
        """
        if not self.timings:
            return None
        total = self.timings.get("total", sum(self.timings.values()))
        parts = (self.diagnosis, self.search)
        why = sum(part.cost.seconds for part in parts if part is not None and part.cost is not None)
        if self.made_elsewhere:
            return total + why
        before = self.timings.get("read_preview", 0.0) + self.timings.get("repeat", 0.0)
        return max(total, before + why)

    def by_own_rules(self) -> CaseResult:
        """The result as it is without baselines: status and verdict by the case's `expect` and `tolerance`."""
        known = self.baseline
        if known is None:
            return self
        artifacts = {name: path for name, path in self.artifacts.items() if name != "baseline_frames"}
        return dataclasses.replace(self, status=known.status, verdict=known.verdict, artifacts=artifacts, baseline=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _SHOW_NAN

    started: str
    """ISO 8601, UTC."""
    finished: str | None
    """The end of the run, ISO 8601; null while running, or if the run was killed."""
    command: tuple[str, ...]
    """The command line."""
    environment: Mapping[str, Any]
    """Device, libraries, flags: what can change the bits of a frame, and what was running."""
    cases: tuple[CaseResult, ...]
    """One result for each case, in the order of the cases."""
    schema_version: int = SCHEMA_VERSION
    """The version of this format."""
    narrowed: str | None = None
    """What left cases out: `-k guitar`, say; null: nothing did, or an older version did not record it."""
    baselines: str | None = None
    """The folder of the baselines that decided (`--baselines`), as it was given; null: none did."""
    shard: Shard | None = None
    """The part of the cases that this machine had (`--shard`); null: it had all of them."""
    missing: tuple[str, ...] = ()
    """What of the whole is missing where results of shards were merged: `shard 3 of 4 is missing: 12 cases`."""

    @property
    def exit_code(self) -> int:
        """The exit code: 0 every case as expected, 1 a case drifted, 3 a case could not be run, or is missing."""
        statuses = {case.status for case in self.cases if case.failed}
        if self.missing or statuses & set(NOT_RUN):
            return 3
        return 1 if statuses else 0


def now() -> str:
    """The current time in the format of `started` and `finished`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def in_order(cases: Sequence[CaseResult], order: Sequence[str]) -> tuple[CaseResult, ...]:
    """Results sorted by these ids, others last."""
    rank = {case_id: number for number, case_id in enumerate(order)}
    return tuple(sorted(cases, key=lambda result: rank.get(result.id, len(rank))))
