"""`python -m parity`: the same as `parity`."""

from parity.cli.main import command

command()
