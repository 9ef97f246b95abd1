"""One line on stderr that is written over, where stderr is a terminal."""

from __future__ import annotations

import shutil
import sys

from pipelines.files.shown import raw, shown


class LiveLine:
    """Shows a line, or none. `live`: whether stderr is a terminal; elsewhere nothing is written."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._shown = False

    def show(self, text: str) -> None:
        """Write this line over the last one; what is wider than the terminal is cut."""
        if self.live:
            self.clear()
            self._write(shown(text, max(1, shutil.get_terminal_size().columns - 1)))
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    @staticmethod
    def _write(text: str) -> None:
        stream = raw(sys.stderr)
        stream.write(text)
        stream.flush()
