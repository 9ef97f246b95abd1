"""Text of what to set in ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity.results.comfyui import ComfyAdvice, ComfySetting
from parity.terminal.text import lines, table
from pipelines.files.words import capital


def comfy_text(advice: ComfyAdvice) -> str:
    """The answer, what to change in the case's own graph, every value node by node, then what no node does."""
    return lines(*_lines(advice))


def _lines(advice: ComfyAdvice) -> Iterator[str]:
    yield advice.answer
    if advice.changes:
        yield from ("", "change in the graph:")
        yield table([(row.node, row.name, f"{row.now} -> {row.value}") for row in advice.changes])
    if advice.settings:
        yield from ("", "set, node by node:")
        yield table(list(_by_node(advice.settings)))
    parts = {
        "cannot be had there": advice.missing,
        "besides the nodes": advice.first,
        "rounds differently": advice.rounding,
    }
    for title, sentences in parts.items():
        if sentences:
            yield from ("", f"{title}:")
            yield from (f"  {capital(sentence)}." for sentence in sentences)


def _by_node(settings: Sequence[ComfySetting]) -> Iterator[tuple[str, str, str]]:
    """Rows with each node's title at its first value alone."""
    last = ""
    for row in settings:
        yield "" if row.node == last else row.node, row.name, row.value or "(empty)"
        last = row.node
