"""Approvals: cases a person accepted while looking at the report, exported from it as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parity.baselines.sources import Drawn
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import read_text

_MAX_BYTES = 16 << 20


class Approval(BaseModel):
    """One video that was looked at."""

    model_config = ConfigDict(frozen=True, strict=True)
    id: str
    output_sha256: str
    raw_sha256: str | None


class Approvals(BaseModel):
    """The file. Keys this version does not know are passed over: what is applied is held against the results."""

    model_config = ConfigDict(frozen=True, strict=True)
    schema_version: Literal[1]
    kind: Literal["wan-parity approvals"]
    results_started: str
    """`started` of the results.json the report showed."""
    cases: tuple[Approval, ...] = Field(min_length=1)


def read_approvals(path: Path) -> Approvals:
    """Read the file. Raises UsageError: what is wrong with it and what to do."""
    try:
        text = read_text(path, _MAX_BYTES)
        data = strict_json.loads(text)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text; export the approvals from the report again") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: is no whole JSON ({error}); export the approvals from the report again") from None
    if not isinstance(data, dict) or data.get("kind") != "wan-parity approvals":
        raise UsageError(f"{path}: holds no approvals; export them from the report")
    version = data.get("schema_version")
    if version != 1:
        raise UsageError(f"{path}: schema_version is {version}, this wan-parity reads 1; export it from this version's")
    try:
        approvals = Approvals.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}; export the approvals from the report again") from None
    ids = [approval.id for approval in approvals.cases]
    for case_id in ids:
        if ids.count(case_id) > 1:
            raise UsageError(f"{path}: names {case_id} twice; approve one video of a case")
    return approvals


def approved(path: Path, drawn: Sequence[Drawn]) -> list[Drawn]:
    """The results a file approves: all of them, or UsageError naming what is not the video that was looked at."""
    approvals = read_approvals(path)
    started = {item.source.run.started: item.source.path for item in drawn}
    if approvals.results_started not in started:
        have = ", ".join(f"{path} of {time}" for time, path in started.items())
        raise UsageError(f"{path}: is of the run started {approvals.results_started}; the results are {have}")
    return [_approved(path, approval, drawn) for approval in approvals.cases]


def _approved(path: Path, approval: Approval, drawn: Sequence[Drawn]) -> Drawn:
    candidates = [item for item in drawn if item.result.id == approval.id]
    if not candidates:
        raise UsageError(f"{path}: approves {approval.id}, which the results do not hold; nothing was accepted")
    for item in candidates:
        output = item.result.output
        if output is not None and (output.sha256, output.raw_sha256) == (approval.output_sha256, approval.raw_sha256):
            return item
    where = ", ".join(str(item.source.path) for item in candidates)
    raise UsageError(f"{path}: {approval.id}: approved another video than the one in {where}; nothing was accepted")
