"""Fetches the inputs that a request refers to, control images and LoRA files, and checks them before any other use."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from parity.server.errors import ApiError
from parity.server.fetch import FetchError, Resolve, Rules, fetch, system_resolve
from parity.server.lora_root import find, is_url
from parity.server.settings import Settings
from pipelines.catalog import Model
from pipelines.errors import MediaError, WeightsError
from pipelines.reference.request import LoraItem, PromptItem, Request

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that are accepted. Pillow knows more, and some of those start other programs."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Fetches and checks the files of a request."""

    settings: Settings
    resolve: Resolve = system_resolve

    def fetch(self, request: Request, model: Model, folder: Path, stopped: Callable[[], None]) -> Request:
        """Return the request with absolute LoRA paths and with control images as data URLs.

        Downloads go into `folder`, which the caller removes. `stopped` raises to end a download.
        Raises MediaError and WeightsError.
        """
        loras = [
            item.model_copy(update={"path": str(self._lora(item, folder / f"lora_{i}.safetensors", stopped))})
            for i, item in enumerate(request.loras)
        ]
        prompts = request.prompts
        if model.takes_control_image:  # the server ignores them for other models
            prompts = [self._with_image(item, stopped) if item.control_images() else item for item in prompts]
        return request.model_copy(update={"loras": loras, "prompts": prompts})

    def _lora(self, item: LoraItem, target: Path, stopped: Callable[[], None]) -> Path:
        if not is_url(item.path):
            try:
                return find(self.settings.lora_root, item.path)
            except ApiError as error:  # it existed when the request was accepted
                raise WeightsError(f"{item.path}: {error}") from None
        limits = self.settings.limits
        rules = Rules(max_bytes=limits.lora, seconds=limits.lora_seconds, allowed_hosts=self.settings.allowed_hosts)
        with target.open("wb") as file:
            fetch(item.path, file, rules, stopped=stopped, resolve=self.resolve)
        with target.open("rb") as file:
            start = file.read(64)
        if start[8:9] != b"{":
            page = start.lstrip()[:1] == b"<"
            hint = (
                "a web page; the Hub's URL of a file contains /resolve/, not /blob/"
                if page
                else "not a safetensors file"
            )
            raise WeightsError(f"the LoRA's URL returned {hint}")
        return target

    def _with_image(self, item: PromptItem, stopped: Callable[[], None]) -> PromptItem:
        data = self._image(item.control_images()[0], stopped)
        check_image(data, self.settings.limits.pixels)
        url = "data:image;base64," + base64.b64encode(data).decode()
        # As a data URL, no later code can mistake it for a path on this machine.
        return item.model_copy(update={"ctrl_img": url, "ctrl_img_1": None, "ctrl_img_2": None, "ctrl_img_3": None})

    def _image(self, source: str, stopped: Callable[[], None]) -> bytes:
        limits = self.settings.limits
        if source.startswith("http"):  # the reference server's test
            rules = Rules(
                max_bytes=limits.image, seconds=limits.image_seconds, allowed_hosts=self.settings.allowed_hosts
            )
            out = io.BytesIO()
            fetch(source, out, rules, stopped=stopped, resolve=self.resolve)
            return out.getvalue()
        text = source.partition(",")[2] if source.startswith("data:") else source
        if len(text) * 3 // 4 > limits.image:
            raise MediaError(f"ctrl_img: larger than {limits.image / (1 << 20):.3g} MiB")
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise MediaError("ctrl_img: neither an http(s) URL nor base64") from None


def check_image(data: bytes, max_pixels: int) -> None:
    """Raise MediaError for data that is not an image of a usual format, or has too many pixels, before decoding it."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise MediaError(f"ctrl_img: not an image in a supported format ({', '.join(_FORMATS)})") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"ctrl_img: not a readable image ({error})") from None
    if width * height > max_pixels:
        raise MediaError(f"ctrl_img: {width}x{height} has more than {max_pixels / 1e6:g} million pixels")


__all__ = ["FetchError", "Inputs", "check_image"]
