"""The request of a case: written in the case, in a file of its own, or made of the preview's sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from parity.case.document import CaseDocument
from parity.case.keys import validate
from parity.case.posted import LocatedLora, Posted, find_loras, with_files
from pipelines.files.content import present
from pipelines.files.document import Document, read
from pipelines.recipe import Recipe
from pipelines.reference.inference import cannot_be_asked, request_of_preview
from pipelines.reference.request import Request, check_request


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRequest:
    """A request whose LoRA files are found, and the prompt of it that the case is about."""

    request: Request
    index: int
    """Its place among the request's prompts."""
    folder: Path
    """The folder that its paths are relative to."""
    loras: tuple[LocatedLora, ...]

    @property
    def local(self) -> Request:
        """The request with the paths that its LoRAs have on this machine."""
        return with_files(self.request, self.loras)

    @property
    def posted(self) -> Posted:
        """The request that a server is sent."""
        sent = tuple(lora.sent for lora in self.loras)
        return Posted(request=self.request, index=self.index, folder=self.folder, loras=sent)


def read_request(file: CaseDocument, preview: Recipe | None) -> CaseRequest:
    """The request of a case. Raises CaseError."""
    if file.keys.request is None:
        return _of_preview(file, preview)
    document, prefix, request = _written(file)
    _check(document, prefix, request, file)
    folder = document.path.parent
    loras = find_loras(document, prefix, request, folder, file.target, preview)
    index = _prompt(document, prefix, request, file.keys.preview.sample or 0)
    return CaseRequest(request=request, index=index, folder=folder, loras=tuple(loras))


def _of_preview(file: CaseDocument, preview: Recipe | None) -> CaseRequest:
    """The sample's own settings as a request."""
    document = file.document
    if preview is None:
        raise document.error(("request",), "is missing: without preview.config nothing else says what to generate")
    try:
        request = request_of_preview(preview)
    except ValidationError as error:
        raise document.error(("preview",), f"{cannot_be_asked(error)}; write a `request:`") from None
    loras = find_loras(document, None, request, file.folder, file.target, preview)
    return CaseRequest(request=request, index=0, folder=file.folder, loras=tuple(loras))


def _written(file: CaseDocument) -> tuple[Document, tuple[str, ...], Request]:
    """The document that holds the request, the key it stands under there, and the request."""
    written = file.keys.request
    if not isinstance(written, str):
        assert written is not None
        return file.document, ("request",), written
    path = file.folder / written
    if not written or not present(path):
        raise file.document.error(("request",), f"{written} does not exist")
    document = read(path)
    return document, (), validate(document, Request, ("request",))


def _check(document: Document, prefix: tuple[str, ...], request: Request, file: CaseDocument) -> None:
    """Raises CaseError for a request of another model, and for one that the server would refuse."""
    if request.model != file.model.id:
        raise document.error((*prefix, "model"), f"is {request.model}, but the case is about {file.model.id}")
    problem = check_request(request, file.model)
    if problem is not None:
        raise document.error((*prefix, *problem[0]), problem[1])


def _prompt(document: Document, prefix: tuple[str, ...], request: Request, sample: int) -> int:
    """The prompt that pairs with a sample: the only one with any sample, one of several with that of its index."""
    prompts = len(request.prompts)
    if 1 < prompts <= sample:
        raise document.error((*prefix, "prompts"), f"has {prompts} prompts, none for sample {sample}")
    return 0 if prompts == 1 else sample
