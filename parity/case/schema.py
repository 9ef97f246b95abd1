"""The JSON Schemas of case files, requests and results.json, which editors read: each key with what it means."""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from parity.case.keys import CaseKeys
from parity.results import case as results
from parity.results import comfyui, diagnosis, shard, smoke, speed
from pipelines import ran
from pipelines.reference.request import Request

Format = Literal["case", "request", "result"]
FORMATS: tuple[Format, ...] = get_args(Format)

_TYPES: dict[Format, type] = {"case": CaseKeys, "request": Request, "result": results.Run}
_VERSIONS: dict[Format, int] = {"case": 1, "request": 1, "result": results.SCHEMA_VERSION}
"""A version goes up when a key is removed or changes its meaning, not when one is added."""

CASE_FILE_NAME = f"parity-case-{_VERSIONS['case']}.schema.json"
"""The file that `parity import` writes beside cases."""


def name_of(kind: Format) -> str:
    """The `$id` of a schema, e.g. `urn:wan-parity:case:1`."""
    return f"urn:wan-parity:{kind}:{_VERSIONS[kind]}"


def schema(kind: Format) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a file format."""
    body = TypeAdapter(_TYPES[kind]).json_schema(schema_generator=_WithoutTitles)
    if kind == "result":
        for module in (results, diagnosis, comfyui, shard, speed, smoke, ran):
            _describe(body, _docstrings(module))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name_of(kind)} | body


def schema_text(kind: Format) -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def is_case_schema(text: str) -> bool:
    """Return True for a case schema of any version that this tool wrote."""
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and str(data.get("$id")).startswith("urn:wan-parity:case:")


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of keys: editors would show them beside the keys."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def _describe(body: dict[str, Any], described: dict[tuple[str, str], str]) -> None:
    """Add the descriptions of dataclass fields, which pydantic knows nothing of."""
    for name, part in {results.Run.__name__: body, **body["$defs"]}.items():
        for key, value in part["properties"].items():
            if (name, key) in described:
                value.setdefault("description", described[name, key])


@cache
def _docstrings(module: ModuleType) -> dict[tuple[str, str], str]:
    """The text below each field of a module's classes, by class and field."""
    found = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, after in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[node.name, field.target.id] = " ".join(text.split())
    return found
