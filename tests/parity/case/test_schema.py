"""The schemas that editors read: every key is described, and they accept and refuse what the tool does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from parity.case.load import DEMO, find_case_files
from parity.case.schema import FORMATS, Format, is_case_schema, schema, schema_text
from parity.cli.main import main
from tests.conftest import CaseFiles


def keys_of(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of a schema, with the object it belongs to."""
    for name, part in {"": body, **body.get("$defs", {})}.items():
        for key, value in part.get("properties", {}).items():
            yield f"{name}.{key}", value


def undescribed(body: dict[str, Any]) -> list[str]:
    return [name for name, value in keys_of(body) if not value.get("description")]


def mistakes(path: Path) -> list[str]:
    """What a validator that knows nothing of this tool finds in a case file."""
    validator = jsonschema_rs.validator_for(schema("case"))
    return [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_key_is_described(kind: Format) -> None:
    assert undescribed(schema(kind)) == []
    assert len(list(keys_of(schema(kind)))) > 20


def test_a_key_without_a_description_is_found() -> None:
    assert undescribed({"properties": {"a": {}}, "$defs": {"B": {"properties": {"c": {}}}}}) == [".a", "B.c"]


@pytest.mark.parametrize("kind", FORMATS)
def test_schemas_are_valid_and_versioned(kind: Format) -> None:
    body = schema(kind)
    jsonschema_rs.meta.validate(body)
    assert body["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert body["$id"] == f"urn:wan-parity:{kind}:1"


def test_examples_in_the_case_schema_are_valid() -> None:
    body = schema("case")
    for _, value in keys_of(body):
        for example in value.get("examples", []):
            validator = jsonschema_rs.validator_for(value | {"$defs": body["$defs"]})
            assert validator.is_valid(example), (example, value)


@pytest.mark.parametrize("path", find_case_files([]), ids=lambda path: path.relative_to(DEMO).as_posix())
def test_the_demo_is_valid(path: Path) -> None:
    assert mistakes(path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pipelin": "faithful"}, "pipelin"),
        ({"model": "wan21_14"}, "wan21_14"),
        ({"tolerance": {"psnr": "high"}}, "high"),
        ({"expect": ["schedular"]}, "schedular"),
        ({"pipeline": {"scheduler": {"family": "euler", "shift": 3.0}}}, "pipeline"),
        ({"tags": "t2v"}, "t2v"),
    ],
)
def test_the_schema_refuses_what_the_tool_refuses(
    change: dict[str, Any], said: str, cases: CaseFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cases.write()
    assert mistakes(path) == []
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    (mistake,) = mistakes(path)
    assert said in mistake or "valid under" in mistake
    assert main(["plan", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_the_schema_is_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "case.schema.json"
    assert main(["schema", "case", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert json.loads(out.read_text()) == schema("case")
    assert out.read_text() == schema_text("case")
    assert main(["schema", "case", "--out", str(out / "below")]) == 2
    assert f"{out / 'below'}: cannot be written" in capsys.readouterr().err


def test_only_our_own_schema_is_recognized() -> None:
    assert is_case_schema(schema_text("case"))
    assert is_case_schema('{"$id": "urn:wan-parity:case:9"}')
    assert not is_case_schema(schema_text("request"))
    for text in ("", "[]", '{"$id": 1}', "{}"):
        assert not is_case_schema(text)
