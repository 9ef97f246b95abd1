"""Requests taken from the documents, so that the tests run what the documents say."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.paths import ROOT

FULL_SIZE = {"width": 1024, "height": 1024, "num_frames": 41, "sample_steps": 25}
TINY_SIZE = {"width": 96, "height": 64, "num_frames": 5, "sample_steps": 2}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a document in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def request_of_page(model: str) -> dict[str, Any]:
    """The minimal request of a model's page."""
    (text,) = blocks(f"docs/models/{model}.md", "json")
    request: dict[str, Any] = json.loads(text)
    return request


def made_tiny(text: str) -> str:
    """Reduce the size that a request generates. Every key must be present in the document's request."""
    for key, value in FULL_SIZE.items():
        assert f'"{key}": {value}' in text, key
        text = text.replace(f'"{key}": {value}', f'"{key}": {TINY_SIZE[key]}')
    return text
