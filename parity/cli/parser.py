"""The argument parser: argparse, with suggestions for mistyped commands and options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pipelines.files.words import near

EXIT_CODES = """\
exit codes:
  0  every case as expected
  1  a case drifted unexpectedly, or a gate failed
  2  bad usage or a bad case file; nothing was run
  3  a case could not be run
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that keeps the epilog's line breaks and suggests the command or option that was meant."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.set_defaults(parser=self)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse a whole command line. Exits with code 2 and one message if it holds something unknown."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            parser: Parser = options.parser  # of the subcommand
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{parser._meant(unknown[0])}")
        return options

    def error(self, message: str) -> NoReturn:
        found = re.search(r"argument (?:COMMAND|ACTION): invalid choice: '([^']*)'", message)
        if found:
            message = f"unknown command {found[1]!r}{self._meant(found[1])}; `{self.prog} --help` lists all"
        super().error(message)

    def _meant(self, word: str) -> str:
        """`; did you mean X?`, or an empty string if no known name is similar."""
        if word.startswith("-"):
            return near(word.partition("=")[0], list(self._option_string_actions))
        commands = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return near(word, [name for choices in commands for name in choices])
