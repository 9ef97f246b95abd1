"""The help of every command: it fits into 80 columns, explains every option, and its examples are command lines."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from parity.cli.main import main, whole_parser
from parity.cli.parser import Parser

PARSERS = list(whole_parser().family())
COMMANDS = [parser for parser in PARSERS if not parser.commands]


def name(parser: Parser) -> str:
    return parser.prog


def too_long(parser: Parser) -> list[str]:
    return [line for line in parser.format_help().splitlines() if len(line) > 80]


def unexplained(parser: Parser) -> list[str]:
    """The options and arguments without a help text."""
    return [action.dest for action in parser._actions if not action.help and action.dest != argparse.SUPPRESS]


def words_of(example: str) -> list[str]:
    """The arguments of `parity` in an example, without variables set before it."""
    return shlex.split(re.sub(r"^(?:\w+=\S+ )*parity ", "", example))


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("parser", PARSERS, ids=name)
def test_help_fits_into_80_columns(parser: Parser) -> None:
    assert too_long(parser) == []


@pytest.mark.parametrize("parser", PARSERS, ids=name)
def test_every_option_is_explained(parser: Parser) -> None:
    assert unexplained(parser) == []


@pytest.mark.parametrize("parser", COMMANDS, ids=name)
def test_every_command_has_examples_that_parse(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.is_dir", lambda _: True)  # --target-lora-root asks for a folder that is there
    assert parser.description
    assert parser.examples
    for example in parser.examples:
        assert example.partition("parity ")[2], f"no command line: {example}"
        assert whole_parser().parse(words_of(example)).parser.prog.startswith("parity")
    assert any(f"{parser.prog} ".removeprefix("parity ") in f"{example} " for example in parser.examples)


def test_what_breaks_these_rules_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="parity x", epilog=f"examples:\n  parity x {'y' * 80}\n  parity x \\\n      --z 1\n")
    parser.add_argument("--mute")
    assert len(too_long(parser)) == 1
    assert unexplained(parser) == ["mute"]
    assert parser.examples[1] == "parity x --z 1"
    with pytest.raises(SystemExit):
        whole_parser().parse(words_of("parity plan --jsn"))
    assert "did you mean --json?" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_paragraphs_are_wrapped_and_blocks_are_kept(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    description = f"{'words ' * 60}end.\n\nSecond paragraph."
    text = Parser(prog="x", description=description, epilog="codes:\n  0  good\n     very good\n").format_help()
    assert max(map(len, text.splitlines())) <= min(columns, 100)
    assert text.count("words") == 60
    assert "\n\nSecond paragraph.\n" in text
    assert "\ncodes:\n  0  good\n     very good\n" in text


def test_help_of_a_command_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "baseline", "accept"]) == 0
    named = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["baseline", "accept", "--help"])
    assert named == capsys.readouterr().out
    assert main(["help"]) == 0
    assert "first steps:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        (["impot", "x"], "usage: parity ", "unknown command 'impot'; did you mean import?"),
        (["baseline", "acept"], "usage: parity baseline ", "unknown command 'acept'; did you mean accept?"),
        (["cache", "lss"], "usage: parity cache ", "unknown command 'lss'; did you mean ls?"),
        (["cache"], "usage: parity cache ", "ACTION: one of ls, prune"),
        (["help", "baseline", "acept"], "usage: parity baseline ", "unknown command 'acept'; did you mean accept?"),
        (["help", "plan", "x"], "usage: parity plan ", "has no subcommands"),
        (["baseline", "accept", "--dry-rin"], "usage: parity baseline accept ", "did you mean --dry-run?"),
        (["run", "--offload", "modle"], "usage: parity run ", "; did you mean model?"),
        (["run", "--devise", "cpu"], "usage: parity run ", "did you mean --device?"),
        (["import"], "usage: parity import ", "for example: parity import ~/ai-toolkit/output/my_job"),
        (["report"], "usage: parity report ", "for example: parity report "),
    ],
)
def test_a_mistake_shows_its_commands_usage_and_what_was_meant(
    arguments: list[str], usage: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(usage)
    assert said in error
