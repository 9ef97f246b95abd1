"""results.json as text, both ways: strict JSON, written and read a case at a time where there are many."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from parity.results.case import SCHEMA_VERSION, CaseResult, Run
from pipelines.files import strict_json
from pipelines.files.content import as_text
from pipelines.files.versioned import first_mistake, other_version

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_T = TypeVar("_T")


def to_json(run: Run, indent: int | None = 1) -> str:
    """A run as strict JSON, without NaN and Infinity. `indent` None gives the shortest text."""
    return _written(run, indent).decode()


def in_pieces(run: Run) -> Iterator[bytes]:
    """A run as `to_json` gives it, a case at a time: the whole text of ten thousand cases takes 146 MB."""
    head, tail = around_cases(run)
    yield head
    for number, case in enumerate(run.cases):
        yield (b",\n  " if number else b"\n  ") + case_to_json(case, indent=1).replace(b"\n", b"\n  ")
    yield b"\n " + tail if run.cases else tail


def around_cases(run: Run) -> tuple[bytes, bytes]:
    """The text of a run before its first case and after its last one."""
    head, found, tail = to_json(dataclasses.replace(run, cases=())).encode().partition(_NO_CASES)
    assert found
    return head + _CASES, b"]" + _AFTER_CASES + tail


_CASES, _AFTER_CASES = b'\n "cases": [', b",\n"
_NO_CASES = _CASES + b"]" + _AFTER_CASES
"""Where the cases of a run stand in its text; no line of it is indented by one space but its own keys."""


def case_to_json(case: CaseResult, indent: int | None = None) -> bytes:
    """A case as strict JSON, in a line unless `indent` is given."""
    return _written(case, indent)


def case_from_json(data: bytes) -> CaseResult:
    """Read a case that `case_to_json` wrote. Raises ValueError."""
    if _has_unusable_number(data):
        raise ValueError("has a number that is not usable")
    case: CaseResult = adapter(CaseResult).validate_json(data)
    return case


def _written(value: Run | CaseResult, indent: int | None) -> bytes:
    try:
        kind = Run if isinstance(value, Run) else CaseResult
        data: bytes = adapter(kind).dump_json(value, indent=indent, fallback=str)
    except ValueError:  # of pydantic: the name of a file that is no UTF-8
        return _strictly(value, indent)
    return _strictly(value, indent) if _names_constants(data) else data


def _names_constants(data: bytes) -> bool:
    """True if a text has NaN or Infinity, which strict JSON does not know, or the same as part of a word."""
    return b"NaN" in data or b"Infinity" in data


def _strictly(value: Run | CaseResult, indent: int | None) -> bytes:
    """A value as JSON, fifty times slower. Half a character, a byte of a name that is no UTF-8, is written in letters.

    Raises ValueError for NaN and Infinity.
    """
    separators = (",", ":") if indent is None else None
    data = dataclasses.asdict(value)
    text = json.dumps(data, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False, default=str)
    return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


_HALF = re.compile("[\ud800-\udfff]")


@functools.cache
def adapter(kind: type[_T]) -> TypeAdapter[_T]:
    """The reader of a type. It is kept: making one takes a hundred times as long as reading a value."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def from_json(content: str | bytes) -> Run:
    """Read a results.json. Raises ValueError, of which UnicodeDecodeError is one, with the reason and what to do."""
    run = _quickly(content.encode() if isinstance(content, str) else content)
    if run is not None:
        return run
    data = _parse(content if isinstance(content, str) else as_text(content))
    version = data.get("schema_version") if isinstance(data, dict) else None
    if type(version) is not int or "cases" not in data:
        raise ValueError("not a results.json of wan-parity")
    if version != SCHEMA_VERSION:
        older = "run the cases again, or render it with the version that wrote it"
        raise ValueError(other_version(version, SCHEMA_VERSION, older))
    from pydantic import ValidationError

    try:
        read: Run = adapter(Run).validate_python(data)
        return read
    except ValidationError as error:
        raise ValueError(f"not a results.json that `parity run` wrote: {first_mistake(error)}") from None


def _quickly(content: bytes) -> Run | None:
    """Read a results.json without a copy as text or dictionaries; None if it has anything to complain about."""
    from pydantic import ValidationError

    if _has_unusable_number(content) or _names_constants(content) or strict_json.values_in(content) > MAX_VALUES:
        return None
    try:
        run = _case_by_case(content) or adapter(Run).validate_json(content, strict=True)
    except ValidationError:
        return None
    return run if run.schema_version == SCHEMA_VERSION and b'"schema_version"' in content else None


def _case_by_case(content: bytes) -> Run | None:
    """Read the text that `in_pieces` writes, without a tree of all of it; None for any other layout.

    No line within a text of JSON begins with spaces and a bracket, so indentation tells where a case ends.
    Raises ValidationError.
    """
    begin = content.find(_CASES)
    end = content.find(_END_OF_CASES, begin)
    if begin < 0 or end < 0:
        return None
    head = content[:begin] + _NO_CASES + content[end + len(_END_OF_CASES) :]
    run: Run = adapter(Run).validate_json(head, strict=True)
    cases: list[CaseResult] = []
    place = begin + len(_CASES)
    while place < end:
        stop = content.find(_END_OF_CASE, place, end)
        if stop < 0:
            return None
        stop += len(_END_OF_CASE)
        before = b",\n  " if cases else b"\n  "
        if not content.startswith(before, place):
            return None
        cases.append(adapter(CaseResult).validate_json(content[place + len(before) : stop], strict=True))
        place = stop
    return dataclasses.replace(run, cases=tuple(cases))


_END_OF_CASE, _END_OF_CASES = b"\n  }", b"\n ]" + _AFTER_CASES

MAX_VALUES = 32_000_000
"""The most values in a results.json. A case has about 1,000."""
_KINDS = {**dict.fromkeys(b"0123456789.", "0"), **dict.fromkeys(b"eE", "e"), ord("+"): "+"}
_KIND = "".join(_KINDS.get(byte, " ") for byte in range(256)).encode()
"""What each byte may be in a number."""
_LONGER = b"0" * (strict_json.MAX_DIGITS + 1)
_BEYOND = b"0e000", b"0e+000"
"""How a number above 1e100 ends, which may be infinite. Hashes, which are texts, have the same."""
_NUMBER = re.compile(rb"[:,\[\s]-?[0-9.]+[eE]\+?[0-9]{3}")
_CHUNK = 1 << 20


def _has_unusable_number(content: bytes) -> bool:
    """True if a number is longer than it may be, or above 1e100. Five times as fast as a pattern."""
    overlap = len(_LONGER) - 1
    for at in range(0, len(content), _CHUNK):
        kinds = content[at : at + _CHUNK + overlap].translate(_KIND)
        if _LONGER in kinds or any(_is_beyond(content, at, kinds, end) for end in _BEYOND):
            return True
    return False


def _is_beyond(content: bytes, at: int, kinds: bytes, end: bytes) -> bool:
    place = kinds.find(end)
    while place >= 0:
        if _NUMBER.search(content, max(0, at + place - len(_LONGER)), at + place + len(end)):
            return True
        place = kinds.find(end, place + 1)
    return False


def _parse(text: str) -> Any:
    if not text.strip():
        raise ValueError("the file is empty; copy it again, or run the cases again")
    try:
        return strict_json.loads(text, max_values=MAX_VALUES)
    except json.JSONDecodeError as error:
        if text.lstrip()[0] != "{":
            raise ValueError("not JSON; pass the results.json that `parity run` wrote") from None
        ended = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        fault = "the file ends too early" if ended else "the JSON is damaged"
        raise ValueError(
            f"{fault} at line {error.lineno} ({error.msg}); copy it again, or run the cases again"
        ) from None
