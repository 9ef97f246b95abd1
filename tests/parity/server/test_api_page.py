"""docs/api.md: its tables are current, it knows every code, and its client works against a real server."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from parity.server.errors import CODES
from pipelines.engine.engine import Engine
from pipelines.media.video import read_video
from pipelines.reference import request
from tests.api_page import PAGE, current
from tests.support.documented import blocks, made_tiny
from tests.support.paths import ROOT
from tests.support.serving import settings_of, thread


def test_the_tables_are_current() -> None:
    assert PAGE.read_text() == current(PAGE.read_text()), "run: python -m tests.api_page"


def test_a_table_that_is_not_current_is_noticed() -> None:
    page = PAGE.read_text()
    assert current(page.replace("integer, 64 to 4096", "integer, 64 to 8192")) == page


def test_every_code_that_the_server_can_answer_is_listed_and_no_other() -> None:
    """Codes are the first argument of ApiError, or the beginning of a problem of the request's own checks."""
    raised = set(re.findall(r'"([A-Z0-9_]+): ', Path(request.__file__).read_text()))
    raised |= set(re.findall(r'f"([A-Z0-9_]+): ', Path(request.__file__).read_text()))
    for path in (ROOT / "parity" / "server").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ApiError":
                (code, *_) = node.args
                raised.add(code.value if isinstance(code, ast.Constant) else "INVALID_PARAMETER")
    assert raised == set(CODES)


@pytest.fixture
def script() -> str:
    (text,) = blocks("docs/api.md", "python")
    return made_tiny(text).replace("my_lora_job/my_lora.safetensors", "t2v_basic/tiny_t2v.safetensors")


def run(script: str, url: str) -> None:
    assert "http://127.0.0.1:8000" in script
    exec(compile(script.replace("http://127.0.0.1:8000", url), "docs/api.md", "exec"), {})


def test_the_client_of_the_page_gets_its_video(
    script: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with thread(settings_of(tmp_path / "data"), engine) as client:
        run(script, str(client.base_url).rstrip("/"))
    assert capsys.readouterr().out.splitlines()[-1] == "output_0.webp: 5 frames of 96x64, seed 42"
    assert read_video(tmp_path / "output_0.webp").frames.shape == (5, 64, 96, 3)


def test_the_client_of_the_page_says_what_the_server_refused(script: str, tmp_path: Path) -> None:
    with thread(settings_of(tmp_path / "data")) as client, pytest.raises(SystemExit, match="MODEL_NOT_FOUND"):
        run(script.replace('"wan21_14b"', '"flux9"'), str(client.base_url).rstrip("/"))


def test_the_root_says_what_this_is_and_where_to_go(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path / "data")) as client:
        answer = client.get("/").json()
        assert answer["name"] == "wan-parity"
        assert answer["profile"] == "reference"
        assert re.match(r"\d+\.\d+", answer["version"])
        for url in answer["links"].values():
            assert client.get(url).status_code == 200
