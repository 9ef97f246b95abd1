"""What `parity cache` shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from parity.cache import Kept
from parity.terminal.text import table


def cache_text(root: Path | None, entries: Sequence[Kept]) -> str:
    """A table of drawings, their number and size."""
    if root is None:
        return "nothing is kept: WAN_PARITY_CACHE is empty"
    if not entries:
        return f"nothing is kept in {root}"
    rows = [("used", "size", "model", "frames", "drawn for", "prompt")]
    for kept in entries:
        entry = kept.entry
        shape = f"{entry.frames} of {entry.width}x{entry.height}"
        used = datetime.fromtimestamp(kept.used, UTC).strftime("%Y-%m-%d %H:%M")
        prompt = entry.prompt if len(entry.prompt) <= 40 else entry.prompt[:39] + "…"
        rows.append((used, _size(kept.size), entry.model, shape, entry.case, prompt))
    total = _size(sum(kept.size for kept in entries))
    return f"{table(rows)}\n{len(entries)} drawings, {total} in {root}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"
