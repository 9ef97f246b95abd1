"""Fake commands that let one string through, each in its own way, and the problems that must be found.

`python -m tests.hostile.fakes` prints it as JSON. That is a process of its own, since a test session should not fork.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from tests.hostile.puts import nothing
from tests.hostile.records import GITHUB
from tests.hostile.session import Feed, Slot, judged
from tests.hostile.strings import Hostile

Fake = Callable[[str], int]
"""Takes the string; prints and writes; returns the exit code."""


def page(text: str, attributes: str = "") -> None:
    Path("report.html").write_text(f"<!doctype html><html><p {attributes}>{text}</p></html>", encoding="utf-8")


def well_behaved(text: str) -> int:
    print(f"::error title=wan-parity::{text.encode('unicode_escape').decode()}")
    page(escape(text))
    Path("summary.md").write_text("## x\n", encoding="utf-8")
    print("parity: no such case", file=sys.stderr)
    return 2


def prints_it(text: str) -> int:
    print(text)
    return 0


def prints_it_to_stderr(text: str) -> int:
    print("parity:", text, file=sys.stderr)
    return 2


def prints_it_within_a_line(text: str) -> int:
    print(f"case {text}: passed")
    return 0


def begins_a_line_with_it(text: str) -> int:
    print(f"  {text}")
    return 0


def annotates_twice(text: str) -> int:
    print(f"::error title=wan-parity::x\n::error title=wan-parity::{text}")
    return 0


def prints_bytes(text: str) -> int:
    sys.stdout.buffer.write(b"\xff\xfe" + text.encode("utf-8", "replace"))
    return 0


def prints_half_a_character(_: str) -> int:
    print("\udcff")
    return 0


def prints_much(text: str) -> int:
    print(text * 20_000)
    return 0


def raises(_: str) -> int:
    raise RuntimeError("our own mistake")


def says_it_is_a_bug(_: str) -> int:
    print("parity: ValueError: x; not foreseen: the traceback is in /tmp/x", file=sys.stderr)
    return 3


def silent(_: str) -> int:
    return 3


def another_code(_: str) -> int:
    return 70


def page_with_it(text: str) -> int:
    page(text)
    return 0


def page_with_it_in_an_attribute(text: str) -> int:
    page("x", f'title="{text}"')
    return 0


def page_with_it_as_a_link(text: str) -> int:
    page(f'<a href="{escape(text)}">x</a>')
    return 0


def page_with_it_in_a_script(text: str) -> int:
    page(f"<script type=application/json id=a>{json.dumps(text)}</script>")
    return 0


def summary_with_it(text: str) -> int:
    Path("summary.md").write_text(f"## {text}\n", encoding="utf-8")
    return 0


def xml_with_it(text: str) -> int:
    Path("junit.xml").write_text(f"<a>{text}</a>", encoding="utf-8")
    return 0


def json_with_it(text: str) -> int:
    Path("results.json").write_text(f'{{"id": "{text}"}}', encoding="utf-8")
    return 0


def file_with_its_name(text: str) -> int:
    Path(text.replace("/", "-")).touch()
    return 0


def runs_it(text: str) -> int:
    import subprocess

    subprocess.run(text, shell=True, check=False)
    return 0


COMMAND, ESCAPE, MARKUP = "no\n::error::owned", "a\x1b[31mb", '"><img src=x onerror=alert(1)>'

FAKES: tuple[tuple[Fake, str], ...] = (
    (well_behaved, COMMAND),
    (prints_it, COMMAND),
    (prints_it_to_stderr, ESCAPE),
    (prints_it_within_a_line, "##[error]owned"),
    (begins_a_line_with_it, "::stop-commands::x"),
    (annotates_twice, "<owned>"),
    (prints_bytes, "x"),
    (prints_half_a_character, "x"),
    (prints_much, "x"),
    (raises, "x"),
    (says_it_is_a_bug, "x"),
    (silent, "x"),
    (another_code, "x"),
    (page_with_it, "<b>owned</b>"),
    (page_with_it_in_an_attribute, MARKUP),
    (page_with_it_as_a_link, "java\tscript:alert(1)"),
    (page_with_it_in_a_script, "</script><i>"),
    (summary_with_it, "<details open>"),
    (xml_with_it, "<b"),
    (json_with_it, '"'),
    (file_with_its_name, ESCAPE),
    (runs_it, "touch owned"),
)


def found(fake: Fake, text: str) -> list[str]:
    """List the problems with what a fake command printed and wrote; its harmless run is a well-behaved one's."""

    def command(arguments: Sequence[str]) -> int:
        return fake(arguments[0]) if arguments[0] == text else well_behaved(arguments[0])

    slot = Slot(
        kind="fake", where=fake.__name__, command=lambda texts: texts, put=nothing, twin=True, environment=GITHUB
    )
    with tempfile.TemporaryDirectory() as temporary:
        whole, scratch = Path(temporary) / "whole", Path(temporary) / "scratch"
        whole.mkdir()
        scratch.mkdir()
        feeds = [Feed(slot=slot, strings=(Hostile("fake", text),))]
        return [problem for verdict in judged(feeds, whole, scratch, command) for problem in verdict.problems]


if __name__ == "__main__":
    print(json.dumps({fake.__name__: found(fake, text) for fake, text in FAKES}, indent=1))
