"""The forms for GitHub issues: as GitHub requires them, asking for what answers a report, their commands known."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml

from parity.cli.main import whole_parser
from tests.support.paths import ROOT

FOLDER = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in FOLDER.glob("*.yml") if path.name != "config.yml")


def problems(path: Path, schema: str = "vendor.github-issue-forms") -> str:
    """What GitHub's schema, as SchemaStore has it, refuses in a file, and ids that occur twice; empty if nothing."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as done:
        check_jsonschema.main(["--builtin-schema", schema, "--output-format", "json", str(path)])
    body = yaml.safe_load(path.read_text()).get("body", [])
    ids = [item["id"] for item in body if "id" in item]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    return (said.getvalue() if done.value.code else "") + "".join(f"{name} occurs twice" for name in twice)


def form(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return data


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_github_takes_the_form(path: Path) -> None:
    assert problems(path) == ""


def test_names_differ_and_the_chooser_is_configured() -> None:
    names = [form(path.name)["name"] for path in FORMS]
    assert len(set(names)) == len(names) == 2
    assert problems(FOLDER / "config.yml", "vendor.github-issue-config") == ""


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_it_asks_for_the_doctor_and_says_what_to_remove(path: Path) -> None:
    text = path.read_text()
    for word in ("parity doctor --json", "results.json", "**Remove** tokens", "private prompt"):
        assert word in text
    (doctor,) = [item for item in form(path.name)["body"] if item.get("id") == "doctor"]
    assert doctor["validations"] == {"required": True}
    assert doctor["attributes"]["render"] == "json"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_its_commands_are_commands(path: Path) -> None:
    lines = [line for text in texts(form(path.name)) for line in re.findall(r"`parity ([^`]*)`|\$ parity (.*)", text)]
    assert lines
    for quoted, shown in lines:
        whole_parser().parse(shlex.split(quoted or shown))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: Something", "title: Something", "'name' is a required property"),
        ("type: checkboxes", "type: radio", "radio"),
        ("      label: results.json", "      title: results.json", "title"),
        ("id: results", "id: case", "case occurs twice"),
    ],
)
def test_what_github_refuses_is_found(old: str, new: str, says: str, tmp_path: Path) -> None:
    text = (FOLDER / "bug.yml").read_text()
    assert old in text
    (tmp_path / "bug.yml").write_text(text.replace(old, new))
    assert says in problems(tmp_path / "bug.yml")
