"""What the wheel holds: one top-level package, `parity`, with `pipelines`, `reports` and the demo's `cases` inside.

A serving project has folders called `pipelines`, `reports` and `cases` of its own. In a checkout ours lie beside
`parity`, where people look for them; in a wheel they would shadow the neighbours', or be shadowed. So they are put
below `parity`, and the import statements that name them say so. Line numbers stay as they are.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("pipelines", "reports", "cases")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "out", "training")
_IMPORT = re.compile(rf"^(\s*from )({'|'.join(PARTS)})(?=[. ])", re.MULTILINE)


class WheelLayout(BuildHookInterface):  # type: ignore[type-arg]
    """Stages the package of a wheel; an editable install is the checkout as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Stage the package, unless the install is editable."""
        if version == "editable":
            return
        self._stage = Path(tempfile.mkdtemp(prefix="wan-parity-wheel-"))
        root, package = Path(self.root), self._stage / "parity"
        shutil.copytree(root / "parity", package, ignore=_LEFT_OUT)
        for part in PARTS:
            shutil.copytree(root / part, package / part, ignore=_LEFT_OUT)
        shutil.copyfile(root / "constraints.txt", package / "constraints.txt")  # `parity doctor`: what was tested
        for path in package.rglob("*.py"):
            path.write_text(_IMPORT.sub(r"\1parity.\2", path.read_text(encoding="utf-8")), encoding="utf-8")
        build_data["force_include"][str(package)] = "parity"

    def finalize(self, version: str, *_: object) -> None:
        """Remove what was staged."""
        if version != "editable":
            shutil.rmtree(self._stage, ignore_errors=True)
