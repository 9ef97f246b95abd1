"""Reads ComfyUI's official Wan templates and prints what became of each: its settings, or the nodes it is refused for.

python -m tests.comfyui_templates         # those of the package comfyui-workflow-templates-json, of the extra [dev]
python -m tests.comfyui_templates FOLDER  # the *wan*.json of a folder, such as another version's
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.settings import Settings
from pipelines.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one template."""

    template: str
    state: Literal["parsed", "refused", "paid API"]
    says: str
    """Its settings in short, or the nodes it was refused for."""
    nodes: tuple[str, ...] = ()
    """The classes it was refused for, sorted."""


def row_of(template: str, data: Mapping[str, object]) -> Row:
    """Read one template."""
    try:
        return Row(template=template, state="parsed", says=summary(read_graph(data)))
    except GraphError as error:
        found = re.search(r"not supported yet: (.*?)\. Understood are", str(error))
        if found is None:
            raise
    nodes = tuple(sorted({part.split(" ")[0] for part in found[1].split("; ")}))
    paid = any(name.endswith("Api") for name in nodes)
    return Row(template=template, state="paid API" if paid else "refused", says=found[1], nodes=nodes)


def summary(settings: Settings) -> str:
    """The settings of a graph in one line."""
    first = settings.stages[0]
    parts = [f"{first.sampler}/{first.schedule}", f"{first.steps} steps", f"cfg {first.cfg:g}"]
    parts += ["shift " + ", ".join(f"{stage.scheduler.shift:g}" for stage in settings.stages)]
    parts += [f"split at {first.end}"] if len(settings.stages) == 2 else []
    parts += [f"{settings.width}x{settings.height}", f"{settings.length} frames", f"{settings.fps:g} fps"]
    loras = [f"{lora.name} {lora.strength:g}" for stage in settings.stages for lora in stage.loras]
    return ", ".join([*parts, ", ".join(loras) or "no LoRA"])


def templates(folder: Path | None = None) -> dict[str, dict[str, object]]:
    """The Wan templates of a folder, or of the package (version 0.1.123 in constraints.txt), by name."""
    place = folder or Path(str(files("comfyui_workflow_templates_json") / "templates"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(place.rglob("*wan*.json"))}


def main() -> int:
    """Run. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a folder with templates (default: the package's)")
    parser.add_argument("--json", action="store_true", help="print the rows as data")
    options = parser.parse_args()
    rows = [row_of(name, data) for name, data in templates(options.folder).items()]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    width = max(len(row.template) for row in rows)
    for row in rows:
        print(f"{row.template:{width}}  {row.state:8}  {row.says}")
    counts = [f"{sum(row.state == state for row in rows)} {state}" for state in ("parsed", "refused", "paid API")]
    print(f"{len(rows)} templates: {', '.join(counts)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
