"""`parity explain --comfyui`: what to set in ComfyUI for a case's preview, and the graph that is set so."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UsageError
from pipelines.files.content import present, write_atomically
from pipelines.files.words import cannot_write

if TYPE_CHECKING:
    from parity.case.load import Case


def explain_comfyui(options: argparse.Namespace) -> int:
    """Print what to set, and write both forms of the graph if they are asked for."""
    from dataclasses import asdict

    from parity.factors.comfyui import comfy_advice
    from parity.terminal.as_json import json_text
    from parity.terminal.comfyui import comfy_text

    if options.factor is not None or options.symptom is not None:
        raise UsageError("give a factor, --symptom or --comfyui, not several")
    case = _case(options.comfyui, options.output)
    advice = comfy_advice(case)
    written = [] if options.write is None else _write(case, options.write)
    if options.json:
        print(json_text(case=case.id, comfyui=asdict(advice), written=written))
        return 0
    print(comfy_text(advice))
    if case.preview.notes:
        print("\non the preview:", *(f"  {note}" for note in case.preview.notes), sep="\n")
    if written:
        print("\nwritten:", *(f"  {path}" for path in written), sep="\n")
    return 0


def _case(place: Path, output: Path | None) -> Case:
    """The case, with the graph of `output` as what is set now."""
    from parity.case.load import is_job, load_case
    from parity.cli.plan import case_of_output

    if output is not None:
        return case_of_output([place], output)[0]
    if is_job(place):
        raise UsageError(
            f"{place}: is a job's folder with many previews; name a case (parity import {place} writes them), or the "
            "video from ComfyUI as --output"
        )
    return load_case(place)


def _write(case: Case, path: Path) -> list[Path]:
    """Write the API graph and the workflow; raises UsageError rather than replace another file."""
    from pipelines.comfyui.advice import advise
    from pipelines.comfyui.write import api_graph, graph_text, workflow

    advice = advise(case.preview)
    if advice.settings is None:
        raise UsageError(f"--write {path}: there is no graph to write: {advice.answer}")
    if path.suffix != ".json":
        raise UsageError(f"--write {path}: name a file that ends in .json")
    files = {path: api_graph, path.with_suffix(".workflow.json"): workflow}
    texts = {name: graph_text(write(advice.settings, case.id)).encode() for name, write in files.items()}
    for name, text in texts.items():
        if present(name) and not (name.is_file() and name.read_bytes() == text):
            raise UsageError(f"{name} exists already and is another file; existing files are never overwritten")
    for name, text in texts.items():
        try:
            write_atomically(name, text)
        except OSError as error:
            raise UsageError(cannot_write(name, error)) from None
    return list(texts)
