"""Files that were written over: what times and steps give away."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from pipelines.aitoolkit.evidence import written_over
from pipelines.aitoolkit.job_folder import find_previews
from tests.support.job_files import TRAINED, job, preview


@pytest.mark.parametrize("kept", [True, False])
def test_a_config_younger_than_previews_is_evidence_unless_all_was_copied(tmp_path: Path, kept: bool) -> None:
    read = job(tmp_path)
    preview(tmp_path, 0, 250, 0, kept=kept)
    preview(tmp_path, 60, 500, 0, kept=kept)
    previews, _ = find_previews(tmp_path)
    at = datetime.fromtimestamp(TRAINED / 1000).timestamp() + 1800
    os.utime(tmp_path / "config.yaml", (at, at))
    doubts = written_over(read, previews)
    assert [("after 1 of 2" in doubt) for doubt in doubts] == ([True] if kept else [])
    os.utime(tmp_path / "config.yaml", (TRAINED / 1000 - 60, TRAINED / 1000 - 60))
    assert written_over(read, previews) == ()


def test_steps_that_go_back_and_other_prompts_are_evidence(tmp_path: Path) -> None:
    read = job(tmp_path)
    for minute, step, index in ((0, 500, 0), (1, 250, 0), (2, 500, 0), (2, 500, 1)):
        preview(tmp_path, minute, step, index, kept=False)
    doubts = written_over(read, find_previews(tmp_path)[0])
    assert "steps go back from 500 to 250" in doubts[0]
    assert "lists 1 prompts" in doubts[1]
