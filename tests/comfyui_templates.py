"""Reads ComfyUI's official Wan templates and prints what became of each: its settings, or the nodes it is refused for.

python -m tests.comfyui_templates              # those kept in tests/data/comfyui
python -m tests.comfyui_templates FOLDER       # the *wan*.json of a folder, such as an installed package's
python -m tests.comfyui_templates FOLDER --keep  # and replaces those kept, without what only the browser shows
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.settings import Settings
from pipelines.errors import GraphError
from tests.support.paths import DATA

KEPT = DATA / "comfyui" / "official.json.gz"
"""All Wan templates of comfyui-workflow-templates-json 0.1.123 (PyPI, MIT)."""

_SHOWN = ("bgcolor", "bounding", "color", "extra", "flags", "groups", "order", "pos", "properties", "size")
"""What only the browser uses."""


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


def kept() -> dict[str, dict[str, object]]:
    """The templates in `tests/data`."""
    found: dict[str, dict[str, object]] = json.loads(gzip.decompress(KEPT.read_bytes()))
    return found


def main() -> int:
    """Run. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a folder with templates (default: those kept)")
    parser.add_argument("--keep", action="store_true", help="replace the kept ones by those of the folder")
    parser.add_argument("--json", action="store_true", help="print the rows as data")
    options = parser.parse_args()
    if options.folder is None:
        templates = kept()
    else:
        files = sorted(options.folder.rglob("*wan*.json"))
        templates = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
        if options.keep:
            text = json.dumps(_stripped(templates), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            KEPT.write_bytes(gzip.compress(text.encode(), mtime=0))
    rows = [row_of(name, data) for name, data in templates.items()]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    width = max(len(row.template) for row in rows)
    for row in rows:
        print(f"{row.template:{width}}  {row.state:8}  {row.says}")
    counts = [f"{sum(row.state == state for row in rows)} {state}" for state in ("parsed", "refused", "paid API")]
    print(f"{len(rows)} templates: {', '.join(counts)}")
    return 0


def _stripped(value: object) -> object:
    """The same without what only the browser uses, and without the texts of notes."""
    if isinstance(value, list):
        return [_stripped(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in ("MarkdownNote", "Note"):
        return {"id": value.get("id"), "type": value["type"], "mode": value.get("mode")}
    return {name: _stripped(entry) for name, entry in value.items() if name not in _SHOWN}


if __name__ == "__main__":
    raise SystemExit(main())
