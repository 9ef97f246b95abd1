"""A case on a server that misbehaves: retries, messages, and the evidence for each finding."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.check import check_case
from parity.baselines.file import Accepted, from_result, from_text, to_text
from parity.case.load import DEMO, Case, load_case
from parity.case.progress import Quiet
from parity.case.target import Given, Target, base_url, target_of
from parity.cli.main import main
from parity.pytest_plugin.wording import in_pytests_words
from parity.remote import client as client_module
from parity.results.case import CaseResult
from parity.results.json_text import from_json, to_json
from parity.run.options import Options
from parity.run.session import Session
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError, UsageError
from pipelines.media.video import read_video
from pipelines.weights import Weights
from reports.render import render
from reports.view import reproduce
from tests.conftest import CaseFiles
from tests.parity.pytest_plugin.test_pytest_entry import pytest_parity_here
from tests.parity.run.test_runner import KNOWN
from tests.reports.test_report_diagnosis import search
from tests.support.report_cases import Page, run_of
from tests.support.sessions import options as session_options
from tests.support.targets import GUITAR, OTHER, Answer, Handler, Server, error, serving

TOKEN = "s3cret-of-the-target"
REFERENCE = DEMO / "t2v-guitar-reference.yaml"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


@pytest.fixture(autouse=True)
def without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAN_PARITY_TARGET_TOKEN", raising=False)


def at(server: Server, path: Path = REFERENCE, timeout: float = 20.0, **changes: Any) -> Case:
    given = Given(url=server.url, lora_root=DEMO / "jobs", timeout=timeout)
    return dataclasses.replace(load_case(path, given), **changes)


@pytest.fixture
def run(tmp_path: Path, engine: Engine) -> Callable[..., CaseResult]:
    """Run cases one after another in one session; the last one's result."""

    def run(*cases: Case, progress: Quiet | None = None, **options: Any) -> CaseResult:
        with Session(session_options(tmp_path / "out", **options), engine) as session:
            results = [session.run_case(case, progress or Quiet()) for case in cases]
            session.finish([case.id for case in cases])
        return results[-1]

    return run


def factors(result: CaseResult) -> dict[str, str]:
    return {finding.factor: finding.evidence for finding in result.findings}


# --- what is sent


def test_the_request_is_sent_as_it_is_written(server: Server, run: Callable[..., CaseResult]) -> None:
    run(at(server, DEMO / "t2v-trigger-reference.yaml"))
    written = json.loads((DEMO / "requests" / "t2v_basic.json").read_text())
    written["loras"][0]["path"] = "t2v_basic/tiny_t2v.safetensors"
    assert server.bodies == [written]


def test_a_request_made_of_the_sample_carries_every_value(cases: CaseFiles, server: Server) -> None:
    case = load_case(cases.write(), Given(url=server.url))
    assert case.posted is not None
    (item,) = case.posted.body()["prompts"]
    assert item == cases.request()["prompts"][0]
    assert case.posted.loras == ("t2v_basic/tiny_t2v.safetensors",)


def test_a_control_image_is_sent_as_base64(server: Server, run: Callable[..., CaseResult]) -> None:
    run(at(server, DEMO / "i2v-waving-reference.yaml"))
    sent = server.bodies[0]["prompts"][0]["ctrl_img"]
    assert base64.b64decode(sent) == (DEMO / "jobs" / "i2v_basic" / "ctrl.png").read_bytes()


def test_a_lora_that_is_not_here_is_taken_for_the_previews(cases: CaseFiles, server: Server) -> None:
    request = cases.request()
    request["loras"][0]["path"] = "trained/tiny_t2v.safetensors"
    path = cases.write(request=request)
    case = load_case(path, Given(url=server.url))
    assert case.posted is not None
    assert case.posted.loras == ("trained/tiny_t2v.safetensors",)
    assert "assumed to be the preview's" in case.inference.notes[0]
    with pytest.raises(CaseError, match="LORA_NOT_FOUND"):
        load_case(path)
    request["loras"][0]["path"] = "trained/other.safetensors"
    with pytest.raises(CaseError, match=r"request\.loras\[0\]\.path: .* is not on this machine.*--target-lora-root"):
        load_case(cases.write(request=request), Given(url=server.url))


def test_equal_requests_are_sent_once(server: Server, run: Callable[..., CaseResult], cases: CaseFiles) -> None:
    two = json.loads((DEMO / "requests" / "t2v_basic.json").read_text())
    two["loras"][0]["path"] = str(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors")
    both = [cases.write(f"sample{i}", pipeline="reference", request=two) for i in (0, 1)]
    first, second = (at(server, path) for path in both)
    second = dataclasses.replace(second, posted=dataclasses.replace(second.posted, index=1))  # type: ignore[type-var]
    server.files["output_0.webp"] = GUITAR
    result = run(first, second)
    assert server.count("/v1/inference") == 1
    assert server.count("output_1.webp") == 1
    assert result.target is not None
    assert result.target.shared_with == "sample0"
    assert result.bit_identical is False


# --- what goes wrong


def fails(result: CaseResult, *said: str) -> None:
    assert result.status == "error"
    assert result.error is not None
    for words in said:
        assert words in result.error
    assert result.target is not None


def test_a_dropped_connection_is_not_sent_again(server: Server, run: Callable[..., CaseResult]) -> None:
    server.answers["inference"] = [Handler.drop]
    fails(run(at(server)), "broke after the request was sent", "not sent again")
    assert server.count("/v1/inference") == 1


def test_500_after_sending_is_not_sent_again(server: Server, run: Callable[..., CaseResult]) -> None:
    server.answers["inference"] = [lambda handler: handler.bytes(b"<h1>oops</h1>", 500)]
    fails(run(at(server)), "answered 500: <h1>oops</h1>", "not sent again")
    assert server.count("/v1/inference") == 1


def test_busy_is_asked_again_as_late_as_it_says(server: Server, run: Callable[..., CaseResult]) -> None:
    times: list[float] = []

    def busy(handler: Handler) -> None:
        times.append(time.monotonic())
        handler.json(error("QUEUE_FULL"), 429, Retry_After="1")

    def accept(handler: Handler) -> None:
        times.append(time.monotonic())
        handler.json({"request_id": "at last"})

    server.answers["inference"] = [busy, accept]
    result = run(at(server))
    assert result.output is not None
    assert times[1] - times[0] >= 1
    assert ("GET", "/v1/requests/at%20last/status") in server.asked


def test_questions_are_asked_again(server: Server, run: Callable[..., CaseResult]) -> None:
    def unwell(handler: Handler) -> None:
        handler.bytes(b"", 502)

    server.answers["status"] = [unwell, Handler.drop, lambda handler: handler.json({"status": "succeeded"})]
    server.answers["output_0.webp"] = [unwell, lambda handler: handler.bytes(GUITAR)]
    result = run(at(server))
    assert result.bit_identical
    assert (server.count("/v1/inference"), server.count("status"), server.count("output_0.webp")) == (1, 3, 2)


def test_a_server_that_forgot_the_request_is_asked_once_more(server: Server, run: Callable[..., CaseResult]) -> None:
    def forgot(handler: Handler) -> None:
        handler.json(error("REQUEST_NOT_FOUND"), 404)

    server.answers["status"] = [forgot, lambda handler: handler.json({"status": "succeeded"})]
    result = run(at(server))
    assert result.target is not None
    assert (result.target.attempts, result.target.request_id) == (2, "id-2")
    assert any("forgot request id-1" in note for note in result.notes)
    server.answers["status"] = [forgot]
    fails(run(at(server)), "forgot the request twice")
    assert server.count("/v1/inference") == 4


@pytest.mark.parametrize("path", ["inference", "status", "result"])
@pytest.mark.parametrize("garbage", [b"{", b"[]", b'{"request_id": 5, "status": []}', b"\xff\xfe", b"[" * 100_000])
def test_garbage(server: Server, run: Callable[..., CaseResult], path: str, garbage: bytes) -> None:
    server.answers[path] = [lambda handler: handler.bytes(garbage)]
    fails(run(at(server)), "not an answer of this API")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, error("LORA_NOT_FOUND", "no such file"), "answered 400 LORA_NOT_FOUND: no such file"),
        (422, {"detail": [{"loc": ["body", "prompts"], "msg": "bad", "type": "x"}]}, "answered 422: body.prompts: bad"),
        (404, {"detail": "Not Found"}, "answered 404: Not Found"),
        (401, {}, "$WAN_PARITY_TARGET_TOKEN, which is not set"),
        (307, {}, "redirects to http://elsewhere/"),
    ],
)
def test_refusals_are_quoted(
    server: Server, run: Callable[..., CaseResult], status: int, body: dict[str, Any], said: str
) -> None:
    server.answers["inference"] = [lambda handler: handler.json(body, status, Location="http://elsewhere/")]
    fails(run(at(server)), said)
    assert server.count("/v1/inference") == 1


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_what_ends_badly_there(server: Server, run: Callable[..., CaseResult], state: str) -> None:
    server.answers["status"] = [lambda handler: handler.json({"status": state})]
    server.answers["result"] = [lambda handler: handler.json({"status": state, "error": "out of\nmemory"})]
    fails(run(at(server), at(server, id="again")), f"request id-1 {state}: out of memory")
    assert server.count("/v1/inference") == 1  # equal requests fail alike


def test_a_result_without_the_prompts_video(server: Server, run: Callable[..., CaseResult]) -> None:
    outputs = {"status": "succeeded", "outputs": {"videos": []}}
    server.answers["result"] = [lambda handler: handler.json(outputs)]
    fails(run(at(server)), "has 0 videos, none for prompt 0")


def test_what_never_ends_is_canceled(server: Server, run: Callable[..., CaseResult]) -> None:
    server.answers["status"] = [lambda handler: handler.json({"status": "in_progress"})]
    server.answers["cancel"] = [lambda handler: handler.json({})]
    fails(run(at(server, timeout=0.5)), "not done after 0.5 s (--target-timeout)", "the request was canceled")
    del server.answers["cancel"]
    fails(run(at(server, timeout=0.5)), "the server may still generate it")


def test_ctrl_c_cancels_there(server: Server, run: Callable[..., CaseResult]) -> None:
    class Stops(Quiet):
        def waiting(self, why: str) -> None:
            assert why == "queued"
            raise KeyboardInterrupt

    server.answers["status"] = [lambda handler: handler.json({"status": "in_queue"})]
    with pytest.raises(KeyboardInterrupt):
        run(at(server), progress=Stops())
    assert server.asked[-1] == ("POST", "/v1/requests/id-1/cancel")


def test_a_step_that_hangs_there_is_ended_by_timeout(server: Server, run: Callable[..., CaseResult]) -> None:
    running = {"status": "in_progress", "progress": {"prompt": 1, "prompts": 1, "step": 2, "steps": 6}}
    server.answers["status"] = [lambda handler: handler.json(running)]
    fails(run(at(server), timeout=0.6), "step 3 of 6 took more than 0.6 s (--timeout)")
    assert server.count("cancel") == 1


def test_steps_are_shown(server: Server, run: Callable[..., CaseResult]) -> None:
    class Hears(Quiet):
        def __init__(self) -> None:
            self.heard: list[object] = []

        def waiting(self, why: str) -> None:
            self.heard.append(why)

        def trial_started(self, label: str, steps: int) -> None:
            self.heard.append((label, steps))

        def step_done(self, done: int, steps: int) -> None:
            assert steps == 6
            self.heard.append(done)

    def at_step(step: int) -> Callable[[Handler], None]:
        progress = {"prompt": 2, "prompts": 3, "step": step, "steps": 6}
        return lambda handler: handler.json({"status": "in_progress", "progress": progress})

    over = {"status": "succeeded", "created_at": "2026-11-22T05:00:00Z", "started_at": "2026-11-22T05:00:02+00:00Z"}
    over |= {"finished_at": "2026-11-22T05:00:05.5Z"}
    server.answers["status"] = [
        lambda handler: handler.json({"status": "in_queue"}),
        at_step(0),
        lambda handler: handler.bytes(b"", 502),
        at_step(4),
        lambda handler: handler.json(over),
    ]
    hears = Hears()
    result = run(at(server), progress=hears)
    again = "answered 502; trying again"
    assert hears.heard == ["queued", ("prompt 2 of 3", 6), 0, again, ("prompt 2 of 3", 6), 4]
    assert result.target is not None
    assert (result.target.queue_seconds, result.target.draw_seconds) == (2.0, 3.5)


def test_waiting_is_reported_once(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    queued: Answer = lambda handler: handler.json({"status": "in_queue"})  # noqa: E731
    server.answers["status"] = [queued, queued, lambda handler: handler.json({"status": "succeeded"})]
    target = ["--target", server.url, "--target-lora-root", str(DEMO / "jobs")]
    assert main(["run", str(REFERENCE), *target, "--out", str(tmp_path / "out"), "--no-html"]) == 0
    told = capsys.readouterr().err
    assert told.count("[1/1] t2v-guitar-reference queued\n") == 1
    assert f"s, {server.url}\n" in told


def test_a_server_that_is_not_running(
    server: Server, run: Callable[..., CaseResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "FIRST_CONTACT_S", 0.3)
    with serving() as gone:
        pass
    started = time.monotonic()
    server.url = gone.url
    fails(run(at(server), at(server, id="second", timeout=3600)), "cannot be reached", "refused")
    assert time.monotonic() - started < 5


def test_a_server_that_dies_is_waited_for_once(tmp_path: Path, engine: Engine) -> None:
    class Counts(Quiet):
        tries = 0

        def waiting(self, why: str) -> None:
            assert "cannot be reached" in why
            self.tries += 1

    others = [DEMO / f"{name}.yaml" for name in ("t2v-trigger-reference", "i2v-waving-reference")]
    counts = Counts()
    with Session(Options(out=tmp_path / "out"), engine) as session:
        with serving() as server:
            assert session.run_case(at(server, timeout=0.7), counts).output is not None
        fails(session.run_case(at(server, others[0], timeout=0.7), counts), "cannot be reached", "--target-timeout")
        assert counts.tries
        tried = counts.tries
        fails(session.run_case(at(server, others[1], timeout=0.7), counts), "cannot be reached")
        assert counts.tries == tried


# --- the file


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (OTHER[:-700], "is not a complete video"),
        (b"RIFF", "is not a complete video"),
        (b"<html>", "is not a supported video (6 bytes)"),
        (b"", "is not a supported video (0 bytes)"),
    ],
)
def test_a_file_that_is_no_whole_video(server: Server, run: Callable[..., CaseResult], data: bytes, said: str) -> None:
    server.files["output_0.webp"] = data
    fails(run(at(server)), f"{server.url}/v1/requests/id/files/output_0.webp", said)


def test_a_download_that_breaks_off(
    server: Server, run: Callable[..., CaseResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_FILE_TRIES", 3)
    server.answers["output_0.webp"] = [lambda handler: handler.bytes(GUITAR[:999], Content_Length=str(len(GUITAR)))]
    fails(run(at(server)), "the video broke off", "3 times")
    assert server.count("output_0.webp") == 3


@pytest.mark.parametrize("told", [True, False])
def test_a_huge_download(
    server: Server, run: Callable[..., CaseResult], monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(client_module, "MAX_FILE", 1 << 20)
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        if told:
            handler.send_header("Content-Length", str(10**15))
        handler.end_headers()
        try:
            while sent < 64 << 20:
                sent += handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    server.answers["output_0.webp"] = [endless]
    fails(run(at(server)), "the video is larger than 1 MiB")
    assert sent < 32 << 20


def test_a_huge_answer(server: Server, run: Callable[..., CaseResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER", 1 << 10)
    server.answers["inference"] = [lambda handler: handler.bytes(b" " * 5000)]
    fails(run(at(server)), "the answer is larger than")


def test_the_address_of_a_server_behind_a_proxy(server: Server, run: Callable[..., CaseResult]) -> None:
    server.files["output_0.webp"] = GUITAR
    server.video["url"] = "http://inside.example:8000/v1/requests/id/files/output_0.webp"
    result = run(at(server))
    assert result.bit_identical
    assert result.target is not None
    assert result.target.fetched == f"{server.url}/v1/requests/id/files/output_0.webp"


@pytest.mark.parametrize("way", ["mapped", "here", "nowhere", "escape"])
def test_a_file_on_the_servers_disk(server: Server, run: Callable[..., CaseResult], tmp_path: Path, way: str) -> None:
    (tmp_path / "output.webp").write_bytes(GUITAR)
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "output.webp").write_bytes(GUITAR)
    paths = {"mapped": "/srv/out/output.webp", "here": str(tmp_path / "output.webp"), "nowhere": "/srv/out/gone.webp"}
    paths["escape"] = "/srv/out/../output.webp"
    server.video |= {"url": None, "file_path": paths[way]}
    case = at(server)
    assert case.target is not None
    target = dataclasses.replace(case.target, disk=(("/srv/out/", str(tmp_path / "mount")),))
    result = run(dataclasses.replace(case, target=target))
    if way in ("mapped", "here"):
        assert result.bit_identical
    else:
        fails(result, "is on the server's disk", "target.disk")


def test_a_path_of_another_machine_is_not_searched_here() -> None:
    from parity.remote.exchange import _local

    assert list(_local("/etc/hosts", Target(url="http://gpu1:8000"))) == []
    assert list(_local("/etc/hosts", Target(url="http://localhost:8000"))) == [Path("/etc/hosts")]


# --- the token


def test_the_token_goes_to_the_target_alone(
    server: Server, run: Callable[..., CaseResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAN_PARITY_TARGET_TOKEN", TOKEN)
    with serving() as elsewhere:
        elsewhere.files["moved.webp"] = GUITAR
        away = f"{elsewhere.url}/moved.webp"
        server.answers["output_0.webp"] = [lambda handler: handler.json({}, 302, Location=away)]
        result = run(at(server))
        assert elsewhere.tokens == [None]
    assert result.bit_identical
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    assert TOKEN not in (tmp_path / "out" / "results.json").read_text()


def test_a_token_echoed_by_a_server_is_redacted(
    server: Server,
    cases: CaseFiles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("WAN_PARITY_TARGET_TOKEN", TOKEN)
    hub = "hf_of-the-request"
    request = cases.request() | {"hf_token": hub}
    path = cases.write(request=request, pipeline="reference", target={"url": server.url})
    server.answers["inference"] = [lambda handler: handler.json(error("X", f"{TOKEN} and {hub}"), 400)]
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    everything = (
        said.out
        + said.err
        + "".join(file.read_text() for file in (tmp_path / "out").rglob("*") if file.suffix in (".json", ".html"))
    )
    assert "answered 400 X: … and …" in everything
    assert TOKEN not in everything
    assert hub not in everything
    assert server.bodies[0]["hf_token"] == hub


# --- evidence


def test_expected_is_not_proven(server: Server, run: Callable[..., CaseResult]) -> None:
    server.metadata = {"profile": "reference"}
    result = run(at(server))
    assert factors(result) == dict.fromkeys(KNOWN, "expected")
    assert result.status == "expected_drift"
    assert "assumed from the reference profile, not verified: scheduler, lora_application, precision" in result.verdict
    assert result.codec_floor is None
    assert result.output is not None
    assert result.output.raw_sha256 is None
    assert result.output.frame_sha256 == ()
    assert result.compared_as == "decoded webp with decoded webp"
    assert result.target is not None
    assert (result.target.url, result.target.profile) == (server.url, "reference")
    assert result.target.reported["num_frames"] == 9
    assert from_json(to_json(run_of(result))).cases == (result,)


def test_a_preview_disproves_what_was_expected(server: Server, run: Callable[..., CaseResult]) -> None:
    server.files["output_0.webp"] = GUITAR
    result = run(at(server))
    assert result.bit_identical
    assert result.findings == ()
    assert result.status == "drifted"
    assert "expected difference not found" in result.verdict
    assert (
        "the server does not follow the reference profile: scheduler, lora_application, precision would show"
        in result.verdict
    )
    relaxed = run(at(server, expect=None, tolerance={"psnr": 40.0}))
    assert relaxed.status == "passed"
    assert "does not follow the reference profile" in relaxed.verdict


def test_what_the_file_shows(server: Server, run: Callable[..., CaseResult], tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in read_video(_written(tmp_path, GUITAR)).frames[:5]]
    path = tmp_path / "short.webp"
    small = [frame.resize((80, 64)) for frame in frames]
    small[0].save(path, save_all=True, append_images=small[1:], duration=83)
    server.files["output_0.webp"] = path.read_bytes()
    server.video["seed"] = 43
    result = run(at(server))
    assert factors(result) == {
        "snapping": "pixels",
        "frame_count": "pixels",
        "seed": "reported",
        **dict.fromkeys(KNOWN, "expected"),
        "fps": "pixels",
    }
    found = {finding.factor: finding.inference for finding in result.findings}
    assert found["seed"] == "43"
    assert found["fps"] == "12"
    assert found["frame_count"].startswith("5")
    for words in ("frame_count: 9 was expected", "its answer says 43", "the server says frames 9, its file has 5"):
        assert any(words in note for note in result.notes), words
    assert "; proven by pixels: snapping, frame_count, fps; reported by the server: seed; assumed" in result.verdict
    assert result.metrics["psnr"].unavailable is not None


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "written.webp"
    path.write_bytes(data)
    return path


def test_a_server_that_encodes_again(server: Server, run: Callable[..., CaseResult], tmp_path: Path) -> None:
    import subprocess

    import imageio_ffmpeg

    frames = read_video(_written(tmp_path, GUITAR)).frames
    path = tmp_path / "again.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64"]
    command += ["-framerate", "15", "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    server.files["output_0.webp"] = path.read_bytes()
    result = run(at(server))
    assert factors(result)["codec"] == "pixels"
    assert next(finding.inference for finding in result.findings if finding.factor == "codec") == "mp4, crf 23"
    assert result.artifacts["output"].endswith("output.mp4")
    assert "fps" not in factors(result)


def test_black_is_broken(server: Server, run: Callable[..., CaseResult], tmp_path: Path) -> None:
    from PIL import Image

    black = Image.new("RGB", (96, 64))
    black.save(tmp_path / "black.webp", save_all=True, append_images=[black] * 8, duration=66)
    server.files["output_0.webp"] = (tmp_path / "black.webp").read_bytes()
    result = run(at(server))
    assert factors(result)["broken_output"] == "pixels"
    assert "frame_count" not in factors(result)


def test_a_server_of_another_profile(server: Server, run: Callable[..., CaseResult]) -> None:
    server.metadata = {"profile": "faithful"}
    result = run(at(server))
    assert result.status == "drifted"
    assert "the server reports profile 'faithful'" in result.verdict
    assert any("the case expects reference" in note for note in result.notes)
    ungated = run(at(server, expect=None, tolerance={"psnr": 5.0}))
    assert ungated.status == "passed"
    assert any("the case expects reference" in note for note in ungated.notes)


def test_overrides_are_an_expectation(cases: CaseFiles, server: Server, run: Callable[..., CaseResult]) -> None:
    pipeline = {"base": "reference", "lora_application": "merged"}
    result = run(at(server, cases.write(request=cases.request(), pipeline=pipeline)))
    assert set(factors(result)) == {"scheduler", "precision"}
    assert any("is expected of the server, and is not sent to it" in note for note in result.notes)
    assert "assumed from the case's `pipeline`" in result.verdict


def test_a_random_seed_is_what_the_server_says(
    cases: CaseFiles, server: Server, run: Callable[..., CaseResult]
) -> None:
    server.video["seed"] = 12345
    result = run(at(server, cases.write(request=cases.request(seed=-1), pipeline="reference")))
    seed = next(finding for finding in result.findings if finding.factor == "seed")
    assert (seed.inference, seed.evidence) == ("12345", "reported")


def test_equal_recipes_and_other_bits(cases: CaseFiles, server: Server, run: Callable[..., CaseResult]) -> None:
    result = run(at(server, cases.write()))
    assert factors(result) == {"environment": "pixels"}
    assert "; differs in environment)" in result.verdict
    assert "--diagnose finds out" in result.findings[0].note


def test_nothing_to_diagnose_with(server: Server, run: Callable[..., CaseResult], tmp_path: Path) -> None:
    """The comparison is kept; finding out what the server did needs the weights here."""
    bare = tmp_path / "bare"
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v" / "scheduler", bare / "scheduler")
    case = at(server)
    case = dataclasses.replace(case, inference=dataclasses.replace(case.inference, weights=Weights(str(bare))))
    result = run(case, diagnose="full")
    assert result.diagnosis is not None
    assert result.diagnosis.stopped == "error"
    assert "needs its checkpoint and LoRA on this machine" in result.diagnosis.sentence
    assert "bare" in result.diagnosis.sentence
    assert result.output is not None
    assert run(case, diagnose="full", resume=True) == result  # the server is not asked for the video again
    assert server.count("/v1/inference") == 1


# --- baselines, resuming


def test_a_servers_baseline_is_checked_by_tolerance(server: Server, run: Callable[..., CaseResult]) -> None:
    case = at(server, expect=None, tolerance={})
    first = run(case)
    environment = {"device": "cpu", "cpu": "this"}
    accepted = Accepted(at="2026-11-22T05:00:00+00:00", run_started="x", status="passed")
    baseline = from_text(to_text(from_result(first, environment, accepted)))
    assert baseline.environment == {"drawn by": "a server"}
    same = check_case(first, environment, baseline)
    assert (same.outcome, same.compared) == ("holds", "bits")
    assert same.environment == ("the server's environment is unknown",)
    server.files["output_0.webp"] = GUITAR
    other = check_case(run(case), environment, baseline)
    assert (other.outcome, other.compared) == ("improved", "tolerance")
    expecting = check_case(run(at(server)), environment, baseline)
    assert expecting.outcome == "changed", "its own rules fail: it expects factors that the video does not show"
    worse = check_case(first, environment, from_result(run(case), environment, accepted))
    assert (worse.outcome, worse.compared) == ("worse", "tolerance")
    here = dataclasses.replace(first, target=None)
    assert "drawn by" in " ".join(check_case(here, environment, baseline).environment)


def test_resume_sees_another_target(server: Server, run: Callable[..., CaseResult]) -> None:
    first = run(at(server))
    assert run(at(server), resume=True) == first
    assert server.count("/v1/inference") == 1
    with serving() as other:
        moved = run(at(other), resume=True)
        assert other.count("/v1/inference") == 1
    assert moved.target is not None
    assert moved.target.url == other.url


# --- where it is said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:hunter2@gpu1:8000", "holds credentials"),
        ("gpu1:8000", "must read http://host:port"),
        ("ftp://gpu1", "must read http://host:port"),
        ("http://gpu1:99999", "is not a valid URL"),
        ("http://gpu1/?token=hunter2", "a plain address"),
    ],
)
def test_invalid_addresses(url: str, said: str, cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["run", "--target", url])
    assert exit_.value.code == 2
    assert main(["run", str(cases.write(target=url))]) == 2
    assert main(["run", str(cases.write(target={"url": url}))]) == 2
    told = capsys.readouterr().err
    assert told.count(said) == 3
    assert "case.yaml:" in told
    assert "hunter2" not in told


def test_addresses() -> None:
    assert base_url("HTTP://GPU1:80/api/ ") == "http://gpu1/api"
    assert base_url("https://[::1]:8443") == "https://[::1]:8443"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": "http://gpu1", "token_env": "AWS_SECRET_ACCESS_KEY"}, "token_env must begin with WAN_PARITY_"),
        ({"url": "http://gpu1", "token_env": "WAN_PARITY_CACHE_KEY"}, "token_env must begin with WAN_PARITY_"),
        ({"url": "http://gpu1", "lora_root": "nowhere"}, "lora_root: folder not found: nowhere"),
        ({"url": "http://gpu1", "lora_roots": "x"}, "did you mean lora_root?"),
        ({"lora_root": "."}, "url: is missing"),
    ],
)
def test_keys_of_a_target(keys: dict[str, Any], said: str, cases: CaseFiles) -> None:
    with pytest.raises(CaseError, match="target") as caught:
        load_case(cases.write(target=keys))
    assert said in str(caught.value)


def test_a_lora_outside_the_root(cases: CaseFiles, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="is not in the target's LoRA root"):
        load_case(cases.write(target={"url": "http://gpu1", "lora_root": str(tmp_path)}))


def test_the_command_line_replaces_a_cases_target(cases: CaseFiles, tmp_path: Path) -> None:
    keys = {"url": "http://gpu1", "token_env": "WAN_PARITY_GPU1", "lora_root": str(DEMO / "jobs")}
    path = cases.write(target=keys)
    own = load_case(path, Given(timeout=5)).target
    assert own == Target(
        url="http://gpu1", lora_root=(DEMO / "jobs").resolve(), token_variable="WAN_PARITY_GPU1", timeout=5
    )
    other = load_case(path, Given(url="http://gpu2")).target
    assert other == Target(url="http://gpu2", arguments=("--target", "http://gpu2"))
    assert target_of(None, tmp_path, Given(lora_root=tmp_path)) is None


def test_a_token_no_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_TARGET_TOKEN", "two words")
    with pytest.raises(UsageError, match=r"\$WAN_PARITY_TARGET_TOKEN") as caught:
        Target(url="http://gpu1").token()
    assert "two words" not in str(caught.value)


def test_pytest_generates_on_a_target(server: Server, cases: CaseFiles, tmp_path: Path) -> None:
    path = cases.write(request=cases.request(), pipeline="reference", expect=KNOWN)
    target = ["--parity-target", server.url, "--parity-target-lora-root", str(DEMO / "jobs")]
    out = tmp_path / "out"
    done = pytest_parity_here("--parity-cases", path, *target, "--parity-out", out, "--parity-target-timeout", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 xfailed" in done.stdout
    (result,) = from_json((tmp_path / "out" / "results.json").read_text()).cases
    assert result.target is not None
    assert result.target.arguments == ("--target", server.url, "--target-lora-root", str(DEMO / "jobs"))
    assert server.bodies[0]["loras"][0]["path"] == "t2v_basic/tiny_t2v.safetensors"
    assert in_pytests_words("give --target-timeout or --timeout") == "give --parity-target-timeout or --parity-timeout"


def test_the_report_names_server_and_evidence(server: Server, run: Callable[..., CaseResult], tmp_path: Path) -> None:
    server.metadata = {"profile": "reference"}
    result = run(at(server))
    run_ = from_json((tmp_path / "out" / "results.json").read_text())
    page = Page(render(run_, tmp_path / "out"))
    assert f"generated by {server.url}" in page.words
    words = "assumed from the reference profile, not verified"
    assert words in result.verdict
    assert page.words.count(words) == 2 * len(result.findings) + 1  # the answer, the findings, the verdict
    assert f"{server.url}, reports profile reference" in page.words
    assert f"--target {server.url} --target-lora-root" in page.words
    assert "assumed from the server's reference profile" in page.words
    searched = dataclasses.replace(result, search=dataclasses.replace(search(), of="server"))
    assert reproduce(searched, {}).startswith(f"parity diagnose {result.case_file} --target {server.url}")
