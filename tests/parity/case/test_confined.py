"""`$WAN_PARITY_CONFINED`: what the cases of strangers must not name on a maintainer's machine."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO, load_case
from parity.case.target import Given
from parity.cli.project import settings
from pipelines.catalog import MODELS
from pipelines.errors import CaseError, ParityError, UsageError
from pipelines.files.confined import VARIABLE
from pipelines.media.video import read_video

HERE = "http://127.0.0.1:9"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a case in it, beside which are things that are nobody's business."""
    root = tmp_path / "repository"
    shutil.copytree(DEMO / "jobs", root / "jobs")
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", tmp_path / "elsewhere" / "model")
    shutil.copytree(DEMO / "jobs", tmp_path / "elsewhere" / "jobs")
    (tmp_path / "elsewhere" / "secret.yaml").write_text("password: hunter2\n")
    monkeypatch.setenv(VARIABLE, str(root))
    return root


def case(root: Path, **changed: Any) -> Path:
    preview = {
        "config": "jobs/t2v_basic/config.yaml",
        "video": "jobs/t2v_basic/samples/1795289016732__000000500_0.webp",
        "sample": 0,
        "lora": "jobs/t2v_basic/tiny_t2v.safetensors",
    }
    preview |= changed.pop("preview", {})
    file = root / "case.yaml"
    model = str(DEMO / "models" / "tiny-wan-t2v")
    file.write_text(json.dumps({"model": "wan21_1b", "checkpoint": model, "preview": preview, **changed}))
    return file


def test_a_case_within_its_folder_loads_as_before(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confined = load_case(case(repository))
    monkeypatch.delenv(VARIABLE)
    assert load_case(case(repository)) == confined


REFUSED: dict[str, dict[str, Any]] = {
    "a config": {"preview": {"config": "../elsewhere/secret.yaml"}},
    "an absolute video": {"preview": {"video": "/etc/passwd"}},
    "a video": {"preview": {"video": "../elsewhere/jobs/t2v_basic/samples/1795289016732__000000500_0.webp"}},
    "a LoRA": {"preview": {"lora": "../elsewhere/jobs/t2v_basic/tiny_t2v.safetensors"}},
    "a control image": {"preview": {"control_image": "../elsewhere/jobs/i2v_basic/ctrl.png"}},
    "a request": {"request": "../elsewhere/secret.yaml"},
    "a checkpoint": {"checkpoint": "../elsewhere/model"},
    "an output": {"output": "../elsewhere/jobs/t2v_basic/samples/1795289016732__000000500_0.webp"},
    "a link": {"preview": {"config": "link.yaml"}},
    "a linked folder": {"preview": {"config": "folder/secret.yaml"}},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_elsewhere_are_refused_unread(repository: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (repository / "link.yaml").symlink_to(repository.parent / "elsewhere" / "secret.yaml")
    (repository / "folder").symlink_to(repository.parent / "elsewhere")
    path = case(repository, **REFUSED[kind])
    with pytest.raises(CaseError, match=rf"case.yaml:.*is outside the folders of \${VARIABLE}") as caught:
        load_case(path)
    assert "hunter2" not in str(caught.value)
    places = os.pathsep.join((str(repository), str(repository.parent / "elsewhere"), "/etc"))
    monkeypatch.setenv(VARIABLE, places)
    try:
        load_case(path)
    except CaseError as error:  # for what is in it
        assert "outside" not in str(error)  # noqa: PT017


def test_frames_that_are_links_are_refused(repository: Path) -> None:
    (repository / "frames").mkdir()
    (repository / "frames" / "0.png").symlink_to(repository.parent / "elsewhere" / "jobs" / "i2v_basic" / "ctrl.png")
    with pytest.raises(CaseError, match=r"0.png is outside"):
        load_case(case(repository, preview={"video": "frames"}))


def test_a_case_file_that_is_a_link_is_refused(repository: Path) -> None:
    (repository / "linked.yaml").symlink_to(repository.parent / "elsewhere" / "secret.yaml")
    with pytest.raises(CaseError, match=r"linked.yaml: is outside") as caught:
        load_case(repository / "linked.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_path_inside_a_request_is_refused(repository: Path) -> None:
    request = {
        "model": "wan21_1b",
        "loras": [{"path": str(repository.parent / "elsewhere" / "jobs" / "t2v_basic" / "tiny_t2v.safetensors")}],
        "prompts": [{"prompt": "a guitar"}],
    }
    (repository / "request.json").write_text(json.dumps(request))
    with pytest.raises(CaseError, match="is outside the folders of"):
        load_case(case(repository, request="request.json"))


@pytest.mark.parametrize("source", ["http://169.254.169.254/latest/meta-data", "../elsewhere/jobs/i2v_basic/ctrl.png"])
def test_an_image_from_elsewhere_is_not_fetched(repository: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    request = {
        "model": "wan21_i2v_14b480p",
        "loras": [{"path": "jobs/i2v_basic/tiny_i2v.safetensors"}],
        "prompts": [{"prompt": "waving", "ctrl_img": source}],
    }
    model = str(DEMO / "models" / "tiny-wan-i2v")
    video = {"config": None, "lora": None, "video": "jobs/i2v_basic/samples/1795289301080__000000500_0.webp"}
    path = case(repository, model="wan21_i2v_14b480p", checkpoint=model, request=request, preview=video)
    with pytest.raises(CaseError, match=rf"control image .* is (an address|outside).*{VARIABLE}"):
        load_case(path)


def test_no_server_is_asked_but_that_of_the_command_line(repository: Path) -> None:
    with pytest.raises(CaseError, match=r"target: http://127.0.0.1:9 is an address; .*pass --target"):
        load_case(case(repository, target=HERE))
    given = load_case(case(repository, target="http://evil.example"), Given(url=HERE, lora_root=repository))
    assert given.target is not None
    assert given.target.url == HERE


def test_only_published_checkpoints_are_downloaded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def download(source: str, **_: Any) -> str:
        asked.append(source)
        return str(DEMO / "models" / "tiny-wan-t2v")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CaseError, match=r"checkpoint somebody/weights is none of the catalogue's"):
        load_case(case(repository, checkpoint="somebody/weights"))
    published = MODELS["wan21_1b"].base_checkpoint
    assert load_case(case(repository, checkpoint=published)).inference.weights.checkpoint == published
    assert asked == [published]


@pytest.mark.usefixtures("repository")
def test_the_embedded_demo_stays() -> None:
    assert load_case(DEMO / "t2v-guitar-faithful.yaml").id == "t2v-guitar-faithful"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('target = "http://evil.example"', "'http://evil.example' is an address; .*pass --target"),
        ('out = "../elsewhere"', "'../elsewhere' is outside the folders of"),
        ('baselines = "/etc"', "'/etc' is outside the folders of"),
    ],
)
def test_a_pyproject_of_strangers_names_nothing_else_either(repository: Path, line: str, said: str) -> None:
    (repository / "pyproject.toml").write_text(f"[tool.wan-parity]\n{line}\n")
    with pytest.raises(UsageError, match=rf"pyproject.toml:2: .*{said}"):
        settings(repository)


@pytest.mark.parametrize("secret", ["hunter2", "AWS_KEY=hunter2", "root:x:0:0:hunter2:/root:/bin/bash", "- hunter2"])
@pytest.mark.parametrize("key", ["config", "video", "lora", "control_image", "request", "output", "graph"])
def test_no_message_quotes_a_file_that_is_no_case(
    repository: Path, monkeypatch: pytest.MonkeyPatch, secret: str, key: str
) -> None:
    """Without the variable any file can be named; it is not printed into a public log."""
    monkeypatch.delenv(VARIABLE)
    file = repository.parent / "secret"
    file.write_text(f"{secret}\n{secret}\n")
    top = {"request": str(file), "output": str(file)}
    if key in top:
        path = case(repository, **{key: top[key]})
    elif key == "graph":
        path = case(repository, pipeline={"base": "comfyui", "graph": str(file)})
    else:
        path = case(repository, preview={key: str(file)})
    said = []
    for read in (lambda: load_case(path), lambda: read_video(load_case(path).video)):
        try:
            read()
        except ParityError as error:
            said.append(str(error))
    assert said or key in ("control_image", "output")  # T2V has no control image; the output is read in a run
    assert "hunter2" not in "".join(said)
