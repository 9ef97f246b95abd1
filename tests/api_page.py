"""The tables of docs/api.md, made from the server's own schemas.

    python -m tests.api_page

writes them into the page; `tests/parity/server/test_api_page.py` fails if they are not current.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from parity.server import schemas
from parity.server.api import create_app
from parity.server.errors import CODES
from parity.server.metrics import Metrics
from parity.server.queue import Queue
from parity.server.worker import Worker
from tests.support.paths import ROOT
from tests.support.serving import settings_of

PAGE = ROOT / "docs" / "api.md"
REQUEST = ("Body", "PromptItem", "LoraItem")
ANSWERS = (
    *("Accepted", "Status", "StepProgress", "Result", "Outputs", "Video", "Models", "ModelInfo", "Service", "Health"),
)
Schema = dict[str, Any]


def current(page: str) -> str:
    """The page with its tables made anew."""
    api = openapi()
    tables = {
        "routes": table(("route", "answer", "what it does"), routes(api)),
        "request": "\n\n".join(model(name, api, lambda kind: f"{kind} (optional)") for name in REQUEST),
        "answers": "\n\n".join(model(name, api, lambda kind: f"{kind} or null") for name in ANSWERS),
        "errors": table(("status", "code", "meaning"), errors()),
    }
    for name, text in tables.items():
        head, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->\n")
        page = f"{head}{begin}\n{text}\n\n{end}{tail}"
    return page


def openapi() -> Schema:
    """The OpenAPI document of a server, which is built and not started."""
    with tempfile.TemporaryDirectory() as folder:
        queue = Queue(Path(folder) / "queue.sqlite", 1)
        try:
            app = create_app(settings_of(Path(folder)), "", queue, cast(Worker, None), Metrics(queue))
            api = app.openapi()
        finally:
            queue.close()
    body, _ = schemas.request_schema()
    api["components"]["schemas"]["Body"] = body
    return api


def routes(api: Schema) -> Iterator[tuple[str, str, str]]:
    """One row a route."""
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            content = route["responses"]["200"]["content"]
            kinds = [answer_of(kind, body.get("schema", {})) for kind, body in content.items()]
            yield f"`{method.upper()} {path}`", " or ".join(kinds), route.get("description", "")


def answer_of(kind: str, schema: Schema) -> str:
    """What a route returns: the name of its schema, or the type of its file."""
    return type_of(schema) if "$ref" in schema else kind


def model(name: str, api: Schema, absent: Callable[[str], str]) -> str:
    """A heading and one row a field; `absent` words the type of a field that may be null, and be left out."""
    schema = api["components"]["schemas"][name]
    rows = []
    for key, field in schema["properties"].items():
        kind = type_of(field)
        nullable = {"type": "null"} in field.get("anyOf", ())
        rows.append((f"`{key}`", absent(kind) if nullable else kind, field.get("description", "")))
    return f"### {name}\n\n{schema.get('description', '')}\n\n{table(('key', 'type', ''), rows)}"


def type_of(schema: Schema) -> str:
    """A JSON Schema's type in words, with its limits."""
    if "anyOf" in schema:
        return " or ".join(type_of(kind) for kind in schema["anyOf"] if kind.get("type") != "null")
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        kind = f" of {type_of(schema['items'])}" if schema["items"] else ""
        return f"list{kind}{limits(schema.get('minItems'), schema.get('maxItems'))}"
    if "maxLength" in schema:
        return f"{schema['type']}{limits(schema.get('minLength'), schema['maxLength'])} characters"
    return f"{schema.get('type', 'anything')}{limits(schema.get('minimum'), schema.get('maximum'))}"


def limits(least: float | None, most: float | None) -> str:
    """`, 1 to 100`, `, at least 1` or nothing."""
    if least is not None and most is not None:
        return f", {least:g} to {most:g}"
    return (
        ""
        if least is None and most is None
        else f", at least {least:g}"
        if least is not None
        else f", at most {most:g}"
    )


def errors() -> Iterator[tuple[str, str, str]]:
    """One row a code."""
    for code, error in CODES.items():
        yield str(error.status), f"`{code}`", error.meaning


def table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    cells = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in row) + " |" for row in cells)


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
