"""The argument parser: argparse, with help that fits the terminal and errors that say what was meant."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from pipelines.files.shown import message as of_values
from pipelines.files.words import near, shorten

EXIT_CODES = """\
exit codes:
  0  every case as expected
  1  a case drifted unexpectedly, or a gate failed
  2  bad usage or a bad case file; nothing was run
  3  a case could not be run
"""
_WIDEST = 100
"""Columns of help on a wide terminal; longer lines are hard to read."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the paragraphs of descriptions and epilogs at the terminal's width; indented lines stay as they are."""

    def __init__(self, prog: str, **settings: Any) -> None:
        width = min(_WIDEST, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, **{"width": width, "max_help_position": 28} | settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(_wrapped(text, width, indent))


def _wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    """The lines of a text: runs of unindented ones as one paragraph, all others as they are."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line and not line.startswith(" "):
            paragraph.append(line)
            continue
        if paragraph:
            yield textwrap.fill(
                " ".join(paragraph),
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            paragraph = []
        yield indent + line if line else ""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose help fits the terminal and whose errors suggest the command or option that was meant."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter} | settings)
        self.set_defaults(parser=self)

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of the subcommands, by name."""
        found = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return {name: parser for action in found for name, parser in action.choices.items()}

    def family(self) -> Iterator[Parser]:
        """Yield the parser itself and those of all commands and actions below it."""
        yield self
        for below in self.commands.values():
            yield from below.family()

    @property
    def examples(self) -> list[str]:
        """The command lines below `examples:` in the epilog; one that continues on the next line is joined."""
        _, _, rest = (self.epilog or "").partition("examples:\n")
        block = re.match(r"(?:  .*\n?)*", rest)
        joined = re.sub(r"\\\n\s*", "", block[0] if block else "")
        return [line.strip() for line in joined.splitlines()]

    def named(self, words: Sequence[str]) -> Parser:
        """The parser of a subcommand, e.g. of `baseline accept`. Exits with code 2 for one that does not exist."""
        if not words:
            return self
        if words[0] not in self.commands:
            self._unknown_command(words[0])
        return self.commands[words[0]].named(words[1:])

    def called(self, words: Sequence[str]) -> Parser:
        """The parser of the command that a command line begins with; the parser itself if it begins with none."""
        below = self.commands.get(words[0]) if words else None
        return self if below is None else below.called(words[1:])

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse a whole command line. Exits with code 2 and one message if it holds something unknown."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            parser: Parser = options.parser  # of the subcommand
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{parser._meant(unknown[0])}")
        return options

    def error(self, message: str) -> NoReturn:
        message = of_values(message)  # an argument may be a megabyte
        found = re.search(r"argument (?:COMMAND|ACTION): invalid choice: '([^']*)'", message)
        if found:
            self._unknown_command(found[1])
        if "arguments are required" in message:
            message += self._more()
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            message += near(wrong[1], re.findall(r"[\w.-]+", wrong[2]))
        super().error(message)

    def _unknown_command(self, word: str) -> NoReturn:
        word = shorten(word, 100)
        if not self.commands:
            super().error(f"{self.prog} has no subcommands, so {word!r} names none; `{self.prog} --help` shows its use")
        super().error(f"unknown command {word!r}{self._meant(word)}; `{self.prog} --help` lists all")

    def _more(self) -> str:
        """Where to go on: an example, or all actions of a command that has them."""
        if self.commands:
            return f": one of {', '.join(self.commands)}"
        return f"\nfor example: {self.examples[0]}" if self.examples else ""

    def _meant(self, word: str) -> str:
        """`; did you mean X?`, or an empty string if no known name is similar."""
        known = self._option_string_actions if word.startswith("-") else self.commands
        return near(word.partition("=")[0], list(known))
