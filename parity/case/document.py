"""A case file as it is read: its document, its keys, and the model and target that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.case.keys import CaseKeys, validate
from parity.case.target import NOTHING_GIVEN, Given, Target, target_of
from pipelines.catalog import Model, find_model
from pipelines.errors import CaseError
from pipelines.files.confined import why_outside
from pipelines.files.document import Document, read


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDocument:
    """A case file whose keys are valid."""

    document: Document
    keys: CaseKeys
    model: Model
    target: Target | None

    @property
    def id(self) -> str:
        """The case's id: the key, or else the file's name."""
        return self.keys.id or self.document.path.stem

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.keys.tags)

    @property
    def folder(self) -> Path:
        """The folder that paths in the file are relative to."""
        return self.document.path.parent


def read_case_file(path: Path, given: Given = NOTHING_GIVEN) -> CaseDocument:
    """Read a case file. `given`: the command line's target. Raises CaseError with a line for each mistake."""
    if (reason := why_outside(path)) is not None:
        raise CaseError(f"{path}: {reason}")
    return case_document(read(path), given)


def case_document(document: Document, given: Given = NOTHING_GIVEN) -> CaseDocument:
    """Check the text of a case file. Raises CaseError as `read_case_file`."""
    keys = validate(document, CaseKeys)
    try:
        model = find_model(keys.model)
    except CaseError as error:
        raise document.error(("model",), str(error)) from None
    try:
        target = target_of(keys.target, document.path.parent, given)
    except ValueError as error:
        raise document.error(("target",), str(error)) from None
    return CaseDocument(document=document, keys=keys, model=model, target=target)
