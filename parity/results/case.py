"""What a run leaves behind: results.json, schema version 1. The contract between running and viewing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from parity.results.diagnosis import Closeness, Diagnosis, Search
from pipelines.files import strict_json

SCHEMA_VERSION = 1

Status = Literal["passed", "drifted", "expected_drift", "unpairable", "error"]
"""passed: within tolerance. drifted: beyond it, or not the factors expected. expected_drift: exactly the factors the
case expects. unpairable: nobody can repeat the preview. error: the case could not be run."""

NOT_RUN: tuple[Status, ...] = ("error", "unpairable")
"""Statuses of cases without a comparison: exit code 3."""

FAILING: tuple[Status, ...] = ("drifted", *NOT_RUN)
"""Statuses that fail a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """A video that was compared."""

    frames: int
    width: int
    height: int
    fps: float
    """From the file: 1000 / 62 ms for a WebP asked at 16 fps."""
    sha256: str
    """Of the file; of the decoded frames where the video is a folder."""
    raw_sha256: str | None = None
    """Of the frames before encoding (shape and bytes); only known of what was drawn here."""
    frame_sha256: tuple[str, ...] = ()
    """The first 16 hex digits of every raw frame's own; they name the frame that changed. Only of what was
    drawn here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One metric over all frames. All numbers are null where `unavailable` says why."""

    variant: str
    """Exactly which formula: there are many SSIMs."""
    higher_is_better: bool
    mean: float | None = None
    """PSNR: over the frames that differ; null if none does."""
    min: float | None = None
    """null: infinite (PSNR of identical frames)."""
    max: float | None = None
    """null: infinite (PSNR of identical frames)."""
    per_frame: tuple[float | None, ...] = ()
    """null: infinite (PSNR of an identical frame)."""
    identical_frames: int = 0
    unavailable: str | None = None

    @property
    def worst(self) -> float | None:
        """The value of the worst frame. None: infinite, or not measured."""
        return self.min if self.higher_is_better else self.max


BeyondRecipes = Literal["environment", "broken_output"]
"""Factors that no recipe holds. environment: the recipes are equal and the frames are not. broken_output: the
generated frames are not a usable video."""

Evidence = Literal["recipe", "pixels", "reported", "likely", "expected"]
"""How it is known that a factor differs.

recipe: both recipes were read, and the inference's was drawn here. pixels: the files show it; of a server also: a
drawing proved it to the bit. The rest is of servers alone. reported: its answer says so. likely: a search came as near
as rounding lets it. expected: it is so on a server that draws as the case's `pipeline` says; nothing has proved it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingResult:
    """A factor in which the two sides differ."""

    factor: str
    preview: str
    inference: str
    note: str
    fix: str = ""
    """What to change in the inference code or the request, with the preview's values; empty: nothing."""
    evidence: Evidence = "recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """The server a case was drawn on, and what it said."""

    url: str
    """Without credentials."""
    arguments: tuple[str, ...] = ()
    """What to add to a command line that runs the case there again; none where its file says it."""
    request_id: str | None = None
    """null: the server accepted nothing."""
    shared_with: str | None = None
    """The case whose equal request was sent before and drew this one's video too."""
    attempts: int = 0
    """Times it was sent: 2 if the server forgot it."""
    queue_seconds: float | None = None
    """By the server's own clock; null: it does not say."""
    draw_seconds: float | None = None
    """All prompts of the request. By the server's own clock."""
    fetched: str | None = None
    """Where the file came from: its URL, or its path on a shared disk."""
    profile: str | None = None
    """`metadata.profile` of the result: how the server says it draws."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """What the result says of the video: format, width, height, num_frames, fps, seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatDrawing:
    """One of several drawings of one request."""

    where: Literal["this process", "fresh process", "server"]
    file_sha256: str
    to_preview: Closeness
    raw_sha256: str | None = None
    """Of the frames before encoding (shape and bytes); null: drawn on a server."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatFloor:
    """How near the drawings of one request come to each other: every two of them are compared."""

    psnr_mean: float
    """dB, over the pairs that differ, as a case's metrics are."""
    psnr_lowest: float
    """Of the two drawings that are furthest apart."""
    ssim_mean: float | None = None
    """null: not measured (raw frames beside a lossy file; frames that are too small)."""
    ssim_lowest: float | None = None
    per_frame: tuple[float | None, ...] = ()
    """The lowest PSNR of every frame; null: equal in all drawings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatResult:
    """Whether a request gives the same video when it is drawn again (`--repeat`), and how far apart if not."""

    drawings: tuple[RepeatDrawing, ...]
    """The first is the case's output."""
    identical: bool
    """By every pixel before encoding; of a server, of its files as they are decoded."""
    between_processes: bool
    """Those of this process are alike, the one of a fresh process is not. Only three drawings or more can tell."""
    reason: str | None
    """Why two drawings need not be alike, by the recipe; null: they must be (a server's: it is expected)."""
    sentence: str
    frames: tuple[int, ...] = ()
    """Those that are not the same in all drawings, counted from 0."""
    floor: RepeatFloor | None = None
    """Between frames as they are compared with the preview; null: these are equal, or do not pair."""
    raw_floor: RepeatFloor | None = None
    """Between frames before encoding; null: equal, or of a server."""
    within: bool | None = None
    """Whether the difference from the preview is no larger than the floor; null: there is no floor."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case."""

    id: str
    status: Status
    model: str
    verdict: str
    """The status in one sentence."""
    case_file: str
    tags: tuple[str, ...] = ()
    expect: tuple[str, ...] | None = None
    tolerance: Mapping[str, float] = field(default_factory=dict)
    preview: VideoResult | None = None
    output: VideoResult | None = None
    bit_identical: bool | None = None
    """Every decoded frame equal; null if nothing was compared."""
    compared_as: str | None = None
    """What was held against what, e.g. decoded WebP with decoded WebP."""
    metrics: Mapping[str, MetricResult] = field(default_factory=dict)
    codec_floor: Mapping[str, float | None] | None = None
    """What the codec alone does to our own frames: psnr in dB, ssim. null: lossless, or drawn on a server, whose raw
    frames nobody knows."""
    findings: tuple[FindingResult, ...] = ()
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`preview` and `inference`, every field; `{asked, applied}` where the two can differ."""
    sigmas: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Noise levels of both schedules, `preview` and `inference`, one more than steps."""
    case_yaml: str | None = None
    """The case file's text; null if it could not be read again."""
    notes: tuple[str, ...] = ()
    """What was assumed or lies outside the recipes."""
    diagnosis: Diagnosis | None = None
    """What each factor costs; null: not asked for."""
    search: Search | None = None
    """The settings that drew the preview, looked for in its pixels; null: not asked for."""
    weights_sha256: str | None = None
    """Over the content of every file that checkpoint and text encoder of the request are loaded from."""
    drawn_before: str | None = None
    """When the output was drawn (ISO 8601, UTC), if its frames were taken from the cache; null: in this run."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds per phase."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Paths relative to results.json. `preview_frames` and `output_frames` are folders of stills for viewing."""
    error: str | None = None
    target: TargetResult | None = None
    """The server that drew the output; null: it was drawn here. What it did is not known: the `inference` recipe is
    then what is expected of it, and every finding says its evidence."""
    repeat: RepeatResult | None = None
    """Whether the request draws the same again; null: not asked for (`--repeat`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation."""

    started: str
    """ISO 8601, UTC."""
    finished: str | None
    """null while running, or if the run was killed."""
    command: tuple[str, ...]
    environment: Mapping[str, Any]
    cases: tuple[CaseResult, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def exit_code(self) -> int:
        """0 every case as expected, 1 a case drifted, 3 a case could not be run."""
        statuses = {case.status for case in self.cases}
        if statuses & set(NOT_RUN):
            return 3
        return 1 if "drifted" in statuses else 0


def now() -> str:
    """As `started` and `finished` are written."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def in_order(cases: Sequence[CaseResult], order: Sequence[str]) -> tuple[CaseResult, ...]:
    """Results in the order of these ids, others behind."""
    rank = {case_id: number for number, case_id in enumerate(order)}
    return tuple(sorted(cases, key=lambda result: rank.get(result.id, len(rank))))


def to_json(run: Run, indent: int | None = 1) -> str:
    """Strict JSON: no NaN, no Infinity. `indent` None: as short as can be."""
    separators = (",", ":") if indent is None else None
    data = dataclasses.asdict(run)
    return json.dumps(data, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False, default=str)


def from_json(text: str) -> Run:
    """Read a results.json back. Raises ValueError: why it cannot be read, and what to do."""
    data = _parse(text)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if type(version) is not int or "cases" not in data:
        raise ValueError("is JSON, but no results.json of wan-parity")
    if version != SCHEMA_VERSION:
        raise ValueError(_other_version(version))
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Run).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"is no results.json that `parity run` wrote: {where}: {first['msg']}") from None


def _parse(text: str) -> Any:
    if not text.strip():
        raise ValueError("is empty; copy it again, or run the cases again")
    try:
        return strict_json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip()[0] != "{":
            raise ValueError("is no JSON; give the results.json that `parity run` wrote") from None
        ended = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        what = "ends too early" if ended else "is broken"
        raise ValueError(
            f"{what} at line {error.lineno} ({error.msg}); copy it again, or run the cases again"
        ) from None


def _other_version(version: int) -> str:
    known = f"schema_version is {version}, this wan-parity reads {SCHEMA_VERSION}"
    if version > SCHEMA_VERSION:
        return f"{known}: a newer wan-parity wrote it; update this one"
    return f"{known}: an older wan-parity wrote it; run the cases again, or render it with the version that wrote it"
