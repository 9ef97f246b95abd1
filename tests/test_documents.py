"""The documents hold together: links lead somewhere, blocks are blocks, the changelog knows the version."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.paths import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "cases/README.md")),
    ROOT / "cases" / "training" / "README.md",
    ROOT / "tests" / "data" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PARSER = MarkdownIt("commonmark").enable("table")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def inline(path: Path) -> list[Token]:
    return [token for token in PARSER.parse(path.read_text()) if token.type == "inline"]


def links(path: Path) -> list[str]:
    """List the targets inside the repository of a document's links and pictures."""
    found = [
        str(child.attrs["href" if child.type == "link_open" else "src"])
        for token in inline(path)
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """List the anchors that GitHub gives to the headings of a document."""
    tokens = PARSER.parse(path.read_text())
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """Links of a document that lead to no file, or to no heading of it."""
    lost = []
    for link in links(path):
        name, _, anchor = unquote(link).partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two?\n\n[a](#one-two) [b](#one) [c](none.md) [d](page.md#one-two) ![e](e.png) <https://x.org>\n"
    )
    assert broken(page) == ["#one", "none.md", "e.png"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_no_command_is_set_as_prose(path: Path) -> None:
    assert [token.content for token in inline(path) if re.match(r"\$ ", token.content)] == []


def test_the_changelog_has_a_section_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    sections = re.findall(r"^## (\d\S*)(?: .*)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == version
