"""Where weights are: paths, Hub ids, and what cannot be loaded, known before a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.case.load import DEMO
from pipelines import hub as hub_names
from pipelines.errors import HubError
from pipelines.hub import folder_of, is_hub_id, why_not_found, why_offline, why_unusable
from tests.support.hub import Hub, point_to

TINY = DEMO / "models" / "tiny-wan-t2v"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("models/wan", "is a path, and no folder"),
        ("./wan", "is a path, and no folder"),
        ("~/models/wan", "is a path, and no folder"),
        ("C:/models/wan", "on a Windows machine"),
        ("models\\wan", "on a Windows machine"),
        ("Wan-AI/wan2.1.safetensors", "is a single file"),
        ("Wan2.1-T2V-1.3B-Diffusers", "is neither a folder on this machine nor a Hub id"),
    ],
)
def test_a_path_is_not_taken_for_a_hub_id(given: str, words: str) -> None:
    assert not is_hub_id(given)
    assert words in why_not_found(given)


def test_what_a_run_would_refuse_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no model_index.json" in (why_unusable(str(tmp_path)) or "")
    assert "single files for ComfyUI" in (why_unusable("somebody/Wan_ComfyUI_repackaged") or "")
    assert (why_unusable("somebody/wan-diffusers"), why_offline("somebody/wan-diffusers")) == (None, None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in (why_offline("somebody/wan-diffusers") or "")
    assert why_offline(str(tmp_path)) is None
    (tmp_path / "transformer").mkdir()
    assert why_unusable(str(tmp_path)) is None


def test_a_checkpoint_is_downloaded_once(hub: Hub) -> None:
    hub.add("somebody/wan", TINY)
    folder = folder_of("somebody/wan")
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert (folder / weights).read_bytes() == (TINY / weights).read_bytes()
    got = len([request for request in hub.requests if request.startswith("GET") and "/resolve/" in request])
    hub_names.forget_answers()
    assert folder_of("somebody/wan") == folder
    assert len([request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]) == got


def test_many_cases_ask_once(hub: Hub) -> None:
    """And wait once, if the Hub is slow or away: what is in the cache is found without it."""
    hub.add("somebody/wan", TINY)
    folder = folder_of("somebody/wan", only=["scheduler/*"])
    hub.down = True
    asked = len(hub.requests)
    assert [folder_of("somebody/wan", only=["scheduler/*"]) for _ in range(3)] == [folder] * 3
    assert len(hub.requests) == asked
    hub_names.forget_answers()
    assert [folder_of("somebody/wan", only=["scheduler/*"]) for _ in range(3)] == [folder] * 3
    assert len(hub.requests) == asked + 1


def test_what_the_hub_refuses(hub: Hub, closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reason is told apart, and says what to do."""
    hub.add("somebody/gated", TINY)
    hub.gated.add("somebody/gated")

    def refused(source: str) -> str:
        with pytest.raises(HubError) as caught:
            folder_of(source)
        assert caught.value.source == source
        return str(caught.value)

    assert "it is gated: its owner grants access on request" in refused("somebody/gated")
    assert "then set HF_TOKEN" in refused("somebody/gated")
    assert "knows no repository of this name" in refused("somebody/else")
    hub.down = True
    assert "503" in refused("somebody/down")
    point_to(closed_port, tmp_path / "empty", monkeypatch)
    assert "the Hub cannot be reached" in refused("somebody/wan")
    assert "local copy" in refused("somebody/wan")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused("somebody/offline")


def test_a_failed_source_is_not_asked_for_again_at_once(hub: Hub) -> None:
    """Every case of a run would wait for it. Later it is: the Hub may be back."""
    hub.down = True
    for _ in range(2):
        with pytest.raises(HubError):
            folder_of("somebody/wan")
    asked = len(hub.requests)
    hub.down = False
    hub.add("somebody/wan", TINY)
    with pytest.raises(HubError):
        folder_of("somebody/wan")
    assert len(hub.requests) == asked
    hub_names.forget_answers()
    assert folder_of("somebody/wan").is_dir()


def test_a_download_that_stalls_is_said_to(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.add("somebody/wan", TINY)
    hub.stalls.add("transformer/diffusion_pytorch_model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with pytest.raises(HubError, match="the download stalls") as caught:
        folder_of("somebody/wan")
    assert "complete files are kept; HF_HUB_DOWNLOAD_TIMEOUT=60" in str(caught.value)
