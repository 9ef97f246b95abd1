"""One request on a server: submit, wait, fetch the file. Equal requests of a run are sent once."""

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
from parity.elsewhere.made import Made
from parity.remote.answers import RequestResult, RequestStatus, VideoAnswer, short
from parity.remote.client import MAX_FILE, Client
from parity.results.case import TargetResult
from pipelines.errors import MediaError, TargetError
from pipelines.files.content import check_file
from pipelines.media.encoding import suffix_of
from pipelines.media.video import Video, read_video
from pipelines.recipe import frame_duration

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_MOST_FRAMES = 1000
"""The most frames the API accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """A request that ended in a result."""

    case: str
    request_id: str
    attempts: int
    status: RequestStatus | None
    result: RequestResult
    notes: tuple[str, ...]


class Exchange:
    """All requests of a run to one target. Call `close` at the end."""

    def __init__(self, target: Target) -> None:
        """Raises UsageError for a token that cannot be sent."""
        self.target = target
        self._client = Client(target)
        self._done: dict[str, _Done] = {}
        self._failed: dict[str, str] = {}

    def close(self) -> None:
        self._client.close()

    def generate(self, case: Case, progress: Progress, *, anew: bool = False) -> Made:
        """Have the server generate a case. Raises TargetError; if anything ends it early, the request is canceled too.

        `anew`: send the request even if an equal one was sent in this run.
        """
        assert case.posted is not None
        clock = time.monotonic()
        deadline = clock + self.target.timeout
        self._client.on_wait = progress.waiting
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
        answer = videos[case.posted.index]
        progress.phase("download", "the server's video")
        encoded, suffix, video, fetched = self._fetch(case, answer, deadline)
        queue_seconds, generation_seconds = done.status.seconds() if done.status is not None else (None, None)
        profile = done.result.metadata.profile if done.result.metadata is not None else None
        target = TargetResult(
            url=self.target.url,
            arguments=self.target.arguments,
            request_id=done.request_id,
            shared_with=done.case if done.case != case.id else None,
            attempts=done.attempts,
            queue_seconds=queue_seconds,
            draw_seconds=generation_seconds,
            fetched=self._client.redacted(fetched),
            profile=self._client.redacted(short(profile, 60)) if profile is not None else None,
            reported=answer.reported(),
        )
        return Made(
            encoded=encoded,
            suffix=suffix,
            video=video,
            seed=answer.seed,
            contradictions=_contradictions(answer, video),
            target=target,
            notes=done.notes,
            seconds={"request": asked_at - clock, "fetch": time.monotonic() - asked_at},
        )

    def _ask(self, case: Case, body: dict[str, object], key: str, deadline: float, progress: Progress) -> _Done:
        """Send a request and wait for its result; once more if the server forgot the request."""
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
        raise self._error("forgot the request twice (REQUEST_NOT_FOUND): does it restart before it can finish?")

    def _wait_for(
        self, request_id: str, case: Case, deadline: float, progress: Progress
    ) -> tuple[RequestStatus | None, RequestResult | None]:
        """Poll until the request is over. Returns None for a request that the server no longer knows."""
        shown = _Shown(case, progress)
        self._client.on_wait = shown.wait
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
                    f"{error}; {'the request was canceled' if canceled else 'the server may still generate it'}"
                ) from None
            raise
        raise AssertionError("pauses never end")

    def _fetch(self, case: Case, answer: VideoAnswer, deadline: float) -> tuple[bytes, str, Video, str]:
        """Fetch the file. Returns its bytes, its suffix, its video and where it came from."""
        with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
            file = Path(folder) / "output"
            fetched = self._download_or_copy(answer, file, deadline)
            encoded = file.read_bytes()
            suffix = suffix_of(encoded)
            if suffix is None:
                raise self._error(f"{fetched} is not a supported video ({len(encoded)} bytes)")
            named = file.rename(file.with_suffix(suffix))
            expected = case.inference
            count = answer.num_frames if answer.num_frames and answer.num_frames <= _MOST_FRAMES else None
            try:
                video = read_video(named, frame_duration(expected.fps), count or expected.num_frames.applied)
            except MediaError as error:
                raise self._error(str(error).replace(str(named), fetched)) from None
        return encoded, suffix, video, fetched

    def _download_or_copy(self, answer: VideoAnswer, into: Path, deadline: float) -> str:
        """Download the file, or copy it from a disk that both machines see. Returns its URL or path."""
        failure = self._error("the result has neither a `url` nor a `file_path` that can be read on this machine")
        if answer.url is not None:
            try:
                return self._client.download(answer.url, into, deadline)
            except TargetError as error:
                failure = error
        for path in _local(answer.file_path, self.target):
            try:
                check_file(path, MAX_FILE)
                into.write_bytes(path.read_bytes())
            except (OSError, ValueError):
                continue
            return str(path)
        if answer.url is None and answer.file_path is not None:
            place = short(answer.file_path, 200)
            raise self._error(
                f"the video is on the server's disk ({place}), and the server offers no download: mount that disk and "
                "set target.disk in the case file"
            )
        raise failure

    def _error(self, reason: str) -> TargetError:
        return TargetError(self._client.redacted(f"{self.target.url}: {reason}"))


def _contradictions(answer: VideoAnswer, video: Video) -> tuple[str, ...]:
    """Contradictions between a server's answer and its file."""
    pairs = (
        ("frames", answer.num_frames, len(video.frames)),
        ("width", answer.width, video.width),
        ("height", answer.height, video.height),
    )
    return tuple(
        f"the server says {name} {reported}, its file has {found}"
        for name, reported, found in pairs
        if reported is not None and reported != found
    )


class _Shown:
    """A request's status as progress: waiting, or a bar over steps if the server counts them."""

    def __init__(self, case: Case, progress: Progress) -> None:
        self._case, self._progress = case, progress
        self._bar: tuple[int, int] | None = None
        self._step = -1

    def wait(self, why: str) -> None:
        """Show why we wait for something other than the next step; the bar starts anew after it."""
        self._bar = None
        self._progress.waiting(why)

    def show(self, status: RequestStatus) -> None:
        """Show what is new. Nothing else resets the watchdog, so a step that hangs on the server is noticed."""
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
    """Places on this machine of a server's file: below a mounted folder; for a server on this machine, its own path.

    Other paths from a server are not followed: they could only name a file of ours.
    """
    if path is None:
        return
    for server_folder, local_folder in target.disk:
        prefix = server_folder.rstrip("/") + "/"
        if path.startswith(prefix):
            root = Path(local_folder).resolve()
            with contextlib.suppress(OSError, ValueError):
                file = (root / path.removeprefix(prefix)).resolve()
                if file.is_relative_to(root):
                    yield file
    if target.is_here and Path(path).is_absolute():
        yield Path(path)
