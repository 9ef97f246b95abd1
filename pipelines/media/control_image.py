"""Control images: loaded from a file, base64, a data URL or an http(s) URL, and resized to the video's size."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from weakref import WeakValueDictionary

from PIL import Image, ImageOps

from pipelines.errors import MediaError
from pipelines.files.confined import why_not_asked, why_outside
from pipelines.files.content import present, read_bytes
from pipelines.files.words import cannot_read
from pipelines.media.picture import opened
from pipelines.recipe import ControlImage, Resize

MAX_BYTES = 64 << 20
"""The largest file, local or downloaded."""

MAX_PIXELS = 64 << 20
"""The most pixels: 8192x8192. Pillow takes up to eight bytes per pixel while it converts to RGB."""

TIMEOUT_S = 30


def load(source: str, folder: Path) -> ControlImage:
    """Read a control image.

    `source` is an http(s) URL, a data URL, a path (relative to `folder`), or base64.
    Raises MediaError if it cannot be read or is not an image.
    """
    label, data = _fetch(source, folder)
    return from_bytes(data, label)


def from_bytes(data: bytes, source: str) -> ControlImage:
    """Make a ControlImage from an encoded image file. Raises MediaError if it does not decode.

    Equal files are decoded once and share their bytes: many cases start from one image.
    """
    file = hashlib.sha256(data).digest()
    known = _known.get(file)
    if known is not None:
        return known if known.source == source else dataclasses.replace(known, source=source)
    image = _decode(data, source)
    digest = hashlib.sha256(b"%dx%d" % image.size)
    digest.update(image.tobytes())
    sha256 = digest.hexdigest()
    made = ControlImage(source=source, data=data, sha256=sha256, width=image.width, height=image.height)
    _known[file] = made
    return made


_known: WeakValueDictionary[bytes, ControlImage] = WeakValueDictionary()
"""The control images in use, by the SHA-256 of their file."""


def resized(image: ControlImage, resize: Resize, width: int, height: int) -> Image.Image:
    """Return the RGB image that the pipeline is conditioned on, scaled by one of Pillow's filters."""
    picture = _decode(image.data, image.source)
    box = None
    if resize.crop == "center":
        scale = min(picture.width / width, picture.height / height)
        left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
    return picture.resize((width, height), Image.Resampling[resize.filter.upper()], box=box)


def upright(image: ControlImage) -> Image.Image:
    """Return the RGB image as ComfyUI's LoadImage does (a125cd84): turned and mirrored as its EXIF data say."""
    with opened(image.data, image.source, "a readable image", MAX_PIXELS) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def _decode(data: bytes, source: str) -> Image.Image:
    """Decode to RGB pixels. Like the trainer and the server, this ignores the EXIF orientation."""
    with opened(data, source, "a readable image", MAX_PIXELS) as image:
        return image.convert("RGB")


def _fetch(source: str, folder: Path) -> tuple[str, bytes]:
    if source.startswith(("http://", "https://")):
        return source, _download(source)
    if source.startswith("data:"):
        head, comma, body = source.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MediaError("control image: a data URL must have the form data:image/…;base64,…")
        return "data URL", _unbase64(body)
    data = local_file(source, folder)
    if data is not None:
        return source, data
    path = folder / source
    if path.suffix:  # base64 has no dot
        raise MediaError(f"control image {_short(source)} does not exist (looked at {_short(str(path))})")
    return "base64" if len(source) > 64 else f"base64 {source!r}", _unbase64(source)


def local_file(source: str, folder: Path) -> bytes | None:
    """Read a control image that `source` names by its path; None if `source` is not a path. Raises MediaError."""
    path = folder / source
    if source.startswith(("http://", "https://", "data:")) or not present(path) or path.is_dir():
        return None
    if (reason := why_outside(path)) is not None:
        raise MediaError(f"control image {_short(source)} {reason}")
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise MediaError(cannot_read(source, error)) from None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:60]}…"


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise MediaError(f"control image {text[:24]!r}… is neither an existing file, nor a URL, nor base64") from None


def _download(url: str) -> bytes:
    if (reason := why_not_asked()) is not None:
        raise MediaError(f"control image {_short(url)} {reason}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            data: bytes = reply.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise MediaError(f"{url}: could not be fetched: HTTP {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise MediaError(f"{url}: could not be fetched: {getattr(error, 'reason', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise MediaError(f"{url}: larger than {MAX_BYTES >> 20} MiB")
    return data
