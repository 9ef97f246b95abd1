"""One request from sending to file: submit, wait, fetch. Equal requests of a run are sent once."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.case.load import Case
from parity.case.progress import Progress
from parity.case.target import Target
from parity.remote.answers import Result, Status, short
from parity.remote.answers import Video as VideoAnswer
from parity.remote.client import MAX_FILE, Client
from parity.results.case import TargetResult
from pipelines.errors import MediaError, TargetError
from pipelines.files.content import check_file
from pipelines.media.video import Video, read_video
from pipelines.recipe import frame_duration

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_MOST_FRAMES = 1000
"""That the API can be asked for."""

_KINDS = {
    b"RIFF": ".webp",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"\xff\xd8\xff": ".jpg",
    b"\x1a\x45\xdf\xa3": ".webm",
}
"""How files begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A case's video as a server drew it."""

    encoded: bytes
    suffix: str
    """By the content, `.webp`."""
    video: Video
    said: VideoAnswer
    target: TargetResult
    notes: tuple[str, ...]
    seconds: dict[str, float]
    """Of asking and of fetching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """A request that ended in a result."""

    case: str
    request_id: str
    attempts: int
    status: Status | None
    result: Result
    notes: tuple[str, ...]


class Exchange:
    """Everything a run asks of one target. Use `close` at the end."""

    def __init__(self, target: Target) -> None:
        """Raises UsageError for a token that cannot be sent."""
        self.target = target
        self._client = Client(target)
        self._done: dict[str, _Done] = {}
        self._failed: dict[str, str] = {}

    def close(self) -> None:
        self._client.close()

    def draw(self, case: Case, progress: Progress, *, anew: bool = False) -> Served:
        """Have a case drawn. Raises TargetError; whatever ends it early, the server is told to stop as well.

        `anew`: send the request although an equal one was sent in this run.
        """
        assert case.posted is not None
        clock = time.monotonic()
        deadline = clock + self.target.timeout
        self._client.heard = progress.waiting
        self._client.hide(case.token)
        body = case.posted.body()
        key = json.dumps(body, sort_keys=True)
        if key in self._failed:
            raise TargetError(self._failed[key])
        done = None if anew else self._done.get(key)
        if done is None:
            done = self._ask(case, body, key, deadline, progress)
            self._done.setdefault(key, done)
        asked_at = time.monotonic()
        videos = done.result.outputs.videos if done.result.outputs is not None else []
        if len(videos) <= case.posted.index:
            raise self._error(
                f"request {done.request_id} has {len(videos)} videos, none for prompt {case.posted.index}"
            )
        said = videos[case.posted.index]
        encoded, suffix, video, fetched = self._fetch(case, said, deadline)
        queue, draw = done.status.seconds() if done.status is not None else (None, None)
        profile = done.result.metadata.profile if done.result.metadata is not None else None
        target = TargetResult(
            url=self.target.url,
            arguments=self.target.arguments,
            request_id=done.request_id,
            shared_with=done.case if done.case != case.id else None,
            attempts=done.attempts,
            queue_seconds=queue,
            draw_seconds=draw,
            fetched=self._client.redacted(fetched),
            profile=self._client.redacted(short(profile, 60)) if profile is not None else None,
            reported=said.reported(),
        )
        return Served(
            encoded=encoded,
            suffix=suffix,
            video=video,
            said=said,
            target=target,
            notes=done.notes,
            seconds={"request": asked_at - clock, "fetch": time.monotonic() - asked_at},
        )

    def _ask(self, case: Case, body: dict[str, object], key: str, deadline: float, progress: Progress) -> _Done:
        """Until there is a result. A server that forgot the request is asked once more."""
        notes: list[str] = []
        for attempt in (1, 2):
            request_id = self._client.submit(body, deadline)
            status, result = self._wait_for(request_id, case, deadline, progress)
            if result is None:
                name = short(self._client.redacted(request_id), 60)
                notes.append(f"{self.target.url} forgot request {name} (was it restarted?); it was sent again")
                continue
            if result.status != "succeeded" or result.outputs is None:
                why = f": {short(result.error)}" if result.error else ""
                failure = self._error(f"request {request_id} {short(result.status, 40)}{why}")
                self._failed[key] = str(failure)
                raise failure
            return _Done(
                case=case.id,
                request_id=self._client.redacted(request_id),
                attempts=attempt,
                status=status,
                result=result,
                notes=tuple(notes),
            )
        raise self._error("forgot the request twice (REQUEST_NOT_FOUND): it does not stay up long enough to draw it")

    def _wait_for(
        self, request_id: str, case: Case, deadline: float, progress: Progress
    ) -> tuple[Status | None, Result | None]:
        """Poll until it is over. None for a request that the server does not know any more."""
        shown = _Shown(case, progress)
        self._client.heard = shown.wait
        try:
            for pause in _pauses():
                status = self._client.status(request_id, deadline)
                if status is None:
                    return None, None
                if status.is_over:
                    return status, self._client.result(request_id, deadline)
                shown.show(status)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._error(f"not done after {self.target.timeout:g} s (--target-timeout)")
                time.sleep(min(pause, left))
        except BaseException as error:
            canceled = self._client.cancel(request_id)
            if isinstance(error, TargetError):
                raise TargetError(
                    f"{error}; {'it was canceled there' if canceled else 'it may still be drawn'}"
                ) from None
            raise
        raise AssertionError("pauses never end")

    def _fetch(self, case: Case, said: VideoAnswer, deadline: float) -> tuple[bytes, str, Video, str]:
        """The file, how it begins, what it holds and where it came from."""
        with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
            file = Path(folder) / "output"
            fetched = self._bring(said, file, deadline)
            encoded = file.read_bytes()
            suffix = _suffix(encoded)
            if suffix is None:
                raise self._error(f"{fetched} is no video this tool reads ({len(encoded)} bytes)")
            named = file.rename(file.with_suffix(suffix))
            expected = case.inference
            count = said.num_frames if said.num_frames and said.num_frames <= _MOST_FRAMES else None
            try:
                video = read_video(named, frame_duration(expected.fps), count or expected.num_frames.applied)
            except MediaError as error:
                raise self._error(str(error).replace(str(named), fetched)) from None
        return encoded, suffix, video, fetched

    def _bring(self, said: VideoAnswer, into: Path, deadline: float) -> str:
        """By download, or else from a disk both machines see."""
        failure = self._error("the result names neither a `url` nor a `file_path` that can be read here")
        if said.url is not None:
            try:
                return self._client.download(said.url, into, deadline)
            except TargetError as error:
                failure = error
        for path in _local(said.file_path, self.target):
            try:
                check_file(path, MAX_FILE)
                into.write_bytes(path.read_bytes())
            except (OSError, ValueError):
                continue
            return str(path)
        if said.url is None and said.file_path is not None:
            where = short(said.file_path, 200)
            raise self._error(
                f"the video lies on the server's disk ({where}) and it offers no download: mount that disk and say "
                "where (target.disk in the case file)"
            )
        raise failure

    def _error(self, reason: str) -> TargetError:
        return TargetError(self._client.redacted(f"{self.target.url}: {reason}"))


class _Shown:
    """A status for people: waiting, or a bar over steps where the server counts them."""

    def __init__(self, case: Case, progress: Progress) -> None:
        self._case, self._progress = case, progress
        self._bar: tuple[int, int] | None = None
        self._step = -1

    def wait(self, why: str) -> None:
        """For something else than the next step: its bar is begun anew."""
        self._bar = None
        self._progress.waiting(why)

    def show(self, status: Status) -> None:
        """Tell what is new. What is not new stops no clock: a step that hangs there is a step that hangs."""
        step = status.progress
        if status.is_waiting:
            self.wait("queued")
        elif step is None or not 0 < step.steps <= 10_000:
            self.wait("in progress")
        elif self._bar != (step.prompt, step.steps):
            self._bar, self._step = (step.prompt, step.steps), step.step
            label = f"prompt {step.prompt} of {step.prompts}" if step.prompts > 1 else self._case.id
            self._progress.trial_started(label, step.steps)
            self._progress.step_done(step.step, step.steps)
        elif step.step != self._step:
            self._step = step.step
            self._progress.step_done(step.step, step.steps)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _local(path: str | None, target: Target) -> Iterator[Path]:
    """Where a file of the server's may lie here: below a folder that is mounted; of a server here, where it says.

    What else a server says of paths, it cannot know, and could only guess a file of ours.
    """
    if path is None:
        return
    for there, here in target.disk:
        prefix = there.rstrip("/") + "/"
        if path.startswith(prefix):
            root = Path(here).resolve()
            with contextlib.suppress(OSError, ValueError):
                file = (root / path.removeprefix(prefix)).resolve()
                if file.is_relative_to(root):
                    yield file
    if target.is_here and Path(path).is_absolute():
        yield Path(path)


def _suffix(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return ".mp4"
    return next((suffix for start, suffix in _KINDS.items() if data.startswith(start)), None)
