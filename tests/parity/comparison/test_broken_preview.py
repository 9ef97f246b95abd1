"""A black or frozen video is a finding, whichever side it is on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.comparison.verdict import findings_from_pixels


@pytest.mark.parametrize(("broken", "value"), [("preview", "black in every frame"), ("both", None), ("output", None)])
def test_a_black_preview_is_a_finding(broken: str, value: str | None) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    black = np.zeros_like(noise)
    video = SimpleNamespace(frames=3, width=16, height=16)
    comparison: Any = SimpleNamespace(
        preview=video,
        output=video,
        encoded_again=None,
        bit_identical=False,
        preview_frames=noise if broken == "output" else black,
        output_frames=noise if broken == "preview" else black,
    )
    found = {finding.factor: finding.preview for finding in findings_from_pixels(comparison, ())}
    assert found.get("broken_output") == (value or ("a video" if broken == "output" else None))
