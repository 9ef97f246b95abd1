"""Files with a `schema_version`: the messages for one of another version, and for one that does not fit its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def other_version(found: int, known: int, if_older: str) -> str:
    """The message for a file of another schema version. `if_older` says what to do about an older one."""
    versions = f"schema_version is {found}, this wan-parity reads {known}"
    if found > known:
        return f"{versions}: a newer wan-parity wrote it; update this one"
    return f"{versions}: an older wan-parity wrote it; {if_older}"


def first_mistake(error: ValidationError) -> str:
    """The first value that does not fit, with its key: `cases.0.id: Field required`."""
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
