"""Progress on stderr: live lines on a terminal, elsewhere a line now and then, and a line for every finished case."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parity.case.load import Case
from parity.results.case import CaseResult
from parity.results.words import duration
from parity.terminal import heartbeat
from parity.terminal.case_line import Style, case_line, reason
from parity.terminal.diagnosis import diagnosis_text, search_text
from parity.terminal.text import lines, repeat_text
from parity.terminal.tracker import Tracker
from pipelines.files.shown import guard, raw, shown, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_REFRESH_PER_S = 2
_NARROW = 60
"""Columns below which the bar gives way to its number."""
_BAR = 24
_PART = 1000
"""The most characters of one part of a case's line."""


class _Stderr(Console):
    """Stderr. That nobody reads it any more is an error like any other: rich would end the process, and stdout."""

    def __init__(self) -> None:
        super().__init__(file=raw(sys.stderr), stderr=True, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Shown(Tracker):
    """Shows a run on stderr. Use it as a context manager: nothing is written to the terminal after it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._before = self._waits_for = ""
        self._console = _Stderr()
        live = sys.stderr.isatty() and self._console.is_interactive and not self._console.is_dumb_terminal
        self._live: Live | None = None
        if live:
            self._live = Live(
                console=self._console,
                get_renderable=self._lines,
                refresh_per_second=_REFRESH_PER_S,
                transient=True,
                redirect_stdout=False,
            )
        self._heartbeat = heartbeat.Heartbeat(self.line, self._print, None if live else heartbeat.EVERY_S)
        self._running = ExitStack()

    def __enter__(self) -> Shown:
        if self._live is not None:
            self._running.enter_context(self._live)
            sys.stderr = guard(sys.stderr)  # Live's own stream meanwhile, which would show colours of anybody's
            self._console.show_cursor(True)  # it would stay hidden if the process were killed
        self._running.enter_context(self._heartbeat)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def line(self) -> str | None:
        """As Tracker's; between cases, what is done there."""
        return super().line() or self._before or None

    def pause(self) -> None:
        """Show nothing more but what is printed: the user has asked to stop."""
        self._running.close()
        self._live = None

    def between(self, words: str) -> None:
        """Say what is done while no case is under work; in a log only before the first."""
        self._before = words
        if self._live is None and not self.number:
            self._print(f"{words} …")

    def status(self, words: str) -> None:
        """What is done now, where several workers run cases: shown live, in a log now and then."""
        self._before = words

    def say(self, line: str, *, live: bool = True) -> None:
        """Print a line; `live` False: only into a log."""
        if live or self._live is None:
            self._print(line)

    def case_started(self, case: Case) -> None:
        super().case_started(case)
        self._before = self._waits_for = ""

    def case_kept(self, result: CaseResult) -> None:
        super().case_kept(result)
        self._finished(result, kept=True)

    def planned(self, plan: str, generations: float | None = None) -> None:
        super().planned(plan, generations)
        left = self.left()
        about = f", about {duration(left)}" if left is not None else ""
        self._print(f"{self.head}: plan: {plan}{about}")

    def waiting(self, why: str) -> None:
        super().waiting(why)
        if why != self._waits_for and self._live is None:
            self._print(f"{self.head} {why}")
        self._waits_for = why

    def trial_started(self, label: str, steps: int) -> None:
        super().trial_started(label, steps)
        self._waits_for = ""
        if self.case is not None and label != self.case.id and self._live is None:
            self._print(f"{self.head} {label}")

    def case_finished(self, result: CaseResult) -> None:
        super().case_finished(result)  # first: a case whose line is read counts as done, wherever Ctrl-C comes
        self._finished(result)

    def _finished(self, result: CaseResult, *, kept: bool = False) -> None:
        self._print(*case_line(result, kept=kept))
        blocks = [lines(*(f"    {line}" for line in reason(result)))] if reason(result) else []
        if result.repeat is not None:
            blocks.append(repeat_text(result.repeat))
        if not kept and result.search is not None:  # a server's settings come before the diagnosis that builds on them
            blocks.append(search_text(result.search))
        if not kept and result.diagnosis is not None:
            blocks.append(diagnosis_text(result.diagnosis))
        for block in blocks:
            self._print(block)

    def _print(self, *parts: str | tuple[str, Style]) -> None:
        """Print a line of its own, above the live ones; parts with a style stand two spaces apart in one line."""
        text = Text("  ").join(
            Text(visible(part)) if isinstance(part, str) else Text(shown(part[0], _PART), part[1]) for part in parts
        )
        self._console.print(text, markup=False)
        self._heartbeat.spoken()

    def _lines(self) -> RenderableType:
        """The live lines: the case under work, and the whole run."""
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(no_wrap=True, width=_BAR if self._console.width >= _NARROW else 0)
        grid.add_column(no_wrap=True, justify="right")
        for row in self._rows():
            grid.add_row(*row)
        return grid

    def _rows(self) -> Iterator[tuple[RenderableType, RenderableType, RenderableType]]:
        run = self.run_line()
        if self.case is None:
            yield Text(shown(self._before or run or "")), "", ""
            return
        fraction, left = self.fraction(), self.left()
        bar = ProgressBar(
            total=1.0, completed=fraction or 0.0, width=_BAR, pulse=fraction is None, complete_style="cyan"
        )
        numbers = [f"{fraction:4.0%}"] if fraction is not None else []
        numbers += [
            duration(self.elapsed),
            *([f"about {duration(left)} left"] if left is not None and left >= 1 else []),
        ]
        wide = self._console.width >= _NARROW
        yield Text(shown(f"{self.case.id}: {self.words or 'starting'}")), bar if wide else "", Text(", ".join(numbers))
        if run is not None:
            yield Text(shown(run), style="dim"), "", ""
