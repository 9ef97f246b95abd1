"""Cases: YAML files read into two recipes and a gate, without running a model."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parity.case.comfyui import CaseGraph, output_of, pipeline_keys, read_case_graph, recipe_of_settings, with_graph
from parity.case.confined import check_names, check_recipe
from parity.case.document import CaseDocument, case_document, read_case_file
from parity.case.graph import graph_of_case
from parity.case.keys import DEFAULT_TOLERANCE, CaseKeys
from parity.case.posted import Posted, notes_of
from parity.case.request import CaseRequest, read_request
from parity.case.select import select
from parity.case.target import NOTHING_GIVEN, Given, Target
from parity.results.folders import remember_hashes
from pipelines import catalog
from pipelines.aitoolkit.job import Job, read_job
from pipelines.aitoolkit.job_folder import JOB_CONFIGS, parse_video_name
from pipelines.aitoolkit.preview import assumed_recipe, preview_recipe
from pipelines.comfyui.metadata import FoundGraph
from pipelines.comfyui.settings import Settings
from pipelines.errors import CaseError, HubError, MediaError, UnexpectedError, UnreproducibleError, WeightsError
from pipelines.files.content import present, real_path
from pipelines.files.document import Document
from pipelines.files.words import listed, plural, words_of
from pipelines.graph import Graph
from pipelines.hub import find_source, why_not_found
from pipelines.recipe import Recipe
from pipelines.reference.inference import inference_recipe
from pipelines.reference.request import Request

DEMO = Path(catalog.__file__).parent.parent / "cases"
"""The embedded demo: beside `pipelines` in a checkout and in an installed wheel alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A preview, the recipe that generated it, the recipe a server would use, and what may differ."""

    id: str
    path: Path
    preview: Recipe
    inference: Recipe
    video: Path
    """The preview's file or folder."""
    tolerance: dict[str, float]
    """Gates by tolerance key, on pixels; empty: only `expect` decides."""
    expect: tuple[str, ...] | None
    tags: tuple[str, ...]
    job: Job | None
    """The job of the preview; None: the case names no config."""
    sample: int
    """Prompt index."""
    trigger: str | None
    """The trigger word, by the config or else by the request."""
    profile: str | None
    """The profile that `pipeline` names; None: it is a mapping of overrides."""
    token: str | None = field(default=None, repr=False)
    """The request's Hub token. Never written anywhere."""
    target: Target | None = None
    """The server that generates it; `inference` then says what is expected of it. None: this machine generates it."""
    posted: Posted | None = None
    """The request sent to the target; None for a case without a target and for a preview that cannot be reproduced."""
    output: Path | None = None
    """The video made elsewhere that is compared instead of generating; `inference` then says what is known of it."""
    comfyui: Settings | None = None
    """The settings of the ComfyUI graph behind `inference`; None: it has none."""
    found: FoundGraph | None = None
    """Where the graph was looked for, and what was there; None: nowhere."""
    unknown: tuple[str, ...] = ()
    """What decides pixels and neither `output` nor its graph says, one sentence each."""
    seconds_ratio: float | None = None
    """The gate on time: times the accepted baseline's seconds, at most; None: any time."""
    metrics: tuple[str, ...] = ()
    """Metrics that the case names: `vmaf`, or `lpips` for every frame."""

    @property
    def made_elsewhere(self) -> bool:
        """True if this machine does not generate the video that is compared."""
        return self.target is not None or self.output is not None

    @property
    def asked_metrics(self) -> frozenset[str]:
        """The metrics that the case names, or limits by a tolerance."""
        return frozenset((*self.metrics, *(key.partition("_")[0] for key in self.tolerance)))


def find_case_files(arguments: Sequence[Path]) -> list[Path]:
    """YAML files named, or found below folders named; without arguments the demo's.

    ai-toolkit job configs below a folder are not cases and are skipped. Raises CaseError if there are none.
    """
    files: list[Path] = []
    for argument in arguments or (DEMO,):
        if argument.is_dir():
            files += (path for path in sorted(argument.rglob("*.yaml")) if not _is_job_config(path))
        elif argument.exists():
            files.append(argument)
        else:
            raise CaseError(f"{argument}: no such case file or folder")
    if not files:
        raise CaseError(f"no *.yaml case below {', '.join(str(argument) for argument in arguments)}")
    return list(dict.fromkeys(files))


def is_job(path: Path) -> bool:
    """Whether a path is an ai-toolkit job's folder or config, and not cases."""
    if path.is_dir():
        return (path / "samples").is_dir() and any((path / name).is_file() for name in JOB_CONFIGS)
    return path.name in JOB_CONFIGS and (path.parent / "samples").is_dir()


def _is_job_config(path: Path) -> bool:
    """ai-toolkit's files are called config.yaml and begin with `job:`, a key no case has; a broken one has samples."""
    if path.name != "config.yaml":
        return False
    if (path.parent / "samples").is_dir():
        return True
    try:
        with (
            path.open("rb") if path.is_file() else io.BytesIO() as file
        ):  # a pipe is reported when it is read as a case
            return re.search(rb"^job:", file.read(1 << 16), re.MULTILINE) is not None
    except OSError:
        return False  # reported when it is read as a case


def load_cases(
    paths: Iterable[Path],
    given: Given = NOTHING_GIVEN,
    *,
    expression: str | None = None,
    tags: Sequence[str] = (),
) -> list[Case]:
    """Read cases, and build the recipes of those that are selected (`select`). `given`: the command line's target.

    Raises one CaseError that lists every mistake of every file, UsageError for a malformed expression. Of a file that
    is not selected, only mistakes in the file itself are noticed: its job, LoRA and checkpoint are not looked at.
    """
    cases, refused = load_reachable(paths, given, expression=expression, tags=tags)
    if refused:
        raise CaseError(*refused)
    return cases


def load_reachable(
    paths: Iterable[Path],
    given: Given = NOTHING_GIVEN,
    *,
    expression: str | None = None,
    tags: Sequence[str] = (),
) -> tuple[list[Case], list[str]]:
    """Like `load_cases`, but a source that the Hub does not give is no error: the others are read all the same.

    Returns the cases that could be read, and a message about each such source with the cases that need it.
    """
    remember_hashes()
    files, mistakes = _read_all(paths, given)
    cases: list[Case] = []
    refused: dict[str, tuple[str, list[Path]]] = {}
    try:
        selected = select(files, expression, tags)
    except CaseError:
        if not mistakes:
            raise
        selected = []
    for file in selected:
        path = file.document.path
        try:
            cases.append(_build_case(file))
        except HubError as error:
            refused.setdefault(error.source, (str(error), []))[1].append(path)
        except CaseError as error:
            mistakes += error.args
        except Exception as error:
            raise UnexpectedError(f"{path}: {words_of(error)}", error) from error
    messages = [
        f"{message}\n  {source} is needed by {plural(len(needed_by), 'case')}: {listed(needed_by, 4)}"
        for source, (message, needed_by) in refused.items()
    ]
    if mistakes:
        raise CaseError(*mistakes, *messages)
    return cases, messages


def _read_all(paths: Iterable[Path], given: Given) -> tuple[list[CaseDocument], list[str]]:
    """Read case files, each with an id of its own. Returns them and every mistake in a file that cannot be read."""
    files: list[CaseDocument] = []
    mistakes: list[str] = []
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            file = read_case_file(path, given)
        except CaseError as error:
            mistakes += error.args
            continue
        except Exception as error:
            raise UnexpectedError(f"{path}: {words_of(error)}", error) from error
        if file.id in seen:
            mistakes.append(f"{path}: id {file.id} is also that of {seen[file.id]}; give each case its own")
        seen[file.id] = path
        files.append(file)
    return files, mistakes


def load_case(path: Path, given: Given = NOTHING_GIVEN) -> Case:
    """Read one case and build both recipes. `given`: the command line's target.

    Raises CaseError for anything wrong in the case, its job config or its request, missing files included.
    """
    try:
        return _build_case(read_case_file(path, given))
    except HubError as error:
        raise CaseError(f"{path}: {error}") from None


def load_case_for(document: Document, video: Path) -> Case:
    """A case as it would be with a video made elsewhere as its `output`, or with the graph of a JSON file.

    Raises CaseError as `load_case`.
    """
    try:
        return _build_case(case_document(with_graph(document, video)))
    except HubError as error:
        raise CaseError(f"{document.path}: {error}") from None


def _build_case(file: CaseDocument) -> Case:
    """Build a case's recipes. Raises HubError for a checkpoint that cannot be had, CaseError for anything else."""
    try:
        check_names(file)
        case = _build(file)
        for recipe in (case.preview, case.inference):
            check_recipe(file, recipe)
        return case
    except HubError:
        raise
    except (MediaError, WeightsError, UnreproducibleError) as error:
        raise CaseError(f"{file.document.path}: {error}") from None


def _build(file: CaseDocument) -> Case:
    keys = file.keys
    _check_files(file)
    output = output_of(file)
    elsewhere = read_case_graph(file, output)
    checkpoint = _checkpoint(file)
    job = read_job(file.folder / keys.preview.config) if keys.preview.config is not None else None
    preview = _preview(file, job, checkpoint) if job is not None else None
    if preview is not None and keys.preview.unpairable is not None and output is None:
        # Never generated, so a request for a LoRA or an image that is gone need not be complete.
        return _case(file, job, preview, preview, keys.request if isinstance(keys.request, Request) else None, 0)
    if elsewhere.settings is not None:
        graph = graph_of_case(file, preview, job, checkpoint, elsewhere.settings)
        inference = recipe_of_settings(file, elsewhere, graph, preview, job)
        if keys.request is not None:
            note = "`request` is not used: the ComfyUI graph says what was asked for"
            inference = dataclasses.replace(inference, notes=(*inference.notes, note))
        preview = preview or _assumed_preview(file, inference)
        return _case(file, job, preview, inference, None, 0, elsewhere=elsewhere, output=output)
    if output is not None and preview is not None and not {"request", "pipeline"} & keys.model_fields_set:
        # Nothing says how the file was made, so nothing is assumed to differ; a search starts from the preview.
        unsaid = dataclasses.replace(preview, notes=(), obstacles=())
        return _case(file, job, preview, unsaid, None, 0, elsewhere=elsewhere, output=output)
    asked = read_request(file, preview)
    inference = _inference(file, asked, graph_of_case(file, preview, job, checkpoint))
    preview = preview or _assumed_preview(file, inference)
    posted = asked.posted if file.target is not None else None
    return _case(file, job, preview, inference, asked.request, asked.index, posted, elsewhere=elsewhere, output=output)


def _check_files(file: CaseDocument) -> None:
    """Raises CaseError for a config or video that does not exist."""
    for name in ("config", "video"):
        path = getattr(file.keys.preview, name)
        if path is not None and not present(file.folder / path):
            raise file.document.error(("preview", name), f"{path} does not exist")


def _checkpoint(file: CaseDocument) -> str | None:
    """The case's own checkpoint, as a folder or Hub id."""
    given = file.keys.checkpoint
    if given is None:
        return None
    source = find_source(given, file.folder)
    if source is None:
        raise file.document.error(("checkpoint",), f"{given} {why_not_found(given)}")
    return source


def _preview(file: CaseDocument, job: Job, checkpoint: str | None) -> Recipe:
    """The recipe of the preview, by its job config."""
    keys, folder = file.keys.preview, file.folder
    if keys.sample is None:
        raise file.document.error(("preview", "sample"), "is missing: which of the config's prompts is it?")
    try:
        return preview_recipe(
            job,
            keys.sample,
            model=file.model,
            checkpoint=checkpoint,
            toolkit=keys.toolkit,
            video=parse_video_name(Path(keys.video).name),
            lora=folder / keys.lora if keys.lora else None,
            control_image=real_path(folder / keys.control_image) if keys.control_image else None,
            unpairable=keys.unpairable,
            earlier_previews=keys.earlier_previews,
        )
    except CaseError as error:
        raise file.document.error(("preview",), str(error)) from None


def _assumed_preview(file: CaseDocument, inference: Recipe) -> Recipe:
    """The recipe of a preview whose config the case does not name."""
    unpairable = file.keys.preview.unpairable
    return dataclasses.replace(assumed_recipe(inference), obstacles=() if unpairable is None else (unpairable,))


def _inference(file: CaseDocument, asked: CaseRequest, graph: Graph) -> Recipe:
    """The recipe of the case's prompt, with what had to be assumed of its LoRAs."""
    request = asked.request if file.target is None else asked.local
    recipe = inference_recipe(request, asked.index, graph, model=file.model, folder=asked.folder)
    return dataclasses.replace(recipe, notes=(*recipe.notes, *notes_of(asked.loras)))


def _case(
    file: CaseDocument,
    job: Job | None,
    preview: Recipe,
    inference: Recipe,
    request: Request | None,
    index: int,
    posted: Posted | None = None,
    *,
    elsewhere: CaseGraph | None = None,
    output: Path | None = None,
) -> Case:
    keys = file.keys
    profile: str | None = None
    if isinstance(keys.pipeline, str):
        read = elsewhere is not None and elsewhere.settings is not None
        profile = "comfyui" if read else pipeline_keys(file).base
    return Case(
        id=file.id,
        path=file.document.path,
        preview=preview,
        inference=inference,
        video=file.folder / keys.preview.video,
        tolerance=_tolerance(keys),
        expect=None if keys.expect is None else tuple(keys.expect),
        tags=file.tags,
        job=job,
        sample=keys.preview.sample or 0,
        trigger=(job and job.trigger_word) or (request.trigger_of(index) if request is not None else None),
        profile=profile,
        token=request.hf_token if request is not None else None,
        target=file.target,
        posted=posted,
        output=output,
        comfyui=elsewhere.settings if elsewhere is not None else None,
        found=elsewhere.found if elsewhere is not None else None,
        unknown=elsewhere.unknown if elsewhere is not None else (),
        seconds_ratio=keys.tolerance.seconds_ratio if keys.tolerance else None,
        metrics=tuple(keys.metrics),
    )


def _tolerance(keys: CaseKeys) -> dict[str, float]:
    """The gates on pixels; a case that neither states one nor expects a difference has the default."""
    tolerance = keys.tolerance.model_dump(exclude_none=True, exclude={"seconds_ratio"}) if keys.tolerance else {}
    return tolerance if tolerance or keys.expect else dict(DEFAULT_TOLERANCE)
