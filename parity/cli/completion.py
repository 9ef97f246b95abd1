"""`parity completion`: a script with which a shell completes commands, options, files and names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.cli.parser import Parser
from pipelines.files.shown import raw

SHELLS = ("bash", "zsh", "tcsh", "fish")

_EPILOG = """\
examples:
  parity completion bash
  parity completion zsh

where it goes:
  bash   eval "$(parity completion bash)"
         in ~/.bashrc
  zsh    parity completion zsh >~/.zfunc/_parity
         with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  tcsh   parity completion tcsh >~/.parity.tcsh
         with `source ~/.parity.tcsh` in ~/.tcshrc
  fish   parity completion fish >~/.config/fish/completions/parity.fish
"""


def add(parsers: Any, whole: Callable[[], Parser]) -> None:
    """Add `parity completion`. `whole` makes the parser that the script is for."""
    command = parsers.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Prints a script with which a shell completes commands, options, files, factors and models. "
        "Nothing of this tool runs while you type.",
        epilog=_EPILOG,
    )
    command.add_argument("shell", choices=SHELLS, metavar="SHELL", help="%(choices)s")
    command.set_defaults(run=lambda options: _print(whole(), options.shell))


def _print(parser: Parser, shell: str) -> int:
    import shtab

    words = _words(parser)
    for action in _arguments(parser):
        name = str(action.metavar or action.dest.upper())
        if name in words:
            action.choices = words[name]
        elif "DIR" in name:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell), file=raw(sys.stdout))
    return 0


def _words(parser: Parser) -> Mapping[str, Sequence[str]]:
    """What an argument can be, by the name that help shows for it. For completion alone: errors are the commands'."""
    from parity.factors.catalogue import PAGES
    from pipelines.catalog import MODELS

    return {
        "FACTOR": tuple(PAGES),
        "FACTORS": tuple(PAGES),
        "ID": tuple(MODELS),
        "COMMAND": tuple(parser.commands),
        "DEVICE": ("auto", "cpu", "cuda"),
    }


def _arguments(parser: Parser) -> Iterator[argparse.Action]:
    """The options and arguments of all commands, without the commands themselves."""
    for command in parser.family():
        yield from (action for action in command._actions if not isinstance(action, argparse._SubParsersAction))
