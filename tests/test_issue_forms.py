"""The forms for GitHub issues: as GitHub requires them, asking for what answers a report, their commands known."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from parity.cli.main import whole_parser
from tests.support.paths import ROOT

FOLDER = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in FOLDER.glob("*.yml") if path.name != "config.yml")
NEEDED = {
    "markdown": {"value"},
    "textarea": {"label"},
    "input": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}
"""The attributes without which GitHub shows no form at all: "Syntax for GitHub's form schema" in its documentation."""
ALLOWED = {
    "markdown": NEEDED["markdown"],
    "textarea": {"label", "description", "placeholder", "value", "render"},
    "input": {"label", "description", "placeholder", "value"},
    "dropdown": {"label", "description", "multiple", "options", "default"},
    "checkboxes": {"label", "description", "options"},
}


def problems(form: Any) -> list[str]:
    """What GitHub would refuse in a form."""
    found = [f"{key} is missing" for key in ("name", "description", "body") if not form.get(key)]
    found += [
        f"{key} is unknown" for key in set(form) - {"name", "description", "body", "labels", "title", "assignees"}
    ]
    body = form.get("body") or []
    ids = [item.get("id") for item in body if "id" in item]
    found += [f"{name} is no id" for name in ids if not re.fullmatch(r"[\w-]+", name)]
    found += [f"{name} occurs twice" for name in set(ids) if ids.count(name) > 1]
    for item in body:
        kind, attributes = item.get("type"), item.get("attributes") or {}
        if kind not in NEEDED:
            found.append(f"{kind} is no type")
            continue
        found += [f"{kind} lacks {key}" for key in NEEDED[kind] - set(attributes)]
        found += [f"{kind} has no {key}" for key in set(attributes) - ALLOWED[kind]]
        keys = {"type", "attributes"} | ({"id", "validations"} if kind != "markdown" else set())
        found += [f"{kind} has no {key}" for key in set(item) - keys]
        found += [f"{kind}: {key} is no rule" for key in set(item.get("validations", {})) - {"required"}]
    if all(item.get("type") == "markdown" for item in body):
        found.append("nothing can be filled in")
    return found


def form(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return data


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_github_takes_the_form(path: Any) -> None:
    assert problems(form(path.name)) == []


def test_names_differ_and_the_chooser_is_configured() -> None:
    names = [form(path.name)["name"] for path in FORMS]
    assert len(set(names)) == len(names) == 2
    config = form("config.yml")
    assert set(config) <= {"blank_issues_enabled", "contact_links"}
    assert isinstance(config["blank_issues_enabled"], bool)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_it_asks_for_the_doctor_and_says_what_to_remove(path: Any) -> None:
    text = path.read_text()
    for word in ("parity doctor --json", "results.json", "**Remove** tokens", "private prompt"):
        assert word in text
    (doctor,) = [item for item in form(path.name)["body"] if item.get("id") == "doctor"]
    assert doctor["validations"] == {"required": True}
    assert doctor["attributes"]["render"] == "json"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_its_commands_are_commands(path: Any) -> None:
    lines = [line for text in texts(form(path.name)) for line in re.findall(r"`parity ([^`]*)`|\$ parity (.*)", text)]
    assert lines
    for quoted, shown in lines:
        whole_parser().parse(shlex.split(quoted or shown))


def test_what_github_refuses_is_found() -> None:
    broken = {
        "name": "x",
        "title": "",
        "colour": "red",
        "body": [
            {"type": "textarea", "id": "a", "attributes": {"description": "no label"}},
            {
                "type": "input",
                "id": "a",
                "attributes": {"label": "x", "render": "json"},
                "validations": {"needed": True},
            },
            {"type": "radio"},
        ],
    }
    assert sorted(problems(broken)) == sorted(
        [
            "description is missing",
            "colour is unknown",
            "a occurs twice",
            "textarea lacks label",
            "input has no render",
            "input: needed is no rule",
            "radio is no type",
        ]
    )
    assert "nothing can be filled in" in problems({"name": "x", "description": "y", "body": [{"type": "markdown"}]})
