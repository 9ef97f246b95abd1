"""`expect` of a case file that exists: what it should say after a run, and the file's text with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parity.case.document import CaseDocument
from parity.case.keys import CaseKeys, validate
from parity.results.case import FAILING, CaseResult
from parity.results.smoke import NOT_A_COMPARISON
from pipelines.errors import CaseError, UsageError
from pipelines.files.content import read_bytes, real_path, write_atomically
from pipelines.files.document import MAX_BYTES, parse
from pipelines.files.edit import CannotEditError, set_list
from pipelines.files.words import cannot_read, cannot_write

_NEVER_BY_DEFAULT = frozenset(("environment", "broken_output"))
"""Another machine's rounding, and a broken video: neither is a difference that a case should rely on."""

State = Literal["changed", "kept", "left out"]
"""left out: nothing is known that could be expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a case file is to expect."""

    case: str
    path: Path
    state: State
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    """None: no `expect`."""
    note: str = ""
    text: str = ""
    """The file's text, if it changes."""


def expect_these(file: CaseDocument, factors: Sequence[str] | None) -> Expectation:
    """What the file is to say if it must expect these factors; None: it must have no `expect`.

    Raises UsageError if its text cannot be changed without touching something else.
    """
    before = _before(file)
    after = None if factors is None else tuple(factors)
    note = ""
    limits = file.keys.tolerance.model_dump(exclude_none=True) if file.keys.tolerance is not None else {}
    if after is not None and limits.keys() - {"seconds_ratio"}:
        note = "its tolerance decides too"
    if _set(before) == _set(after):
        return Expectation(case=file.id, path=file.document.path, state="kept", before=before, after=before)
    return Expectation(
        case=file.id,
        path=file.document.path,
        state="changed",
        before=before,
        after=after,
        note=note,
        text=_edited(file, after),
    )


def expect_as_found(file: CaseDocument, result: CaseResult | None) -> Expectation:
    """What the file is to say so that it expects what a run found. A case that is as expected is kept."""

    def unchanged(state: State, note: str) -> Expectation:
        before = _before(file)
        return Expectation(case=file.id, path=file.document.path, state=state, before=before, after=before, note=note)

    if result is None:
        return unchanged("left out", "not in the results; run it first")
    own = result.by_own_rules()
    if own.smoke is not None:
        return unchanged("left out", f"{NOT_A_COMPARISON}; run it without --blocks")
    if own.status not in FAILING:
        return unchanged("kept", f"as expected: {own.status}")
    if own.output is None and own.diagnosis is None:
        return unchanged("left out", own.verdict)
    found = [finding.factor for finding in own.findings if finding.factor not in _NEVER_BY_DEFAULT]
    if "environment" in (_before(file) or ()) and any(finding.factor == "environment" for finding in own.findings):
        found.append("environment")
    if not found:
        return unchanged("left out", f"no factor explains it: {own.verdict}")
    expectation = expect_these(file, found)
    if expectation.state == "kept":
        return unchanged("left out", f"expects that already: {own.verdict}")
    return expectation


def write(expectation: Expectation) -> None:
    """Write the file, all of it or nothing. Raises UsageError if it cannot be written."""
    path = real_path(expectation.path)  # a link stays one
    try:
        mode = path.stat().st_mode
        write_atomically(path, expectation.text.encode("utf-8"))
        path.chmod(mode)
    except OSError as error:
        raise UsageError(cannot_write(expectation.path, error)) from None


def _before(file: CaseDocument) -> tuple[str, ...] | None:
    return None if file.keys.expect is None else tuple(file.keys.expect)


def _set(factors: Sequence[str] | None) -> frozenset[str] | None:
    return None if factors is None else frozenset(factors)


def _edited(file: CaseDocument, factors: Sequence[str] | None) -> str:
    """The file's text with this `expect`, read back: nothing else may differ."""
    path = file.document.path
    by_hand = "remove `expect`" if factors is None else f"write `expect: [{', '.join(factors)}]` by hand"
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8")
        edited = set_list(text, "expect", factors, before="tags")
        document = parse(path, edited)
        validate(document, CaseKeys)
    except OSError as error:
        raise UsageError(cannot_read(path, error)) from None
    except (CannotEditError, CaseError) as error:
        raise UsageError(f"{path}: `expect` cannot be changed here: {error}; {by_hand}") from None
    wanted = {key: value for key, value in file.document.data.items() if key != "expect"}
    if factors is not None:
        wanted["expect"] = sorted(factors)
    found = dict(document.data)
    if isinstance(found.get("expect"), list):
        found["expect"] = sorted(found["expect"])
    if found != wanted:
        raise UsageError(f"{path}: `expect` cannot be changed here without changing something else; {by_hand}")
    return edited
