"""Cases of strangers, as those of a pull request: `$WAN_PARITY_CONFINED` says which folders they may name files in.

Without the variable a case, its job config or request can name any file of this machine and any URL, as its author's
own cases have to.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.files.content import real_path

VARIABLE = "WAN_PARITY_CONFINED"
_EMBEDDED = Path(__file__).parents[2] / "cases"
"""The demo that comes with the package, which may always be read."""


def confinement() -> tuple[Path, ...] | None:
    """The folders, links resolved; None: there are no limits."""
    given = os.environ.get(VARIABLE, "")
    if not given:
        return None
    folders = [Path(place) for place in given.split(os.pathsep) if place]
    return tuple(real_path(folder) for folder in (*folders, _EMBEDDED))


def why_outside(path: Path) -> str | None:
    """Why a path must not be read, as a clause; None: it may be. Links are followed first."""
    folders = confinement()
    if folders is None:
        return None
    try:
        real = real_path(path)
    except ValueError:  # a NUL byte: no such file
        return None
    if any(real.is_relative_to(folder) for folder in folders):
        return None
    return f"is outside the folders of ${VARIABLE}"


def why_not_asked() -> str | None:
    """Why no server may be asked that a case names, as a clause; None: it may."""
    return None if confinement() is None else f"is an address; with ${VARIABLE} set, cases can make no requests"
