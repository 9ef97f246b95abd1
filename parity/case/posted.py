"""The request that a server is sent for a case: as written, with its files named so that the server finds them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from parity.case.target import Target
from pipelines.files.content import present, real_path
from pipelines.files.document import Document
from pipelines.media.control_image import local_file
from pipelines.recipe import Recipe
from pipelines.reference.request import Request

_IMAGES = ("ctrl_img", "ctrl_img_1", "ctrl_img_2", "ctrl_img_3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """The whole request behind a case: the server generates its other prompts too."""

    request: Request = field(repr=False)
    index: int
    """The case's prompt."""
    folder: Path
    """The folder on this machine that its paths are relative to."""
    loras: tuple[str, ...]
    """The LoRA paths that are sent to the server."""

    def body(self) -> dict[str, Any]:
        """The JSON body of the API, without what the request leaves out: the server's defaults are part of the test.

        Raises MediaError for a control image that cannot be read.
        """
        body = self.request.model_dump(exclude_none=True, exclude_unset=True)
        for item, path in zip(body["loras"], self.loras, strict=True):
            item["path"] = path
        for item in body["prompts"]:
            for name in _IMAGES:
                data = local_file(item[name], self.folder) if name in item else None
                if data is not None:
                    item[name] = base64.b64encode(data).decode()
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedLora:
    """A LoRA of a request: its file on this machine, and the path that is sent."""

    file: Path
    sent: str
    note: str | None = None
    """An assumption that had to be made."""


def find_loras(
    document: Document,
    prefix: tuple[str, ...] | None,
    request: Request,
    folder: Path,
    target: Target | None,
    preview: Recipe | None,
) -> list[LocatedLora]:
    """The request's LoRA files on this machine, and the paths that are sent to a target.

    `prefix`: where the request stands in `document`; None: it was made from the sample. Raises CaseError.
    """
    found = []
    for i, lora in enumerate(request.loras):
        where: tuple[str | int, ...] = ("preview",) if prefix is None else (*prefix, "loras", i, "path")
        file = folder / lora.path
        if target is None:
            if not present(file) or file.is_dir():
                raise document.error(where, f"LORA_NOT_FOUND: {lora.path} does not exist")
            found.append(LocatedLora(file=file, sent=lora.path))
            continue
        try:
            lora_file = _find(lora.path, folder, target, preview, derived=prefix is None)
        except ValueError as error:
            raise document.error(where, str(error)) from None
        if lora_file is None:
            hint = "name the server's LoRA root as this machine sees it (--target-lora-root, or target.lora_root)"
            raise document.error(
                where, f"{lora.path} is not on this machine, so what the server loads is unknown; {hint}"
            )
        found.append(lora_file)
    return found


def with_files(request: Request, loras: Sequence[LocatedLora]) -> Request:
    """The request with the paths that its LoRAs have on this machine."""
    pairs = zip(request.loras, loras, strict=True)
    local = [item.model_copy(update={"path": str(real_path(lora.file))}) for item, lora in pairs]
    return request.model_copy(update={"loras": local})


def _find(path: str, folder: Path, target: Target, preview: Recipe | None, *, derived: bool) -> LocatedLora | None:
    """The file behind a request's LoRA path: as the request means it, or below the target's LoRA root.

    A LoRA that is not on this machine is assumed to be the preview's file of that name. None: there is no such file,
    so what the server would load is unknown. Raises ValueError for a file outside the LoRA root.
    """
    root = target.lora_root
    for base in (folder, *([root] if root is not None else [])):
        file = base / path
        if present(file) and file.is_file():
            return LocatedLora(file=file, sent=_sent(path, real_path(file), root, derived))
    name = PurePosixPath(urlsplit(path).path if "://" in path else path).name
    for known in preview.lora_files if preview is not None else ():
        if known.path.name == name:
            note = f"the server's LoRA {name} is not on this machine: assumed to be the preview's file of that name"
            return LocatedLora(file=known.path, sent=path, note=note)
    return None


def _sent(path: str, file: Path, root: Path | None, derived: bool) -> str:
    if root is not None:
        try:
            return file.relative_to(real_path(root)).as_posix()
        except ValueError:
            raise ValueError(f"{file} is not in the target's LoRA root {root}, so the server cannot find it") from None
    # ai-toolkit's output folder, which holds a folder a job, is the usual LoRA root.
    return f"{file.parent.name}/{file.name}" if derived else path


def notes_of(loras: Sequence[LocatedLora]) -> tuple[str, ...]:
    """The assumptions that had to be made about LoRAs."""
    return tuple(lora.note for lora in loras if lora.note is not None)
