"""A baseline as a file: versioned JSON, one per case, sorted and rounded to keep diffs small."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from parity.baselines.recipes import without_paths
from parity.case.keys import ToleranceKeys
from parity.results.case import CaseResult, MetricResult, Status
from parity.results.environment import reaching_the_bits
from parity.results.json_text import adapter
from parity.results.speed import Speed
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import read_text
from pipelines.files.versioned import first_mistake, other_version
from pipelines.files.words import cannot_read

SCHEMA_VERSION = 1
KIND = "wan-parity baseline"

MAX_BYTES = 16 << 20
"""Size limit of a file, far above that of a video with thousands of frames."""

DECIMALS = {"psnr": 3, "ssim": 5, "lpips": 5, "vmaf": 3}
"""Digits kept of a metric. A difference of one unit in the last digit is ignored."""


STILL_NAME = r"\d{4,}-[0-9a-f]{12}\.webp"
"""What a still's file is called: see `BaselineStill.file`."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Unknown keys are refused: one could be a rule that this version would not apply."""


Positive = Annotated[float, Field(gt=0)]


def _known_limits(tolerance: Mapping[str, float]) -> Mapping[str, float]:
    unknown = [name for name in tolerance if name not in ToleranceKeys.model_fields]
    if unknown:
        raise ValueError(f"{unknown[0]} is no key of a tolerance")
    return tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """When and from which run the output was accepted."""

    __pydantic_config__: ClassVar = _STRICT
    at: str
    """ISO 8601, UTC."""
    run_started: str
    """`started` of the results.json it came from."""
    status: Status
    """The case's status in that run, by its own rules."""
    factors: tuple[str, ...] | None = None
    """The factors in which it differed from the preview, but for `environment`; null: an older file, not recorded."""
    expect: tuple[str, ...] | None = None
    """The case's `expect` then; null: none, or not recorded."""
    tolerance: Annotated[Mapping[str, float], AfterValidator(_known_limits)] | None = None
    """The case's tolerance then; null: an older file, rules were not recorded."""

    def decides_the_same(self, other: Accepted) -> bool:
        """Return whether the two demand the same of a result: they differ in nothing but time and run."""
        return dataclasses.replace(self, at=other.at, run_started=other.run_started) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineOutput:
    """The video that was accepted, with the fields of `VideoResult` in results.json."""

    __pydantic_config__: ClassVar = _STRICT
    frames: int
    width: int
    height: int
    fps: float
    sha256: str
    raw_sha256: str | None
    frame_sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMetric:
    """A metric of the accepted output against the preview."""

    __pydantic_config__: ClassVar = _STRICT
    variant: str
    higher_is_better: bool
    mean: float | None
    """The mean over the frames; null: infinite, every frame is identical (PSNR)."""
    per_frame: tuple[float | None, ...]
    """One value per frame; null: infinite (PSNR of an identical frame), or not measured (LPIPS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineStill:
    """A picture kept of the accepted output, in the folder `still_folder` beside the baseline."""

    __pydantic_config__: ClassVar = _STRICT
    frame: int
    """Counted from 0."""
    file: str
    """Its name: the frame, and the first 12 digits of its hash, so that no file is ever written over by another."""
    sha256: str

    @staticmethod
    def of(frame: int, sha256: str) -> BaselineStill:
        """The still of a frame, by the hash of its file."""
        return BaselineStill(frame=frame, file=f"{frame:04d}-{sha256[:12]}.webp", sha256=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSpeed(Speed):
    """How long the accepted generation took, with the fields of `speed` in results.json."""

    __pydantic_config__: ClassVar = _STRICT
    seconds: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The accepted output of a case: its recipe, its environment, and how close it is to the preview."""

    __pydantic_config__: ClassVar = _STRICT
    case: str
    accepted: Accepted
    output: BaselineOutput
    preview_sha256: str
    """Hash of the preview that the metrics compare with."""
    metrics: Mapping[str, BaselineMetric]
    """The metrics that were measured."""
    recipe: Mapping[str, Any]
    """The inference recipe, with paths reduced to file names, since folders differ between machines."""
    environment: Mapping[str, Any]
    """The part of the environment that can change the bits."""
    stills: tuple[BaselineStill, ...] = ()
    """Pictures to look at; no gate needs them. Empty: an older file, or none were kept."""
    speed: BaselineSpeed | None = None
    """How long the accepted generation took; null: an older file, or it was not measured."""
    kind: Literal["wan-parity baseline"] = "wan-parity baseline"
    schema_version: int = SCHEMA_VERSION

    def says_the_same(self, other: Baseline) -> bool:
        """Return whether the two differ in nothing but stills, time, and when and from which run they were accepted."""
        same = self.accepted.decides_the_same(other.accepted)
        mine = dataclasses.replace(self, accepted=other.accepted, stills=other.stills, speed=other.speed)
        return same and mine == other


def file_name(case_id: str) -> str:
    """The file name for a case id; characters that are not safe in every file system are percent-encoded."""
    name = quote(case_id, safe="")
    return f"{'%2E' + name[1:] if name.startswith('.') else name}.json"


def still_folder(case_id: str) -> str:
    """The name of the folder with a case's stills, beside its file."""
    return file_name(case_id).removesuffix(".json") + ".stills"


def accept(result: CaseResult, *, at: str, run_started: str) -> Accepted:
    """The acceptance of a result: what it is, and the rules it was accepted under."""
    own = result.by_own_rules()
    return Accepted(
        at=at,
        run_started=run_started,
        status=own.status,
        factors=factors_of(own),
        expect=own.expect,
        tolerance=dict(own.tolerance),
    )


def factors_of(result: CaseResult) -> tuple[str, ...]:
    """The factors found, sorted, without `environment`: another machine is no change of the case."""
    return tuple(sorted({finding.factor for finding in result.findings} - {"environment"}))


def from_result(result: CaseResult, environment: Mapping[str, Any], accepted: Accepted) -> Baseline:
    """The baseline made of a result that has an output."""
    if result.output is None or result.preview is None:
        raise ValueError(f"{result.id}: no output")
    measured = {name: _measured(name, metric) for name, metric in result.metrics.items() if metric.unavailable is None}
    return Baseline(
        case=result.id,
        accepted=accepted,
        output=BaselineOutput(**dataclasses.asdict(result.output)),
        preview_sha256=result.preview.sha256,
        metrics=measured,
        recipe=without_paths(result.recipes.get("inference", {})),
        environment=environment_of(result, environment),
        speed=None if result.speed is None else BaselineSpeed(**dataclasses.asdict(result.speed)),
    )


def environment_of(result: CaseResult, environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the environment that can change a result's bits. A server's is unknown; its address says nothing.

    A file is the same in any environment.
    """
    if result.file is not None:
        return {"drawn by": "a file"}
    return reaching_the_bits(environment) if result.target is None else {"drawn by": "a server"}


def _measured(name: str, metric: MetricResult) -> BaselineMetric:
    digits = DECIMALS.get(name, 5)

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, digits)

    return BaselineMetric(
        variant=metric.variant,
        higher_is_better=metric.higher_is_better,
        mean=rounded(metric.mean),
        per_frame=tuple(map(rounded, metric.per_frame)),
    )


def to_text(baseline: Baseline) -> str:
    """The file's text: keys sorted, lists of plain values on one line."""
    return _show(dataclasses.asdict(baseline), "") + "\n"


def _show(value: Any, indent: str) -> str:
    deeper = indent + " "
    if isinstance(value, Mapping) and value:
        items = (f"{deeper}{_plain(key)}: {_show(value[key], deeper)}" for key in sorted(value))
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(deeper + _show(item, deeper) for item in value) + f"\n{indent}]"
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def from_text(text: str) -> Baseline:
    """Read a baseline's text. Raises ValueError, which says what is wrong with it and what to do."""
    try:
        data = strict_json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not valid JSON: line {error.lineno}: {error.msg}; restore it from version control, or accept the case "
            "again"
        ) from None
    if not isinstance(data, dict) or data.get("kind") != KIND or type(data.get("schema_version")) is not int:
        raise ValueError("not a baseline of wan-parity; `parity baseline accept` writes them")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(other_version(data["schema_version"], SCHEMA_VERSION, "accept the case again"))
    try:
        return _with_safe_stills(adapter(Baseline).validate_json(text))
    except ValidationError as error:
        raise ValueError(f"{first_mistake(error)}; restore it from version control, or accept the case again") from None


def _with_safe_stills(baseline: Baseline) -> Baseline:
    """The baseline. Raises ValueError if a still's name is not the one that its frame and its hash make."""
    for place, still in enumerate(baseline.stills):
        if not re.fullmatch("[0-9a-f]{64}", still.sha256) or still != BaselineStill.of(still.frame, still.sha256):
            raise ValueError(
                f"stills.{place}.file: is not the name of its frame and sha256; restore it from version control, or "
                "accept the case again"
            )
    return baseline


def read(path: Path) -> Baseline:
    """Read a baseline's file. Raises UsageError, which names the path, what is wrong with it and what to do."""
    try:
        baseline = from_text(read_text(path, MAX_BYTES))
    except UnicodeDecodeError:
        raise UsageError(
            f"{path}: not a text file; restore it from version control, or accept the case again"
        ) from None
    except OSError as error:
        raise UsageError(cannot_read(path, error)) from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if path.name != file_name(baseline.case):
        belongs = file_name(baseline.case)
        raise UsageError(f"{path}: baseline of {baseline.case}, which belongs in {belongs}; rename or delete the file")
    return baseline
