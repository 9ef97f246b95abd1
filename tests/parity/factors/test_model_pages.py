"""The models' pages agree with the code, and their requests are accepted."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from parity.cli.main import main
from parity.factors.model_page import CONTROL_IMAGE
from pipelines.catalog import MODELS
from tests.support.documented import TINY_SIZE, request_of_page
from tests.support.paths import ROOT
from tests.support.serving import settings_of, submit, thread

PAGES = ROOT / "docs" / "models"


def postable(model: str) -> dict[str, Any]:
    """A page's request with a LoRA and an image that are there."""
    kind = "i2v" if MODELS[model].needs_control_image else "t2v"
    request = request_of_page(model)
    for lora in request["loras"]:
        expert = lora.get("transformer")
        name = f"{kind}_basic/tiny_{kind}" if expert is None else f"wan22_{kind}/tiny22_{kind}_{expert}_noise"
        lora["path"] = f"{'wan22_5b_t2v/w5_t2v' if model == 'wan22_5b' else name}.safetensors"
    (item,) = request["prompts"]
    if kind == "i2v":
        assert item["ctrl_img"] == CONTROL_IMAGE
        item["ctrl_img"] = base64.b64encode((DEMO / "jobs" / "i2v_basic" / "ctrl.png").read_bytes()).decode()
    return request


@pytest.mark.parametrize("model", MODELS)
def test_the_committed_page_is_what_parity_models_prints(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", model]) == 0
    printed = capsys.readouterr().out
    assert (PAGES / f"{model}.md").read_text() == printed, f"run: parity models {model} > docs/models/{model}.md"
    assert max(map(len, printed.splitlines())) <= 120


def test_there_is_a_page_a_model_and_the_readme_names_it() -> None:
    assert sorted(path.stem for path in PAGES.iterdir()) == sorted(MODELS)
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/models/{model}.md" in readme for model in MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_links_lead_somewhere(model: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (PAGES / f"{model}.md").read_text())
    assert links
    assert all((PAGES / link).exists() for link in links)


def test_an_unknown_model_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "wan21_14"]) == 2
    assert "did you mean wan21_14b" in capsys.readouterr().err


@pytest.mark.parametrize("model", MODELS)
def test_the_pages_request_is_accepted(model: str, tmp_path: Path) -> None:
    """The unchanged request, at its full size; test_server.py generates it at a small one."""
    with thread(settings_of(tmp_path)) as client:
        request_id = submit(client, postable(model))
        assert client.get(f"/v1/requests/{request_id}/status").json()["status"] in ("in_queue", "in_progress")


def tiny(model: str) -> dict[str, Any]:
    request = postable(model)
    request["prompts"][0] |= TINY_SIZE
    return request
