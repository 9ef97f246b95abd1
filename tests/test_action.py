"""The action's scripts: the gate with the real `parity`, and the comment on a server that answers as GitHub does."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from parity.case.load import DEMO
from parity.cli.main import whole_parser
from parity.results.json_text import to_json
from tests.conftest import CaseFiles
from tests.support.prepared import python
from tests.support.report_cases import drifted_case, passed_case, run_of
from tests.support.steps import Runner, Step
from tests.test_workflows import STUB, pytest_options

pytestmark = pytest.mark.process


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture
def cases(tmp_path: Path) -> CaseFiles:
    (tmp_path / "my cases").mkdir()
    return CaseFiles(tmp_path / "my cases")


def test_a_red_run_is_red_and_leaves_everything_to_look_at(tmp_path: Path, cases: CaseFiles) -> None:
    runner = Runner(tmp_path, tuple(python()))
    quick = cases.request(sample_steps=1, num_frames=1)
    cases.write("known", request=quick, expect=["frame_count", "steps"], tags=["small"])
    cases.write("new", request=quick, expect=["steps"], tags=["small"])
    cases.write("other", tags=["large"])
    step = runner("gate.py", CASES="my cases", TAG="small\nabsent", DEVICE="cpu", OUT="out", DIAGNOSE="on-failure")
    assert step.code == 1, step.said
    assert step.outputs == {
        "exit-code": "1",
        "failed": "1",
        "out": "out",
        "report": "out/report.html",
        "results": "out/results.json",
    }
    out = runner.folder / "out"
    known, new = json.loads((out / "results.json").read_text())["cases"]
    assert (known["id"], known["diagnosis"], new["id"]) == ("known", None, "new")
    assert new["diagnosis"]["explained"]
    assert (out / "report.html").is_file()
    assert "1 of 2 cases failed; exit code 1" in step.said
    suite = ET.parse(out / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "new" in (out / "comment.md").read_text()
    assert "`known`" not in (out / "comment.md").read_text()
    for text in (step.summary, (out / "summary.md").read_text(), (out / "comment.md").read_text()):
        assert "1 of 2 cases drifted unexpectedly" in text
        assert "No case has the tag absent; there are: large, small." in text
    assert "::error file=" in step.said
    assert "drifted" in (out / "log.txt").read_text()


def test_a_mistake_in_a_case_file_is_shown_before_anything_is_generated(runner: Runner, cases: CaseFiles) -> None:
    path = cases.write("broken", modle="wan21_14b")
    step = runner("gate.py", CASES="my cases")
    assert step.code == 2
    assert step.outputs["exit-code"] == "2"
    assert step.outputs.get("results") is None
    assert path.name in step.summary
    assert "modle" in (runner.folder / "parity-out" / "comment.md").read_text()


@pytest.mark.parametrize("head", ["stranger/repository", None, "owner/repository"])
def test_the_cases_of_a_fork_name_nothing_outside_their_checkout(
    tmp_path: Path, runner: Runner, cases: CaseFiles, head: str | None
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.yaml"
    outside.write_text("password: hunter2\n")
    video = DEMO / "jobs" / "t2v_basic" / "samples" / "1795289016732__000000500_0.webp"
    cases.write("reads", preview={"config": str(outside), "sample": 0, "video": str(video)})
    event = tmp_path / "event.json"
    repositories = {"head": None if head is None else {"full_name": head}, "base": {"full_name": "owner/repository"}}
    event.write_text(json.dumps({"pull_request": {side: {"repo": repo} for side, repo in repositories.items()}}))
    given = {"GITHUB_EVENT_PATH": str(event), "GITHUB_WORKSPACE": str(tmp_path)}
    step = runner("gate.py", CASES="my cases", OUT="out", **given)
    assert step.code == 2
    assert ("is outside the folders of $WAN_PARITY_CONFINED" in step.said) == (head != "owner/repository")
    if head != "owner/repository":
        assert "hunter2" not in step.said


@pytest.mark.parametrize(("wanted", "code"), [("error", 2), ("note", 0)])
def test_tags_that_match_nothing_at_all(wanted: str, code: int, runner: Runner, cases: CaseFiles) -> None:
    cases.write("one", tags=["t2v"])
    step = runner("gate.py", CASES="my cases", TAG="i2v", IF_NO_CASES=wanted)
    assert (step.code, step.outputs["exit-code"]) == (code, str(code))
    assert "nothing to run" in step.summary
    assert "No case has the tag i2v; there are: t2v." in step.summary


def test_a_tag_from_a_pull_request_does_nothing_to_log_and_summary(runner: Runner, cases: CaseFiles) -> None:
    cases.write("one", tags=["x\n::error::owned\n##[error]\x1b[31m @someone <img src=x>"])
    step = runner("gate.py", CASES="my cases", TAG="i2v")
    assert not [line for line in step.said.splitlines() if line.lstrip().startswith("::") or "##[" in line]
    assert "\x1b" not in step.said + step.summary
    assert "<pre>\nNo case has the tag i2v; there are: x\\n::error::owned" in step.summary
    assert "@someone &lt;img src=x&gt;." in step.summary


@pytest.mark.parametrize(
    ("name", "value"), [("WORKERS", "many"), ("DIAGNOSE", "sometimes"), ("IF_NO_CASES", "green"), ("TIMEOUT", "soon")]
)
def test_a_wrong_setting_is_one_message(name: str, value: str, runner: Runner) -> None:
    step = runner("gate.py", **{name: value})
    assert step.code == 2
    assert name.lower() in step.said.lower()
    assert value in step.said
    assert "Traceback" not in step.said


def test_the_key_changes_with_the_checkpoint_and_is_empty_for_local_ones(runner: Runner, cases: CaseFiles) -> None:
    cases.write("local")
    keys = [runner("gate.py", "key", CASES="my cases").said]
    job = runner.folder / "job"
    shutil.copytree(DEMO / "jobs" / "t2v_basic", job)
    own = (job / "config.yaml").read_text()
    preview = {"config": str(job / "config.yaml"), "sample": 0, "toolkit": "0.12.26"}
    cases.write("hub", checkpoint=None, preview=preview | {"video": str(next((job / "samples").glob("*_0.webp")))})
    for name in ("owner/one", "owner/two"):
        (job / "config.yaml").write_text(own.replace("../../models/tiny-wan-t2v", name))
        keys.append(runner("gate.py", "key", CASES="my cases", HF_HUB_OFFLINE="1").said)
    assert keys[0] == "key=\n"
    assert len(set(keys)) == 3


def test_several_runs_are_one_report(runner: Runner) -> None:
    assert runner("gate.py", "report", OUT="runs").code == 2
    for name, case in (("a", drifted_case), ("b", passed_case)):
        folder = runner.folder / "runs" / name
        (folder / "x").mkdir(parents=True)
        (folder / "results.json").write_text(to_json(run_of(case(folder))), encoding="utf-8")
    step = runner("gate.py", "report", OUT="runs")
    assert step.code == 0, step.said
    assert "1 of 2 cases drifted unexpectedly" in step.summary
    assert {"report.html", "junit.xml", "summary.md"} <= {path.name for path in (runner.folder / "runs").iterdir()}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("diagnose", ["never", "on-failure", "always"])
@pytest.mark.parametrize("full", [True, False], ids=["all settings", "none"])
def test_every_command_is_understood(workers: str, diagnose: str, full: bool, runner: Runner) -> None:
    """With stubs, whose log is what was called."""
    programs = runner.folder / "bin"
    programs.mkdir()
    row = json.dumps([{"tags": ["two words", "b"], "recipes": {"preview": {"vae": "owner/one"}}}])
    plan = f"if [ \"$1\" = plan ]; then echo '{row}'; fi\n"
    for name in ("parity", "pytest"):
        (programs / name).write_text(STUB + plan)
        (programs / name).chmod(0o755)
    given = {
        "CASES": "my cases\nmore.yaml",
        "BASELINES": "my baselines",
        "TAG": "two words\nb",
        "SHARD": "2/4",
        "BALANCE": "last run",
        "DEVICE": "cuda:0",
        "OFFLOAD": "model",
        "TIMEOUT": "1800",
        "OUT": "my out",
        **({"K": "not i2v"} if workers == "1" else {}),
    }
    log = runner.folder / "log"
    settings = {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(log), "WORKERS": workers, "DIAGNOSE": diagnose}
    assert runner("gate.py", **settings, **(given if full else {})).code == 3  # the stubs write no results
    plan_call, fetch_call, run_call = [call.split("\x1f")[:-1] for call in log.read_text().split("\x1e")[:-1]]
    whole_parser().parse_args(plan_call[1:])
    fetched = whole_parser().parse_args(fetch_call[1:])
    assert list(fetched.tag) == (["two words", "b"] if full else [])
    assert fetched.cases == ([Path("my cases"), Path("more.yaml")] if full else [])
    assert (fetched.shard, list(fetched.balance)) == (((2, 4), [Path("last run")]) if full else (None, []))
    cases = [Path("my cases"), Path("more.yaml")] if full else []
    if workers == "1":
        options = vars(whole_parser().parse_args(run_call[1:]))
        assert (options["diagnose"] is not None) == (diagnose == "always")
        assert options["diagnose_failed"] == (diagnose == "on-failure")
        assert (options["cases"], options["k"]) == (cases, "not i2v" if full else None)
    else:
        known = pytest_options(run_call[1:])
        options = {name.removeprefix("parity_"): value for name, value in vars(known).items()}
        assert options["diagnose"] == (None if diagnose == "never" else diagnose)
        assert (options["cases"] or []) == cases
        assert known.pyargs == (not full)
    assert options["out"] == Path("my out" if full else "parity-out")
    assert list(options["tag"]) == (["two words", "b"] if full else [])
    assert options["baselines"] == (Path("my baselines") if full else None)
    assert options["timeout"] == (1800 if full else None)
    assert (options["shard"], list(options["balance"])) == (((2, 4), [Path("last run")]) if full else (None, []))


@dataclass
class Forge:
    """GitHub's REST API as far as comments go: what it holds, and what was asked."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    writes: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0
    """The status with which writing is answered; 0: it is allowed."""
    address: str = ""

    def comment(self, author: str, body: str) -> None:
        self.comments.append(
            {"id": len(self.comments) + 1, "user": {"login": author}, "body": body, "html_url": "there"}
        )


@pytest.fixture
def forge() -> Iterator[Forge]:
    forge = Forge()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, data: Any) -> None:
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/user":
                self.answer(403, {"message": "Resource not accessible by integration"})
                return
            assert url.path == "/repos/someone/loras/issues/7/comments"
            assert self.headers["Authorization"] == "Bearer secret"
            query = parse_qs(url.query)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            self.answer(200, forge.comments[size * (page - 1) : size * page])

        def do_POST(self) -> None:
            self.write("POST", "/repos/someone/loras/issues/7/comments")

        def do_PATCH(self) -> None:
            self.write("PATCH", f"/repos/someone/loras/issues/comments/{self.path.rpartition('/')[2]}")

        def write(self, method: str, path: str) -> None:
            assert self.path == path
            text = self.body()
            if forge.refuse:
                self.answer(forge.refuse, {"message": "Resource not accessible by integration"})
                return
            if len(text) > 65_536:
                self.answer(422, {"message": "body is too long (maximum is 65536 characters)"})
                return
            forge.writes.append((method, text))
            if method == "POST":
                forge.comment("github-actions[bot]", text)
            else:
                forge.comments[int(self.path.rpartition("/")[2]) - 1]["body"] = text
            self.answer(201 if method == "POST" else 200, {"html_url": "https://example.org/comment"})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    forge.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield forge
    server.shutdown()
    server.server_close()


def post(runner: Runner, forge: Forge, text: str, event: Any = None, **values: str) -> Step:
    (runner.folder / "event.json").write_text(json.dumps(event or {"pull_request": {"number": 7}}))
    (runner.folder / "comment.md").write_text(text, encoding="utf-8")
    job = {
        "GITHUB_API_URL": forge.address,
        "GITHUB_REPOSITORY": "someone/loras",
        "GITHUB_EVENT_PATH": "event.json",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_RUN_ID": "11",
        "GITHUB_TOKEN": "secret",
        "ARTIFACT_URL": "https://example.org/artifact",
    }
    return runner("comment.py", "comment.md", **job, **values)


def test_the_comment_is_written_once_and_then_updated(runner: Runner, forge: Forge) -> None:
    for number in range(130):  # the comment that is looked for is on the second page
        forge.comment("somebody", f"comment {number}")
    forge.comment("somebody", "<!-- wan-parity: parity -->\nnot the action's")
    assert "comment written: https://example.org/comment" in post(runner, forge, "red").said
    assert "comment updated: https://example.org/comment" in post(runner, forge, "green", NAME="parity").said
    assert [method for method, _ in forge.writes] == ["POST", "PATCH"]
    body = forge.comments[131]["body"]
    assert "green" in body
    assert "red" not in body
    assert "[Report, results and frames](https://example.org/artifact)" in body
    assert "https://github.com/someone/loras/actions/runs/11" in body
    assert forge.comments[130]["body"].endswith("not the action's")
    assert "comment written" in post(runner, forge, "other gate", NAME="gpu").said
    assert len(forge.comments) == 133


def test_a_comment_that_is_too_long_is_cut_and_says_so(runner: Runner, forge: Forge) -> None:
    assert "comment written" in post(runner, forge, "ü" * 70_000).said
    assert "cut; all of it is in the job summary" in forge.writes[0][1]


@pytest.mark.parametrize(("status", "told"), [(403, "forks"), (404, "forks"), (500, "GitHub answered 500")])
def test_a_refused_comment_fails_nothing_and_says_why(status: int, told: str, runner: Runner, forge: Forge) -> None:
    forge.refuse = status
    step = post(runner, forge, "red")
    assert step.code == 0
    assert told in step.said
    assert step.said.startswith("::notice" if status < 500 else "::warning")
    assert forge.writes == []


def test_no_pull_request_no_comment_and_no_github_no_traceback(runner: Runner, forge: Forge) -> None:
    assert "does not run for a pull request" in post(runner, forge, "red", event={"ref": "refs/heads/main"}).said
    forge.address = "http://127.0.0.1:1"
    step = post(runner, forge, "red")
    assert step.code == 0
    assert step.said.startswith("::warning title=wan-parity::no comment on the pull request: ")
