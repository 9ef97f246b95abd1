"""Baselines of smoke runs: hashes of stages, kept in a folder of their own beside those of whole videos."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, ValidationError

from parity.baselines.file import MAX_BYTES, file_name
from parity.baselines.recipes import compare_recipes, without_paths
from parity.results.case import BaselineResult, CaseResult
from parity.results.environment import differences, reaching_the_bits
from parity.results.json_text import adapter
from parity.results.smoke import NOT_A_COMPARISON
from pipelines.errors import UsageError
from pipelines.files.content import read_text
from pipelines.files.versioned import first_mistake, other_version
from pipelines.files.words import cannot_read

FOLDER = "smoke"
"""The folder below that of the baselines."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeBaseline:
    """A smoke run that was accepted."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")
    case: str
    accepted_at: str
    """ISO 8601, UTC."""
    run_started: str
    """`started` of the results.json it came from."""
    blocks: tuple[int, ...]
    extent: str
    """What was run, in words."""
    stages: tuple[tuple[str, str], ...]
    """Name and SHA-256 of each stage, in the order in which a generation passes them."""
    recipe: Mapping[str, Any]
    """The inference recipe, with paths reduced to file names."""
    environment: Mapping[str, Any]
    """The part of the environment that can change the bits."""
    kind: Literal["wan-parity smoke baseline"] = "wan-parity smoke baseline"
    schema_version: int = SCHEMA_VERSION

    def says_the_same(self, other: SmokeBaseline) -> bool:
        """Return whether the two differ in nothing but when and from which run they were accepted."""
        return dataclasses.replace(self, accepted_at=other.accepted_at, run_started=other.run_started) == other


def from_result(result: CaseResult, environment: Mapping[str, Any], *, at: str, run_started: str) -> SmokeBaseline:
    """The baseline made of the result of a smoke run."""
    if result.smoke is None:
        raise ValueError(f"{result.id}: no smoke run")
    return from_text(
        to_text(
            SmokeBaseline(
                case=result.id,
                accepted_at=at,
                run_started=run_started,
                blocks=result.smoke.blocks,
                extent=result.smoke.extent,
                stages=tuple(result.smoke.stages.items()),
                recipe=without_paths(result.recipes.get("inference", {})),
                environment=reaching_the_bits(environment),
            )
        )
    )


def to_text(baseline: SmokeBaseline) -> str:
    """The file's text."""
    return json.dumps(dataclasses.asdict(baseline), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def from_text(text: str) -> SmokeBaseline:
    """Read a file's text. Raises ValueError, which says what is wrong with it and what to do."""
    try:
        version = json.loads(text).get("schema_version")
    except (ValueError, AttributeError):
        raise ValueError("not a smoke baseline; restore it from version control, or accept the case again") from None
    if type(version) is not int:
        raise ValueError("not a smoke baseline; restore it from version control, or accept the case again")
    if version != SCHEMA_VERSION:
        raise ValueError(other_version(version, SCHEMA_VERSION, "accept the case again"))
    try:
        read: SmokeBaseline = adapter(SmokeBaseline).validate_json(text)
        return read
    except ValidationError as error:
        raise ValueError(f"{first_mistake(error)}; restore it from version control, or accept the case again") from None


def read_all(baselines: Path) -> dict[str, SmokeBaseline]:
    """The smoke baselines below a folder of baselines, by case id; none if there are none. Raises UsageError."""
    found: dict[str, SmokeBaseline] = {}
    for path in sorted((baselines / FOLDER).glob("*.json")):
        try:
            baseline = from_text(read_text(path, MAX_BYTES))
        except OSError as error:
            raise UsageError(cannot_read(path, error)) from None
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None
        if path.name != file_name(baseline.case):
            raise UsageError(f"{path}: baseline of {baseline.case}; rename or delete the file")
        found[baseline.case] = baseline
    return found


def check_smoke(result: CaseResult, environment: Mapping[str, Any], baseline: SmokeBaseline | None) -> BaselineResult:
    """Compare a smoke run, made in `environment`, with what was accepted: stage by stage, bit for bit."""
    own = result.by_own_rules()
    known = {"status": own.status, "verdict": own.verdict}
    if own.smoke is None:
        return BaselineResult(outcome="not_run", problems=(f"not run: {own.verdict}",), **known)  # type: ignore[arg-type]
    if baseline is None:
        return BaselineResult(outcome="no_baseline", problems=("no smoke baseline",), acceptable=True, **known)  # type: ignore[arg-type]
    changes = differences(baseline.environment, reaching_the_bits(environment))
    recipe = compare_recipes(baseline.recipe, without_paths(own.recipes.get("inference", {})))
    difference = first_difference(dict(baseline.stages), own.smoke.stages)
    problems: list[str] = []
    if baseline.extent != own.smoke.extent:
        problems.append(f"accepted with {baseline.extent}, this run has {own.smoke.extent}: not comparable")
    elif difference is not None and changes:
        problems.append(
            f"not comparable: accepted in a different environment ({', '.join(changes)}), where other bits are no "
            "fault; run the whole case, which is compared by tolerance there"
        )
    elif difference is not None:
        problems += [difference, *(f"because of {change}" for change in recipe.reaching)]
        if not recipe.reaching:
            problems.append("the recipe is unchanged: weights, LoRA file or code changed")
    notes = [f"the recipe changed, but no stage: {change}" for change in recipe.reaching] if not problems else []
    return BaselineResult(
        outcome="changed" if problems else "holds",
        problems=tuple(problems),
        notes=tuple(notes),
        environment=changes,
        compared="bits",
        acceptable=bool(problems or notes),
        accepted_at=baseline.accepted_at,
        **known,  # type: ignore[arg-type]
    )


def first_difference(before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    """Name the first stage that differs, and those before it, which do not; None: all are equal."""
    names = list(dict.fromkeys((*before, *after)))
    for number, name in enumerate(names):
        if before.get(name) != after.get(name):
            how = "is new" if name not in before else "is missing" if name not in after else "differs"
            equal = f"; equal before it: {', '.join(names[:number])}" if number else ""
            return f"{name} {how}{equal}"
    return None


def judged(result: CaseResult, check: BaselineResult) -> CaseResult:
    """The result with status and verdict by its check."""
    own = result.by_own_rules()
    if own.smoke is None:
        return dataclasses.replace(own, baseline=check)
    day = (check.accepted_at or "")[:10]
    if check.outcome == "no_baseline":
        return dataclasses.replace(
            own, status="drifted", verdict=f"{NOT_A_COMPARISON}: no smoke baseline", baseline=check
        )
    if check.failed:
        text = "; ".join(check.problems).replace("; because of ", " because of ", 1).replace("; because of ", ", ")
        verdict = f"{NOT_A_COMPARISON}: changed since it was accepted {day}: {text}"
        return dataclasses.replace(own, status="drifted", verdict=verdict, baseline=check)
    verdict = f"{NOT_A_COMPARISON}: every stage as accepted {day}, {own.smoke.extent}"
    return dataclasses.replace(own, verdict=verdict, baseline=check)
