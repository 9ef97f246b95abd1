"""A video that was made elsewhere: what is known of it, and how it is called in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parity.results.case import FileResult, TargetResult
from pipelines.media.video import Video


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A video that a server generated, or that a case gives as a file."""

    encoded: bytes
    """The video as a file; of a folder of PNG frames the same as an APNG."""
    suffix: str
    """The suffix for the file's content, `.webp`."""
    sha256: str | None = None
    """The hash of a folder's frames; None: that of `encoded`."""
    video: Video
    seconds: Mapping[str, float]
    """Seconds by phase: asking a server, fetching or reading the file."""
    notes: tuple[str, ...] = ()
    seed: int | None = None
    """The seed that a server's answer names; None: it names none."""
    contradictions: tuple[str, ...] = ()
    """Contradictions between a server's answer and its file, one sentence each."""
    target: TargetResult | None = None
    """The server, and its answers; None for a file."""
    file: FileResult | None = None
    """The file as the case names it; None for a server's."""

    @property
    def of(self) -> Literal["server", "file"]:
        return "file" if self.file is not None else "server"

    @property
    def who(self) -> str:
        """Who differs from the preview, in a sentence."""
        return "the file" if self.file is not None else "the server"

    @property
    def its_video(self) -> str:
        """The video in a sentence."""
        return "the file" if self.file is not None else "the server's file"

    @property
    def its_settings(self) -> str:
        """The settings behind the video in a sentence."""
        return "the settings behind the file" if self.file is not None else "the server's settings"

    @property
    def its_recipe(self) -> str:
        """The recipe that is assumed before anything is generated, in a sentence."""
        if self.file is None:
            return "the server's expected recipe"
        return "the recipe of the file's graph" if self.file.graph is not None else "the recipe assumed of the file"
