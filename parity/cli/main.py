"""The `parity` command: the parser, and what all subcommands share: exit codes, Ctrl-C, one-line errors."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from parity.cli import (
    about,
    baseline,
    cache,
    compare,
    completion,
    demo,
    doctor,
    expect,
    fetch,
    import_job,
    plan,
    project,
    report,
    run,
    selftest,
    serve,
    settings,
    shards,
)
from parity.cli.installed import not_installed
from parity.cli.parser import EXIT_CODES, Parser
from parity.run import interrupt
from pipelines import cpu_kernels
from pipelines.errors import ParityError, UnexpectedError, UsageError
from pipelines.files.shown import guard_streams, guarded, shown
from pipelines.leaving import leave, leave_quickly

_FIRST_STEPS = """\
first steps:
  parity run                     run the embedded demo, a minute without a GPU
  parity demo try                unpack a finished job, to try the rest on
  parity import output/my_job    write a case for every preview of a job
  parity plan cases/             show what differs; runs no model
  parity run cases/              generate, compare, report
  parity explain scheduler       explain a difference, and what to change

`parity help COMMAND` shows a command's options, with examples.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line. Returns the exit code; a user's mistake is one message on stderr, never a traceback."""
    parser = whole_parser()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given:
        parser.print_help()
        return 0
    with guarded():
        return _run(parser, given)


def _run(parser: Parser, given: Sequence[str]) -> int:
    try:
        _set_defaults(parser.called(given), given)
        options = parser.parse(given)
        interrupt.listen()
        leave_quickly()
        cpu_kernels.choose(getattr(options, "cpu_kernels", None))
        code: int = options.run(options)
        return code
    except UnexpectedError as error:
        return _unexpected(error)
    except ParityError as error:
        print(f"parity: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        if not isinstance(stop, interrupt.StoppedError):
            print("parity: stopped", file=sys.stderr)
        return interrupt.exit_code()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return _unexpected(error)
        print(f"parity: the name is too long for this file system: {shown(error.filename, 200)}", file=sys.stderr)
        return UsageError.exit_code
    except Exception as error:
        return _unexpected(error)


def command() -> NoReturn:
    """The program `parity`: `main`, and the end of the process."""
    guard_streams()
    leave(main())


def _set_defaults(command: Parser, given: Sequence[str]) -> None:
    """Take a command's defaults from pyproject.toml. Help is shown whatever is in there."""
    if not {"-h", "--help"} & set(given):
        command.set_defaults(**project.defaults(command.prog.removeprefix("parity ")))


def _unexpected(error: Exception) -> int:
    """Say in one line which package is missing, or what nobody foresaw; then the traceback goes to a file."""
    from parity.run.unexpected import outside_a_run, unexpected

    said = not_installed(error) or unexpected(error, outside_a_run())
    print(f"parity: {said}", file=sys.stderr)
    return said.exit_code


def whole_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="parity",
        description="Does your Wan inference generate what ai-toolkit's preview showed? If not, why?",
        epilog=_FIRST_STEPS + EXIT_CODES,
    )
    parser.add_argument(
        "-V", "--version", action=about.Version, help="print the versions of wan-parity and torch, and exit"
    )
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (
        demo,
        import_job,
        plan,
        run,
        shards,
        compare,
        expect,
        report,
        baseline,
        serve,
        about,
        selftest,
        cache,
        fetch,
        doctor,
        settings,
    ):
        command.add(parsers)
    completion.add(parsers, whole_parser)
    _add_help(parsers, parser)
    return parser


def _add_help(parsers: Any, whole: Parser) -> None:
    command = parsers.add_parser(
        "help",
        help="show the help of a command",
        description="Shows the help of a command, or of one of its actions; the same as COMMAND --help.",
        epilog="examples:\n  parity help run\n  parity help baseline accept\n",
    )
    command.add_argument("command", nargs="*", metavar="COMMAND", help="default: the list of all commands")

    def show(options: argparse.Namespace) -> int:
        whole.named(options.command).print_help()
        return 0

    command.set_defaults(run=show)
