"""Commands that print models, factors, file formats and versions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from parity.cli.comfyui import explain_comfyui
from parity.cli.installed import version_of
from pipelines.errors import UsageError
from pipelines.files.content import write_atomically
from pipelines.files.words import cannot_write


class Version(argparse.Action):
    """The action of `--version`: prints and exits, without importing torch or diffusers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"wan-parity {version('wan-parity')} ({version_of('torch')}, {version_of('diffusers')})")
        parser.exit()


def add(parsers: Any) -> None:
    """Add `parity explain`, `models`, and `schema`."""
    command = parsers.add_parser(
        "explain",
        help="explain a factor, or what can be behind a symptom, and what to change",
        description="Explains a factor: what ai-toolkit and the server do, what a difference looks like, how to "
        "recognize it, and what to change. Without FACTOR it lists all factors. With --symptom it starts from what you "
        "see: what it usually is, the command that decides it, and what to change. With --comfyui it says what to set "
        "in ComfyUI, node by node, for the preview of a case, and what cannot be had there.",
        epilog="examples:\n  parity explain\n  parity explain scheduler\n  parity explain --symptom\n"
        "  parity explain --symptom the LoRA does nothing\n  parity explain --comfyui my_case.yaml\n"
        "  parity explain --comfyui my_case.yaml --write graph.json\n"
        "  parity explain --comfyui output/my_job --output ComfyUI_00001_.mp4\n",
    )
    command.add_argument("factor", nargs="?", metavar="FACTOR", help="default: list all factors")
    command.add_argument(
        "--symptom", nargs="*", metavar="WORDS", help="what you see, in your words (default: list all symptoms)"
    )
    command.add_argument(
        "--comfyui", type=Path, metavar="CASE", help="what to set in ComfyUI for this case's preview, node by node"
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="with --comfyui: a video that ComfyUI saved, or a workflow's JSON; says what to change in its graph. CASE "
        "may then be a job's folder",
    )
    command.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="with --comfyui: write its API graph to FILE.json, and its workflow for the browser to FILE.workflow.json",
    )
    command.add_argument("--json", action="store_true", help="print pages or list as JSON")
    command.set_defaults(run=explain)
    command = parsers.add_parser(
        "models",
        help="list the API's Wan models and their defaults, or print one model's page",
        description="Lists the API's Wan models with their defaults, or prints one model's page: what the reference "
        "server does, the limits, a request.",
        epilog="examples:\n  parity models\n  parity models wan21_14b\n",
    )
    command.add_argument("model", nargs="?", metavar="ID", help="print this model's page in Markdown")
    command.add_argument("--json", action="store_true", help="print models or page as JSON")
    command.set_defaults(run=models)
    command = parsers.add_parser(
        "schema",
        help="print the JSON Schema of case files, requests or results.json",
        description="Prints the JSON Schema of a file format: every key with its type, limits and meaning.",
        epilog="examples:\n  parity schema case\n  parity schema case --out case.schema.json\n",
    )
    command.add_argument("name", choices=("case", "request", "result"), help="the file format")
    command.add_argument("--out", type=Path, metavar="FILE", help="write it to this file (default: print it)")
    command.set_defaults(run=schema)


def explain(options: argparse.Namespace) -> int:
    """Print a factor's page, a symptom's, the list of either, or what to set in ComfyUI."""
    from parity.factors.catalogue import BEYOND_RECIPES, CATALOGUE, explain
    from parity.terminal.as_json import json_text
    from parity.terminal.text import table

    if options.comfyui is not None:
        return explain_comfyui(options)
    if stray := [name for name in ("output", "write") if getattr(options, name) is not None]:
        raise UsageError(f"--{stray[0]} goes with --comfyui CASE")
    if options.symptom is not None:
        return _symptom(" ".join(options.symptom), options)
    notes = {name: entry.note for name, entry in CATALOGUE.items()} | dict(BEYOND_RECIPES)
    if options.factor is not None:
        page = explain(options.factor)
        rows = [{"name": options.factor, "note": notes[options.factor], "page": page}]
        print(json_text(factors=rows) if options.json else page.rstrip("\n"))
        return 0
    rows = [{"name": name, "note": note} for name, note in notes.items()]
    print(json_text(factors=rows) if options.json else table([*notes.items()], indent=""))
    return 0


def _symptom(words: str, options: argparse.Namespace) -> int:
    """Print the page that fits best and name the others; without words list all."""
    from parity.factors.troubleshooting import find_symptoms
    from parity.terminal.as_json import json_text
    from parity.terminal.text import table

    if options.factor is not None:
        raise UsageError("give a factor or --symptom, not both")
    found = find_symptoms(words)
    if options.json:
        rows = [
            {"name": page.name, "title": page.title, "commands": list(page.commands), "page": page.text}
            for page in found
        ]
        print(json_text(symptoms=rows))
    elif not words:
        print(table([(page.name, page.title) for page in found], indent=""))
    else:
        print(found[0].text.rstrip("\n"))
        if others := [f"  parity explain --symptom {page.name}" for page in found[1:]]:
            print("\nsee also:", *others, sep="\n")
    return 0


def models(options: argparse.Namespace) -> int:
    """Print the list of models, or one model's page."""
    from parity.terminal.as_json import json_text
    from pipelines.catalog import MODELS, find_model

    if options.model is not None:
        from parity.factors.model_page import page

        model = find_model(options.model)
        row = {"id": model.id, "title": model.title, "facts": model.quick_facts(), "page": page(model)}
        print(json_text(models=[row]) if options.json else page(model).rstrip("\n"))
        return 0
    if options.json:
        rows = [{"id": model.id, "title": model.title, "facts": model.quick_facts()} for model in MODELS.values()]
        print(json_text(models=rows))
        return 0
    for model in MODELS.values():
        print(f"{model.id}  {model.title}")
        for name, value in model.quick_facts().items():
            print(f"  {name:22}{value}")
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a file format, or write it to a file."""
    from parity.case.schema import schema_text

    text = schema_text(options.name)
    if options.out is None:
        print(text, end="")
        return 0
    try:
        write_atomically(options.out, text.encode())
    except OSError as error:
        raise UsageError(cannot_write(options.out, error)) from None
    print(options.out)
    return 0
