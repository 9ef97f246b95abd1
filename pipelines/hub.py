"""Sources of weights: a folder on this machine, or a Hub id that becomes a folder."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from pipelines.catalog import published
from pipelines.downloads import interruptible, offline, why_not_fetched
from pipelines.errors import HubError, WeightsError
from pipelines.files.confined import VARIABLE, confinement, why_outside
from pipelines.files.content import present, real_path

# What the Wan pipelines read. The repositories hold nothing else of size, but mirrors may.
PIPELINE_FILES = ("*.json", "*/*.json", "*/*.safetensors", "tokenizer/*")

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


_FOLDERS = (
    *("model", "models", "checkpoint", "checkpoints", "ckpt", "ckpts", "weights", "output", "outputs"),
    *("diffusion_models", "unet", "data", "workspace", "content", "home", "mnt", "root", "users"),
)
"""The first part of a path, in lower case: `models/Wan2.1-T2V` is a folder of somebody's, not a Hub id."""

_FILES = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


def is_hub_id(source: str) -> bool:
    """True for a name in the form of a Hub id, `owner/name`. A folder of that name takes precedence over it.

    A name that begins like a path of folders, or ends like a file, is none.
    """
    named_like_a_path = source.partition("/")[0].lower() in _FOLDERS or source.lower().endswith(_FILES)
    return _HUB_ID.fullmatch(source) is not None and not named_like_a_path


def why_not_found(given: str) -> str:
    """The reason why `find_source` finds nothing for a name, as a clause without a subject."""
    if given.lower().endswith(_FILES):
        return "is a single file; only folders in diffusers layout can be loaded"
    if re.match(r"[A-Za-z]:[\\/]", given) or "\\" in given:
        return "is a path on a Windows machine, not on this one"
    if "/" in given:
        return "is a path, and no folder on this machine"
    return "is neither a folder on this machine nor a Hub id (owner/name)"


def why_unusable(source: str) -> str | None:
    """The reason why the weights of a source (`find_source`) cannot be loaded, known without loading; None: none.

    Looks at names and folders, never at the network.
    """
    if is_folder(source):
        has = any(present(Path(source) / name) for name in ("model_index.json", "transformer"))
        return None if has else f"{source} is no checkpoint in diffusers layout: no model_index.json, no transformer/"
    if re.search("comfyui|repackaged|gguf", source, re.IGNORECASE):
        return f"{source} holds single files for ComfyUI; only repositories in diffusers layout can be loaded"
    return None


def why_offline(source: str) -> str | None:
    """The reason why a Hub id cannot be fetched on this machine as it is set up; None: none is known."""
    if is_hub_id(source) and not is_folder(source) and offline():
        from huggingface_hub import try_to_load_from_cache

        files = ("model_index.json", "config.json", "transformer/config.json", "text_encoder/config.json")
        if not any(isinstance(try_to_load_from_cache(source, name), str) for name in files):
            return f"{source} is not in the Hub's cache, and HF_HUB_OFFLINE is set"
    return None


def find_source(given: str, folder: Path = Path()) -> str | None:
    """The source that a user names: a folder's absolute path, or the Hub id; None for what is neither.

    `folder`: the folder that a relative path is relative to.
    """
    local = folder / given
    if is_folder(str(local)):
        return str(local.resolve())
    return given if is_hub_id(given) else None


def place_of(source: str) -> str:
    """A source in its one spelling: a folder's absolute path without links, or the Hub id as it is."""
    if is_hub_id(source) and not is_folder(source):
        return source
    try:
        return str(real_path(Path(source)))
    except ValueError:  # a NUL byte
        return source


def folder_of(source: str, *, token: str | None = None, only: Sequence[str] | None = None) -> Path:
    """The local folder of a checkpoint, downloaded or taken from the Hub's cache if `source` is a Hub id.

    `token`: a Hub token; without one, HF_TOKEN and the Hub's own login are used. `only`: patterns of files to fetch.
    Raises WeightsError if the folder cannot be had, or must not be (`pipelines/files/confined.py`); HubError if that is
    the Hub's answer. An answer holds for a minute: every case of a run would ask again, and wait for a Hub that is slow
    or away.
    """
    if is_folder(source):
        if (reason := why_outside(Path(source))) is not None:
            raise WeightsError(f"checkpoint {source} {reason}")
        return Path(source)
    if not is_hub_id(source):
        raise WeightsError(f"checkpoint {source} is neither a folder on this machine nor a Hub id (owner/name)")
    if confinement() is not None and source not in published():
        raise WeightsError(
            f"checkpoint {source} is none of the catalogue's; with ${VARIABLE} set, no other is downloaded"
        )
    now, files = time.monotonic(), tuple(only or PIPELINE_FILES)
    asked, message = _failures.get((source, token), (-_ASK_AGAIN_S, ""))
    if now - asked < _ASK_AGAIN_S:
        raise HubError(message, source)
    asked, folder = _folders.get((source, token, files), (-_ASK_AGAIN_S, Path()))
    if now - asked < _ASK_AGAIN_S and folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        patterns = list(files)
        folder = Path(interruptible(lambda: snapshot_download(source, token=token, allow_patterns=patterns)))
    except Exception as error:  # the Hub's own, OSError, ValueError, and those of the HTTP client it uses
        message = f"checkpoint {source} could not be fetched from the Hub: {why_not_fetched(error)}"
        _failures[source, token] = time.monotonic(), message
        raise HubError(message, source) from None
    _folders[source, token, files] = time.monotonic(), folder
    return folder


_ASK_AGAIN_S = 60.0
_failures: dict[tuple[str, str | None], tuple[float, str]] = {}
"""When a source could not be fetched, and the message about it."""
_folders: dict[tuple[str, str | None, tuple[str, ...]], tuple[float, Path]] = {}
"""When these files of a source were fetched, or found in the cache, and where they are."""


def forget_answers() -> None:
    """Ask the Hub again, for what it could not give and for what it gave."""
    _failures.clear()
    _folders.clear()


def is_folder(place: str) -> bool:
    """True for a folder on this machine, whatever its name."""
    return present(Path(place)) and Path(place).is_dir()
