"""Image files opened with a bound on what they may unpack to. What Pillow raises on a damaged one, in one place."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from pipelines.errors import MediaError

_RAISED = (
    OSError,
    EOFError,
    SyntaxError,  # Pillow's word for a broken header
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""By Pillow 12's and 13's readers on damaged files, header and pixels."""


@contextmanager
def opened(data: bytes, name: str, kind: str, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose pixels are still to be read, inside the block, from an encoded file.

    Raises MediaError, which says that `name` is no `kind`, for a file that is damaged, there or inside the block, and
    for one of more than `max_pixels`: a few bytes can claim any size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the lower bound
            image = Image.open(io.BytesIO(data))
        with image:
            if image.width * image.height > max_pixels:
                raise MediaError(f"{name}: is {image.width}x{image.height}, more than the {max_pixels:,} pixels read")
            yield image
    except UnidentifiedImageError:
        raise MediaError(f"{name}: is not {kind} (of no kind Pillow knows)") from None
    except _RAISED as error:
        raise MediaError(f"{name}: is not {kind} ({str(error) or type(error).__name__})") from None
