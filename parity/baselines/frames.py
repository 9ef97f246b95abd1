"""A description of which frames changed, by their hashes: changed, missing, new, or moved."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


def describe_frames(before: Sequence[str], after: Sequence[str]) -> str:
    """Describe what happened to the baseline's frames; frames count from 0, as in the report.

    `frame 4 changed`, `8 frames instead of 9: frame 3 is missing`, `off by one: frames 2-8 are the baseline's 1-7`.
    The text is empty if all are equal.
    """
    if not before or not after:
        return f"{len(after)} frames instead of {len(before)}" if before or after else ""
    count = len(after) != len(before)
    whose = "" if count else "the baseline's "
    parts: list[str] = []
    matches = False
    for tag, i, i_end, j, j_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            matches = True
            if i != j and not count:
                parts.append(_moved(i, j, j_end))
            continue
        both = min(i_end - i, j_end - j)
        if both:
            parts.append(f"{_frames(j, j + both)} changed")
        if i_end > i + both:
            parts.append(f"{whose}{_are(i + both, i_end)} missing")
        if j_end > j + both:
            parts.append(_new(after, j + both, j_end))
    if not matches and not count:
        return f"all {len(after)} frames changed"
    head = f"{len(after)} frames instead of {len(before)}: " if count else ""
    return head + ("no frame is unchanged" if not matches else "; ".join(parts))


def changed_frames(before: Sequence[str], after: Sequence[str]) -> tuple[int, ...] | None:
    """Indices of the frames whose hashes differ; None if they are unknown, or the counts differ."""
    if not before or len(before) != len(after):
        return None
    return tuple(place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new)


def _moved(i: int, j: int, j_end: int) -> str:
    by = abs(j - i)
    off = "off by one" if by == 1 else f"off by {by}"
    return f"{off}: {_frames(j, j_end)} {'is' if j_end - j == 1 else 'are'} the baseline's {_span(i, i + j_end - j)}"


def _new(after: Sequence[str], start: int, end: int) -> str:
    neighbours = [k for k in (start - 1, end) if 0 <= k < len(after)]
    equal = [k for k in neighbours if all(after[new] == after[k] for new in range(start, end))]
    return f"{_are(start, end)} new" + (f", equal to frame {equal[0]}" if equal else "")


def _frames(start: int, end: int) -> str:
    return f"frame{'' if end - start == 1 else 's'} {_span(start, end)}"


def _are(start: int, end: int) -> str:
    return f"{_frames(start, end)} {'is' if end - start == 1 else 'are'}"


def _span(start: int, end: int) -> str:
    return str(start) if end - start == 1 else f"{start}-{end - 1}"
