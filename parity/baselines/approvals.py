"""Approvals: cases a person accepted while viewing the report, exported from it as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parity.baselines.sources import SourcedCase
from parity.results.folders import OUT
from parity.results.merge import read_results
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import read_text
from pipelines.files.versioned import first_mistake
from pipelines.files.words import cannot_read

_MAX_BYTES = 16 << 20


class Approval(BaseModel):
    """One video that was approved."""

    model_config = ConfigDict(frozen=True, strict=True)
    id: str
    output_sha256: str
    raw_sha256: str | None


class Approvals(BaseModel):
    """The file. Unknown keys are ignored; every approval is checked against the results before it is applied."""

    model_config = ConfigDict(frozen=True, strict=True)
    schema_version: Literal[1]
    kind: Literal["wan-parity approvals"]
    results_started: str
    """`started` of the results.json the report showed."""
    cases: tuple[Approval, ...] = Field(min_length=1)
    results: tuple[str, ...] = ()
    """The results.json that the report was made of, as seen from where it was; empty: an older report."""


def read_approvals(path: Path) -> Approvals:
    """Read the file. Raises UsageError, which says what is wrong with it and what to do."""
    try:
        text = read_text(path, _MAX_BYTES)
        data = strict_json.loads(text)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file; export the approvals from the report again") from None
    except OSError as error:
        raise UsageError(cannot_read(path, error)) from None
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}); export the approvals from the report again") from None
    if not isinstance(data, dict) or data.get("kind") != "wan-parity approvals":
        raise UsageError(f"{path}: not an approvals file; export approvals from the report")
    version = data.get("schema_version")
    if version != 1:
        raise UsageError(
            f"{path}: schema_version is {version}, this wan-parity reads 1; export the approvals from its own report"
        )
    try:
        approvals = Approvals.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_mistake(error)}; export the approvals from the report again") from None
    ids = [approval.id for approval in approvals.cases]
    for case_id in ids:
        if ids.count(case_id) > 1:
            raise UsageError(f"{path}: approves {case_id} twice; approve one video per case")
    return approvals


def results_of(path: Path, given: Sequence[Path] = ()) -> list[Path]:
    """Find the results.json that approvals are for: beside them, where the report said, or below reports/out.

    Raises UsageError if no results of that run are there; `given` are those that were named, and are not there either.
    """
    approvals = read_approvals(path)
    named = [Path(file) for file in approvals.results]
    places = [path.parent / "results.json", *named, *sorted(OUT.glob("*/results.json"))]
    found = next((place for place in places if _started(place) == approvals.results_started), None)
    if found is None:
        searched = [str(place) for place in given]
        searched += dict.fromkeys(str(place.parent) for place in (path.parent / "results.json", *named))
        raise UsageError(
            f"{path}: for the run started {approvals.results_started}, whose results are in none of "
            f"{', '.join([*searched, str(OUT)])}; pass --results FOLDER"
        )
    several = len(named) > 1 and found in named
    return [place for place in named if place.is_file()] if several else [found]


def _started(path: Path) -> str | None:
    """When the run of a results.json was started; None if that cannot be read."""
    try:
        return read_results(path).started
    except UsageError:
        return None


def approved(path: Path, cases: Sequence[SourcedCase]) -> list[SourcedCase]:
    """The results a file approves. Raises UsageError if one of them is not the video that was approved."""
    approvals = read_approvals(path)
    started = {item.source.run.started: item.source.path for item in cases}
    if approvals.results_started not in started:
        available = ", ".join(f"{path} started {time}" for time, path in started.items())
        raise UsageError(f"{path}: for the run started {approvals.results_started}; the results are {available}")
    return [_approved(path, approval, cases) for approval in approvals.cases]


def _approved(path: Path, approval: Approval, cases: Sequence[SourcedCase]) -> SourcedCase:
    candidates = [item for item in cases if item.result.id == approval.id]
    if not candidates:
        raise UsageError(f"{path}: approves {approval.id}, which is not in the results; nothing was accepted")
    for item in candidates:
        output = item.result.output
        if item.result.by_own_rules().status == "error":
            raise UsageError(f"{path}: {approval.id}: an error cannot be accepted ({item.result.verdict})")
        if output is not None and (output.sha256, output.raw_sha256) == (approval.output_sha256, approval.raw_sha256):
            return item
    places = ", ".join(str(item.source.path) for item in candidates)
    raise UsageError(f"{path}: {approval.id}: the approved video is not the one in {places}; nothing was accepted")
