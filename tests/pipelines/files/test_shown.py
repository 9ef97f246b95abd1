"""The way out for foreign text: what a reader, a terminal or a CI gets of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from pipelines.errors import CaseError
from pipelines.files.shown import guard, guard_streams, guarded, raw, shown, visible
from pipelines.files.words import reason_of, words_of

HOSTILE = "no\n::error file=README.md::owned\n\x1b[31m.safetensors"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def commands(text: str) -> list[str]:
    """The lines that a CI takes for a command, as its own parser would: GitHub's lines end at a carriage return too."""
    lines = re.split(r"\r\n|\r|\n", text)
    return [line for line in lines if line.lstrip().startswith("::") or re.search(r"##\w*\[", line)]


def guarded_text(*pieces: str) -> str:
    """What is left of these pieces, each written by itself."""
    below = io.StringIO(newline="")
    stream = guard(below)
    for piece in pieces:
        assert stream.write(piece) == len(piece)
    return below.getvalue()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plain, with\ttab and\nnewline", None),
        ("Großmutter, 可爱的猫, می\u200cخواهم, 👩\u200d🚀, é̀", None),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("late\rearly", r"late\x0dearly"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("\x9b2J\x7f\x85", r"\u009b2J\u007f\u0085"),
        ("gpj.\u202esrotsneter", r"gpj.\u202esrotsneter"),
        ("a\u2028::error::b", r"a\u2028::error::b"),
        ("name\udcff.safetensors", r"name\udcff.safetensors"),
        ("\U000e0041tag", r"\udb40\udc41tag"),
        ("::error::x", r":\u003aerror::x"),
        ("fine\n \t\u3000::add-mask::x", "fine\n \t\u3000:" + r"\u003aadd-mask::x"),
        ("\u200d:\u200d:error::x", "\u200d:\u200d" + r"\u003aerror::x"),
        (":::error::x", r":\u003a:error::x"),
        ("pipelines::engine, a :: b", None),
        ("so ##[error]x", r"so ##\u005berror]x"),
        ("###[group]##vso[task.complete]##teamcity[x]", r"###\u005bgroup]##vso\u005btask.complete]##teamcity\u005bx]"),
        ("## [x], #[x], ##", None),
    ],
)
def test_what_becomes_of_a_text(text: str, says: str | None) -> None:
    assert visible(text) == (text if says is None else says)
    assert guarded_text(text) == visible(text)
    assert guarded_text(*text) == visible(text) or "\r\n" in text, "one character at a time it is the same"
    assert commands(guarded_text(*text)) == []
    assert RAW.search(guarded_text(*text)) is None


@pytest.mark.parametrize(
    "pieces",
    [
        ("::", "error::x"),
        (":", ":error::x"),
        (" " * 300, "  ", ":", ":error::x"),
        ("\n", "\t", "::error::x"),
        ("first\n", "::error::x"),
        ("first ", "##", "[error]x"),
        ("x" * 300 + "#", "#v", "so", "[task.complete]"),
        ("first\r", "::error::x"),
    ],
)
def test_a_command_in_pieces_is_none(pieces: Sequence[str]) -> None:
    assert commands("".join(pieces)), "it would be one"
    assert commands(guarded_text(*pieces)) == []


def test_a_line_that_has_begun_stays_as_it_is() -> None:
    assert guarded_text("tests/test_x.py", "::", "test_y\n") == "tests/test_x.py::test_y\n"


def test_json_stays_json_with_the_same_values() -> None:
    value = {"::a": ["\x1b\x7f\x9b\u202e\u2028", HOSTILE, "##[error]##vso[x]", "\udcff", "\U000e0041", "::b", "\\::"]}
    for indent in (None, 1):
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        printed = guarded_text(text)
        assert json.loads(printed) == value
        assert commands(printed) == []
        assert RAW.search(printed) is None


def test_a_value_in_a_message_is_one_line_of_limited_length() -> None:
    assert shown(HOSTILE) == r"no\n::error file=README.md::owned\n\x1b[31m.safetensors"
    assert shown("a\tb\r\nc") == r"a\tb\r\nc"
    assert shown("::x") == r":\u003ax"
    assert shown("a" * 1000, 10) == "a" * 9 + "…"
    assert len(shown("\x1b" * 10**6)) == 2000
    assert shown(OSError(2, "no\x1b")) == r"[Errno 2] no\x1b"


def test_what_is_meant_to_act_passes_through_the_door() -> None:
    below = io.StringIO()
    stream = guard(below)
    stream.write("so far")
    raw(stream).write("\n\x1b[K")
    stream.write("::error::x")
    assert below.getvalue() == "so far\n\x1b[K:\\u003aerror::x"
    assert raw(below) is below


def test_print_warnings_and_lines_go_through_the_guard(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with guarded():
        with guarded():
            print(HOSTILE)
        print("::a", "b", sep="\n::", file=sys.stderr)
        sys.stderr.writelines(["\x1b", "\n::c\n"])
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    assert said.out == "no\n:\\u003aerror file=README.md::owned\n\\x1b[31m.safetensors\n"
    assert said.err == ":\\u003aa\n:\\u003ab\n\\x1b\n:\\u003ac\n"


def test_a_stream_that_is_not_utf_8_writes_what_it_can() -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = guard(below)
    stream.write('{"a": "… 👩 \udcff"}')
    stream.flush()
    said = below.buffer.getvalue().decode()
    assert json.loads(said) == {"a": "… 👩 \udcff"}


def test_everything_else_of_a_stream_is_as_before() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as there, os.fdopen(writing, "w", encoding="utf-8") as below:
        stream = guard(below)
        assert (stream.fileno(), stream.isatty(), stream.encoding, stream.closed) == (writing, False, "utf-8", False)
        assert stream.buffer is below.buffer
        assert guard(stream) is stream
        stream.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
        stream.write("a line\n")
        assert there.readline() == "a line\n"
        there.close()
        with pytest.raises(BrokenPipeError):
            stream.write("nobody reads\n")
        with contextlib.suppress(BrokenPipeError):
            below.close()


def test_a_process_without_streams_has_nothing_to_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    guard_streams()
    assert (sys.stdout, sys.stderr) == (None, None)


def test_a_line_of_an_error_is_its_own_or_indented() -> None:
    """A file's name cannot bring lines into a message that look like others, or act."""
    error = CaseError(f"cases/{HOSTILE}:3: no such file\n  name another one\n\n  or none", "cases/b.yaml: nor this")
    assert str(error).split("\n") == [
        r"cases/no\n::error file=README.md::owned\n\x1b[31m.safetensors:3: no such file",
        r"  name another one\n",
        "  or none",
        "cases/b.yaml: nor this",
    ]
    again: CaseError = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert len(str(CaseError("a" * 10**6))) == 4000


def test_what_a_library_says_is_one_sentence() -> None:
    assert words_of(ValueError("first\n\n  second\x1b[2J")) == r"ValueError: first second\x1b[2J"
    assert reason_of(OSError(2, "No such file", "a\nb")) == "No such file"
    assert words_of(KeyError()) == "KeyError"


@pytest.mark.process
def test_what_libraries_and_python_itself_write_is_guarded() -> None:
    """Warnings, logs and tracebacks, of threads and at the end of the process."""
    program = f"""
import atexit, logging, threading, warnings
from pipelines.files.shown import guard_streams
guard_streams()
text = {HOSTILE!r}
atexit.register(print, text)
warnings.warn(text)
logging.getLogger("library").error(text)
def fail():
    raise ValueError(text)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count(":\\u003aerror file=README.md::owned") == 4
    assert done.stdout.count(":\\u003aerror file=README.md::owned") == 1
    assert commands(done.stderr + done.stdout) == []
    assert RAW.search(done.stderr + done.stdout) is None


def test_a_value_is_printable_whatever_characters_it_has() -> None:
    for first in range(0, 0x110000, 256):
        text = shown("".join(map(chr, range(first, first + 256))), 10_000)
        assert text.isprintable(), hex(first)
