"""A baseline as a file: versioned JSON, one a case, sorted and rounded so that diffs stay quiet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter, ValidationError

from parity.baselines.recipes import without_paths
from parity.results.case import CaseResult, MetricResult, Status
from parity.results.environment import reaching_the_bits
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import read_text

SCHEMA_VERSION = 1
KIND = "wan-parity baseline"

MAX_BYTES = 16 << 20
"""Of a file: of a thousand frames it would have a thousandth."""

DECIMALS = {"psnr": 3, "ssim": 5, "lpips": 5}
"""Digits kept of a metric. A unit of the last is no difference."""


_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""A key that this version does not know could be a rule that it would not keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The reviewed act."""

    __pydantic_config__: ClassVar = _STRICT
    at: str
    """ISO 8601, UTC."""
    run_started: str
    """`started` of the results.json it came from."""
    status: Status
    """What that run said of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The video that was accepted. As `VideoResult` of results.json."""

    __pydantic_config__: ClassVar = _STRICT
    frames: int
    width: int
    height: int
    fps: float
    sha256: str
    raw_sha256: str | None
    frame_sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric against the preview."""

    __pydantic_config__: ClassVar = _STRICT
    variant: str
    higher_is_better: bool
    mean: float | None
    """null: infinite, every frame is identical (PSNR)."""
    per_frame: tuple[float | None, ...]
    """null: infinite (PSNR of an identical frame)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a case drew, by what recipe, where, and how near it came to the preview."""

    __pydantic_config__: ClassVar = _STRICT
    case: str
    accepted: Accepted
    output: Output
    preview_sha256: str
    """Of the preview the metrics hold for."""
    metrics: Mapping[str, Measured]
    """Those that were measured."""
    recipe: Mapping[str, Any]
    """Inference's, folders left out of paths: another machine has others."""
    environment: Mapping[str, Any]
    """What of the environment may reach the bits."""
    kind: Literal["wan-parity baseline"] = "wan-parity baseline"
    schema_version: int = SCHEMA_VERSION

    def says_the_same(self, other: Baseline) -> bool:
        """Whether only the acceptance differs."""
        return dataclasses.replace(self, accepted=other.accepted) == other


def file_name(case_id: str) -> str:
    """Ids made of file names may hold anything; what is not safe in every file system is percent-encoded."""
    name = quote(case_id, safe="")
    return f"{'%2E' + name[1:] if name.startswith('.') else name}.json"


def from_result(result: CaseResult, environment: Mapping[str, Any], accepted: Accepted) -> Baseline:
    """What would be accepted of a result that has an output."""
    if result.output is None or result.preview is None:
        raise ValueError(f"{result.id} has no output")
    measured = {name: _measured(name, metric) for name, metric in result.metrics.items() if metric.unavailable is None}
    return Baseline(
        case=result.id,
        accepted=accepted,
        output=Output(**dataclasses.asdict(result.output)),
        preview_sha256=result.preview.sha256,
        metrics=measured,
        recipe=without_paths(result.recipes.get("inference", {})),
        environment=environment_of(result, environment),
    )


def environment_of(result: CaseResult, environment: Mapping[str, Any]) -> dict[str, Any]:
    """What of the environment may reach a result's bits. Of a server nobody knows it, and its address says nothing."""
    return reaching_the_bits(environment) if result.target is None else {"drawn by": "a server"}


def _measured(name: str, metric: MetricResult) -> Measured:
    digits = DECIMALS.get(name, 5)

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, digits)

    return Measured(
        variant=metric.variant,
        higher_is_better=metric.higher_is_better,
        mean=rounded(metric.mean),
        per_frame=tuple(map(rounded, metric.per_frame)),
    )


def to_text(baseline: Baseline) -> str:
    """Keys sorted, a list of plain values on one line."""
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
    """Read a baseline back. Raises ValueError: what is wrong with it, and what to do."""
    try:
        data = strict_json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is no whole JSON: line {error.lineno}: {error.msg}; take it from version control, or accept the case anew"
        ) from None
    if not isinstance(data, dict) or data.get("kind") != KIND or type(data.get("schema_version")) is not int:
        raise ValueError("is no baseline of wan-parity; `parity baseline accept` writes them")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(other_version(data["schema_version"]))
    try:
        return TypeAdapter(Baseline).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}; take it from version control, or accept the case anew") from None


def other_version(version: int) -> str:
    """Why a file of another schema version is not read."""
    known = f"schema_version is {version}, this wan-parity reads {SCHEMA_VERSION}"
    if version > SCHEMA_VERSION:
        return f"{known}: a newer wan-parity wrote it; update this one"
    return f"{known}: an older wan-parity wrote it; accept the case anew"


def read(path: Path) -> Baseline:
    """Read a baseline's file. Raises UsageError: the path, what is wrong with it and what to do."""
    try:
        baseline = from_text(read_text(path, MAX_BYTES))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text; take it from version control, or accept the case anew") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if path.name != file_name(baseline.case):
        belongs = file_name(baseline.case)
        raise UsageError(f"{path}: is the baseline of {baseline.case}, which belongs in {belongs}; rename or delete it")
    return baseline
