"""Where a checkpoint lies: a folder, or a Hub id that becomes a folder."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import WeightsError

# What the Wan pipelines read. The repositories hold nothing else of size, but mirrors may.
_PATTERNS = ["*.json", "*/*.json", "*/*.safetensors", "tokenizer/*"]


def folder_of(source: str, *, token: str | None = None, only: list[str] | None = None) -> Path:
    """The local folder of a checkpoint, downloaded or taken from the Hub's cache if `source` is a Hub id.

    `token`: a Hub token; without one, HF_TOKEN and the Hub's own login are used. `only`: file patterns to fetch.
    Raises WeightsError if it cannot be had.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.count("/") != 1:
        raise WeightsError(f"checkpoint {source} is neither a folder here nor a Hub id (owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(source, token=token, allow_patterns=only or _PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"checkpoint {source} could not be fetched from the Hub: {reason}\n"
            "  set HF_TOKEN if it is gated, or point `checkpoint:` in the case to a local copy"
        ) from None
