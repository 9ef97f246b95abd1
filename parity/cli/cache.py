"""`parity cache`: list or remove the cached frames and encodings, which need not be generated again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from parity.cli.options import megabytes
from pipelines.errors import UsageError
from pipelines.files.words import plural, shorten

if TYPE_CHECKING:
    from parity.run.cache import Cache, Kept
    from parity.run.encodings import KeptEncoding


def add(parsers: Any) -> None:
    """Add `parity cache ls|prune`."""
    command = parsers.add_parser(
        "cache",
        help="list or remove cached frames and encoded prompts, which need not be made again",
        description="Generated frames are cached under a key made of recipe, weights, code, libraries and the "
        "environment that can change their bits; encoded texts and images likewise, so that no text encoder is loaded "
        "for a known prompt. They are in $WAN_PARITY_CACHE, or in wan-parity/frames in the user's "
        "cache folder; set the variable to an empty string to turn the cache off.",
        epilog="examples:\n  parity cache ls\n  parity cache prune --older-than 30\n",
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser(
        "ls",
        help="list cached generations, last used first",
        description="Lists the cached generations, last used first, with their size and the case they were "
        "generated for, then the number and size of the encoded texts and images.",
        epilog="examples:\n  parity cache ls\n",
    )
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run=list_kept)
    pruning = actions.add_parser(
        "prune",
        help="remove generations and encodings by age or total size",
        description="Removes cached generations, and encoded texts and images, that were not used for some days, or "
        "those used longest ago until the rest fits into a size. What was removed is made again when it is needed.",
        epilog="examples:\n  parity cache prune --older-than 30\n  parity cache prune --max-size 10000\n"
        "  parity cache prune --older-than 0\n",
    )
    pruning.add_argument(
        "--older-than", type=_days, metavar="DAYS", help="remove what was not used for DAYS days; 0: everything"
    )
    pruning.add_argument("--max-size", type=megabytes, metavar="MB", help="keep at most MB megabytes, those last used")
    pruning.add_argument("--json", action="store_true", help="print what was removed, and what is left, as JSON")
    pruning.set_defaults(run=prune)


def _days(text: str) -> timedelta:
    try:
        return timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be a number of days, e.g. 30, not {text!r}") from None


def list_kept(options: argparse.Namespace) -> int:
    """Print a table of the cached generations."""
    from parity.results.folders import cache_folder
    from parity.run.cache import Cache

    root = cache_folder()
    cache = Cache(root) if root is not None else None
    print(_json(cache) if options.json else _table(cache))
    return 0


def prune(options: argparse.Namespace) -> int:
    """Remove generations by age or size and print what is left."""
    from parity.results.folders import cache_folder
    from parity.run.cache import Cache

    if options.older_than is None and options.max_size is None:
        raise UsageError("cache prune: say what to remove: --older-than DAYS or --max-size MB")
    root = cache_folder()
    cache = Cache(root) if root is not None else None
    removed = cache.prune(older_than=options.older_than, max_bytes=options.max_size) if cache is not None else []
    print(_json(cache, len(removed)) if options.json else f"{len(removed)} removed\n{_table(cache)}")
    return 0


def _json(cache: Cache | None, removed: int = 0) -> str:
    """The same as the table; `folder` is null where the cache is off."""
    from parity.terminal.as_json import json_text

    frames = cache.entries() if cache is not None else []
    encodings = cache.encodings() if cache is not None else []
    return json_text(
        folder=cache.root if cache is not None else None,
        removed=removed,
        bytes=sum(kept.size for kept in cache.everything()) if cache is not None else 0,
        generations=[asdict(kept.entry) | _use(kept) for kept in frames],
        encodings=[{"kind": kept.kind, "given": kept.given} | _use(kept) for kept in encodings],
    )


def _use(kept: Kept | KeptEncoding) -> dict[str, Any]:
    return {"used": datetime.fromtimestamp(kept.used, UTC).isoformat(timespec="seconds"), "bytes": kept.size}


def _table(cache: Cache | None) -> str:
    """One line for each cached generation, then their number and size, and those of the encodings."""
    from parity.terminal.text import table

    if cache is None:
        return "the cache is off: WAN_PARITY_CACHE is empty"
    frames, encodings = cache.entries(), cache.encodings()
    lines = []
    if frames:
        rows = [("used", "size", "model", "frames", "generated for", "prompt")]
        for kept in frames:
            entry = kept.entry
            shape = f"{entry.frames} of {entry.width}x{entry.height}"
            used = datetime.fromtimestamp(kept.used, UTC).strftime("%Y-%m-%d %H:%M")
            rows.append((used, _size(kept.size), entry.model, shape, entry.case, shorten(entry.prompt, 40)))
        lines += [table(rows), f"{len(frames)} generations, {_total(frames)} in {cache.root}"]
    else:
        lines.append(f"no cached generations in {cache.root}")
    if encodings:
        number = plural(len(encodings), "encoding")
        lines.append(f"{number} of texts and images, {_total(encodings)}, so that no encoder is loaded for them")
    return "\n".join(lines)


def _total(kept: Sequence[Kept | KeptEncoding]) -> str:
    return _size(sum(one.size for one in kept))


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"
