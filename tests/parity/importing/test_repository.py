"""A LoRA repository without config.yaml: what to write, and the search that finds the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from parity.cli.main import main
from tests.support.job_files import preview


def test_a_repository_without_a_config_gets_a_case_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preview(tmp_path, 0, 500, 0)
    (tmp_path / "lora.safetensors").touch()
    assert main(["import", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"parity diagnose {tmp_path}/case.yaml --search" in said
    case = yaml.safe_load(said[said.index("  model: MODEL_ID") :])
    assert case["request"]["loras"] == [{"path": "lora.safetensors"}]
    assert (tmp_path / case["preview"]["video"]).is_file()
