"""Where weights are: paths, Hub ids, and what cannot be loaded, known before a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.hub import is_hub_id, why_not_found, why_offline, why_unusable


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
