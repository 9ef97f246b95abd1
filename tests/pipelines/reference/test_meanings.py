"""Unknown request keys are answered by meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import load_case
from pipelines.errors import CaseError
from pipelines.files.words import did_you_mean
from pipelines.reference.request import MEANT, LoraItem, PromptItem, Request


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("negative_prompt", "neg"),
        ("num_inference_steps", "sample_steps"),
        ("image", "ctrl_img"),
        ("cfg", "guidance_sc"),
    ],
)
def test_suggestions_are_by_meaning(word: str, meant: str) -> None:
    assert did_you_mean(word, list(PromptItem.model_fields), MEANT).startswith(f"; did you mean {meant}")


@pytest.mark.parametrize(
    ("where", "key", "words"),
    [
        ("prompts", "negative_prompt", "unknown key; did you mean neg?"),
        ("request", "strength", "unknown key; did you mean network_multiplier in request.loras?"),
        ("case", "num_inference_steps", "unknown key; did you mean sample_steps in request.prompts?"),
        ("case", "width", "unknown key; did you mean width in request.prompts?"),
    ],
)
def test_a_case_is_answered_by_meaning_and_place(tmp_path: Path, where: str, key: str, words: str) -> None:
    case: dict[str, Any] = {"model": "wan21_14b", "preview": {"video": "a.webp"}}
    case["request"] = {"model": "wan21_14b", "loras": [{"path": "a"}], "prompts": [{"prompt": "a boat"}]}
    {"case": case, "request": case["request"], "prompts": case["request"]["prompts"][0]}[where][key] = 1
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    with pytest.raises(CaseError, match=re.escape(words)):
        load_case(tmp_path / "case.yaml")


def test_every_meaning_is_a_key_of_the_request() -> None:
    keys = {key for schema in (Request, PromptItem, LoraItem) for key in schema.model_fields}
    assert set(MEANT.values()) <= keys
