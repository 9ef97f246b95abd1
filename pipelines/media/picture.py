"""Opens image files with a limit on their decoded size, and turns Pillow's exceptions into MediaError."""

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
    SyntaxError,  # what Pillow raises for a broken header
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""The exceptions that the readers of Pillow 12 and 13 raise for damaged files, in the header or the pixels."""


@contextmanager
def opened(data: bytes, name: str, kind: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open an encoded image file; its pixels are read inside the `with` block.

    Raises MediaError, which says that `name` is not `kind`, for a damaged file, also if the damage shows only inside
    the block, and for an image of more than `max_pixels`: a few bytes can claim any size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(io.BytesIO(data))
        with image:
            if image.width * image.height > max_pixels:
                raise MediaError(
                    f"{name}: is {image.width}x{image.height}, more than the limit of {max_pixels:,} pixels"
                )
            yield image
    except UnidentifiedImageError:
        raise MediaError(f"{name}: is not {kind} (Pillow does not know this format)") from None
    except _RAISED as error:
        raise MediaError(f"{name}: is not {kind} ({str(error) or type(error).__name__})") from None
