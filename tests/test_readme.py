"""The README is short, and its tutorial works: run in order in an empty folder, its commands print what it quotes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.transcript import Quoted, Terminal, difference, quoted

README = ROOT / "README.md"
LONGEST = 150


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST


@pytest.mark.draws
@pytest.mark.skipif(sys.platform == "win32", reason="one of its commands is sed")
def test_the_tutorial_prints_what_the_readme_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is on, as users have it: an unchanged case is not generated again."""
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path / "cache"))
    terminal = Terminal(tmp_path)
    commands = quoted(README.read_text())
    assert len(commands) > 5
    demo: list[str] = []
    for command in commands:
        code, printed = terminal.run(command)
        whole = "\n".join(line for _, line in printed)
        assert code == command.code, f"$ {command.command}\n{whole}"
        problem = difference(command.lines, printed)
        assert problem is None, f"$ {command.command}\n{problem}\n\nwhole output:\n{whole}"
        if command.words[:2] == ["parity", "demo"]:
            demo = [line.strip() for _, line in printed]
    printed_first = [line for line in demo if line.startswith(("cd ", "parity "))]
    typed = [" ".join(command.words) for command in commands]
    assert typed[1 : 1 + len(printed_first)] == printed_first, "`parity demo` prints another tutorial"


def command(text: str) -> Quoted:
    (found,) = quoted(text)
    return found


def test_commands_and_their_output_are_read() -> None:
    page = (
        "Text:\n\n    $ parity run x   # red, exit code 1\n    a line\n\n    after a blank\n\ntext\n\n    no command\n"
    )
    found = command(page)
    assert found.words == ["parity", "run", "x"]
    assert found.code == 1
    assert found.lines == ("a line", "", "after a blank")


@pytest.mark.parametrize(
    ("quote", "problem"),
    [
        (("one", "two took 3 s", "three"), None),
        (("one", "two took 1 min 20 s", "three"), None),
        (("one", "…"), None),
        (("…", "three"), None),
        (("o…", "two …", "three"), None),
        ((), None),
        (("one", "three"), "printed and not quoted: 'two   took"),
        (("one",), "printed and not quoted at the end"),
        (("one", "…", "four"), "quoted and not printed: 'four'"),
        (("One", "…"), "printed and not quoted: 'one'"),
    ],
)
def test_what_is_quoted_must_be_printed(quote: tuple[str, ...], problem: str | None) -> None:
    found = difference(
        quote, [("out", "one"), ("err", "still working"), ("out", "two   took 12.5 s"), ("out", "three")]
    )
    assert (found is None) if problem is None else (found or "").startswith(problem)
