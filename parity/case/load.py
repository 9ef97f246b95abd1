"""Cases: YAML files read into two recipes and a gate. Runs no model."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from parity.case.keys import CaseKeys, PipelineKeys, validate
from parity.case.posted import LoraHere, Posted, find_loras, notes_of, with_files
from parity.case.target import NOTHING_GIVEN, Given, Target, target_of
from pipelines import catalog
from pipelines.aitoolkit.graph import faithful_graph
from pipelines.aitoolkit.job import Job, read_job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import assumed_recipe, preview_recipe
from pipelines.catalog import Model, find_model
from pipelines.errors import CaseError, MediaError, UnreproducibleError, WeightsError
from pipelines.files.content import present, real_path
from pipelines.files.document import Document, read
from pipelines.graph import Graph
from pipelines.recipe import Conditioning, Precision, Recipe, Resize
from pipelines.reference.inference import cannot_be_asked, inference_recipe, reference_graph, request_of_preview
from pipelines.reference.request import Request, check_request
from pipelines.scheduler import flow_schedule

DEMO = Path(catalog.__file__).parent.parent / "cases"
"""The embedded demo: beside `pipelines` in a checkout and in an installed wheel alike."""

DEFAULT_TOLERANCE = {"psnr": 40.0, "ssim": 0.98}
"""Gate of a case that states no tolerance and expects no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A preview, the recipe that drew it, the recipe a server would use, and what may differ."""

    id: str
    path: Path
    preview: Recipe
    inference: Recipe
    video: Path
    """The preview's file or folder."""
    tolerance: dict[str, float]
    """Gates by tolerance key; empty: only `expect` decides."""
    expect: tuple[str, ...] | None
    tags: tuple[str, ...]
    job: Job | None
    """None: the case names no config."""
    sample: int
    """Prompt index."""
    trigger: str | None
    """The trigger word, by the config or else by the request."""
    profile: str | None
    """What `pipeline` names; None: a mapping of overrides."""
    token: str | None = field(default=None, repr=False)
    """The request's Hub token. Never written anywhere."""
    target: Target | None = None
    """The server that draws it, of which `inference` is then what is expected. None: it is drawn here."""
    posted: Posted | None = None
    """What is sent there; None: nothing, it is drawn here or cannot be repeated."""


def find_case_files(arguments: Sequence[Path]) -> list[Path]:
    """YAML files named, or found below folders named; without arguments the demo's.

    ai-toolkit job configs below a folder are not cases and are passed over. Raises CaseError if there are none.
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


def _is_job_config(path: Path) -> bool:
    """ai-toolkit's files are called config.yaml and begin with `job:`, a key no case has; a broken one has samples."""
    if path.name != "config.yaml":
        return False
    if (path.parent / "samples").is_dir():
        return True
    try:
        with path.open("rb") if path.is_file() else io.BytesIO() as file:  # a pipe is said when it is read as a case
            return re.search(rb"^job:", file.read(1 << 16), re.MULTILINE) is not None
    except OSError:
        return False  # said when it is read as a case


def load_cases(paths: Iterable[Path], given: Given = NOTHING_GIVEN) -> list[Case]:
    """Read cases. `given`: the command line's target. Raises one CaseError that lists every mistake of every file."""
    cases: list[Case] = []
    mistakes: list[str] = []
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            case = load_case(path, given)
        except CaseError as error:
            mistakes.append(str(error))
            continue
        if case.id in seen:
            mistakes.append(f"{path}: id {case.id} is also that of {seen[case.id]}; give each case its own")
        seen[case.id] = path
        cases.append(case)
    if mistakes:
        raise CaseError("\n".join(mistakes))
    return cases


def load_case(path: Path, given: Given = NOTHING_GIVEN) -> Case:
    """Read one case and build both recipes. `given`: the command line's target.

    Raises CaseError for anything wrong in the case, its job config or its request, missing files included.
    """
    document = read(path)
    keys = validate(document, CaseKeys)
    folder = path.parent
    try:
        model = find_model(keys.model)
    except CaseError as error:
        raise document.error(("model",), str(error)) from None
    try:
        return _build(document, keys, model, folder, _target(document, keys, folder, given))
    except (MediaError, WeightsError, UnreproducibleError) as error:
        raise CaseError(f"{path}: {error}") from None


def _target(document: Document, keys: CaseKeys, folder: Path, given: Given) -> Target | None:
    try:
        return target_of(keys.target, folder, given)
    except ValueError as error:
        raise document.error(("target",), str(error)) from None


def _build(document: Document, keys: CaseKeys, model: Model, folder: Path, target: Target | None) -> Case:
    for name in ("config", "video"):
        path = getattr(keys.preview, name)
        if path is not None and not present(folder / path):
            raise document.error(("preview", name), f"{path} does not exist")
    checkpoint = None
    if keys.checkpoint is not None:
        local = folder / keys.checkpoint
        checkpoint = str(local.resolve()) if local.is_dir() else keys.checkpoint
        if not local.is_dir() and (keys.checkpoint.count("/") != 1 or keys.checkpoint.startswith(".")):
            raise document.error(("checkpoint",), f"{keys.checkpoint} is neither a folder nor a Hub id")
    job = read_job(folder / keys.preview.config) if keys.preview.config is not None else None
    preview = _preview(document, keys, model, job, folder, checkpoint) if job is not None else None
    request, index = keys.request if isinstance(keys.request, Request) else None, 0
    posted: Posted | None = None
    if keys.preview.unpairable is not None and preview is not None:
        inference = preview  # never drawn: a request for a LoRA or an image that is gone need not be complete
    else:
        request, index, request_folder, loras = _request(document, keys, model, preview, folder, target)
        graph = _graph(document, keys, model, preview, job, checkpoint)
        asked = request if target is None else with_files(request, loras)
        inference = inference_recipe(asked, index, graph, model=model, folder=request_folder)
        inference = dataclasses.replace(inference, notes=(*inference.notes, *notes_of(loras)))
        if target is not None:
            sent = tuple(lora.sent for lora in loras)
            posted = Posted(request=request, index=index, folder=request_folder, loras=sent)
    if preview is None:
        obstacles = (keys.preview.unpairable,) if keys.preview.unpairable is not None else ()
        preview = dataclasses.replace(assumed_recipe(inference), obstacles=obstacles)
    tolerance = keys.tolerance.model_dump(exclude_none=True) if keys.tolerance else {}
    if not tolerance and not keys.expect:
        tolerance = dict(DEFAULT_TOLERANCE)
    return Case(
        id=keys.id or document.path.stem,
        path=document.path,
        preview=preview,
        inference=inference,
        video=folder / keys.preview.video,
        tolerance=tolerance,
        expect=None if keys.expect is None else tuple(keys.expect),
        tags=tuple(keys.tags),
        job=job,
        sample=keys.preview.sample or 0,
        trigger=(job and job.trigger_word) or _trigger(request, index),
        profile=keys.pipeline if isinstance(keys.pipeline, str) else None,
        token=request.hf_token if request is not None else None,
        target=target,
        posted=posted,
    )


def _trigger(request: Request | None, index: int) -> str | None:
    return (request.prompts[index].trigger_word or request.trigger_word) if request is not None else None


def _preview(
    document: Document, keys: CaseKeys, model: Model, job: Job, folder: Path, checkpoint: str | None
) -> Recipe:
    if keys.preview.sample is None:
        raise document.error(("preview", "sample"), "is missing: which of the config's prompts is it?")
    try:
        return preview_recipe(
            job,
            keys.preview.sample,
            model=model,
            checkpoint=checkpoint,
            toolkit=keys.preview.toolkit,
            video=parse_video_name(Path(keys.preview.video).name),
            lora=folder / keys.preview.lora if keys.preview.lora else None,
            control_image=real_path(folder / keys.preview.control_image) if keys.preview.control_image else None,
            unpairable=keys.preview.unpairable,
        )
    except CaseError as error:
        raise document.error(("preview",), str(error)) from None


def _request(
    document: Document, keys: CaseKeys, model: Model, preview: Recipe | None, folder: Path, target: Target | None
) -> tuple[Request, int, Path, list[LoraHere]]:
    """The request, the index of its prompt, the folder its paths are relative to, and its LoRAs."""
    if keys.request is None:
        if preview is None:
            raise document.error(("request",), "is missing: without preview.config nothing else says what to draw")
        try:
            request = request_of_preview(preview)
        except ValidationError as error:
            raise document.error(("preview",), f"{cannot_be_asked(error)}; write a `request:`") from None
        return request, 0, folder, find_loras(document, None, request, folder, target, preview)
    prefix: tuple[str, ...] = ("request",)
    if isinstance(keys.request, str):
        if not keys.request or not present(folder / keys.request):
            raise document.error(prefix, f"{keys.request} does not exist")
        document, folder, prefix = read(folder / keys.request), (folder / keys.request).parent, ()
        request = validate(document, Request, ("request",))
    else:
        request = keys.request
    if request.model != model.id:
        raise document.error((*prefix, "model"), f"is {request.model}, but the case is about {model.id}")
    problem = check_request(request, model)
    if problem is not None:
        raise document.error((*prefix, *problem[0]), problem[1])
    loras = find_loras(document, prefix, request, folder, target, preview)
    sample, prompts = keys.preview.sample or 0, len(request.prompts)
    if 1 < prompts <= sample:
        raise document.error((*prefix, "prompts"), f"has {prompts} prompts, none for sample {sample}")
    # A request of one prompt pairs with any sample; one of several pairs prompt i with sample i.
    return request, 0 if prompts == 1 else sample, folder, loras


def _graph(
    document: Document,
    keys: CaseKeys,
    model: Model,
    preview: Recipe | None,
    job: Job | None,
    checkpoint: str | None,
) -> Graph:
    overrides = PipelineKeys(base=keys.pipeline) if isinstance(keys.pipeline, str) else keys.pipeline
    if overrides.base == "faithful" and (preview is None or job is None):
        raise document.error(("pipeline",), "faithful repeats what preview.config says; name the config, or reference")
    if overrides.base == "faithful" and preview is not None and job is not None:
        graph = faithful_graph(preview, job, model)
    else:
        graph = reference_graph(model, checkpoint)
    changes: dict[str, object] = {}
    if overrides.scheduler is not None:
        scheduler = overrides.scheduler
        try:
            settings = scheduler.model_extra or {}
            changes["scheduler"] = flow_schedule(scheduler.family, scheduler.shift, **settings)
        except CaseError as error:
            raise document.error(("pipeline", "scheduler"), str(error)) from None
    if overrides.precision is not None:
        changes["precision"] = Precision(overrides.precision.dtype, overrides.precision.fp32_modules)
    if overrides.resize is not None:
        changes["resize"] = Resize(overrides.resize.filter, overrides.resize.crop)
    for name in ("boundary", "conditioning", "compiled"):
        only_i2v = name == "conditioning"
        fits = model.experts is not None and (model.needs_control_image or not only_i2v)
        if getattr(overrides, name) is not None and not fits:
            raise document.error(("pipeline", name), f"is for Wan 2.2{' I2V' if only_i2v else ''}, not for {model.id}")
    if overrides.conditioning is not None:
        how = overrides.conditioning
        changes["conditioning"] = Conditioning(latents=how.latents, noise=how.noise, rounded=how.rounded)
    for name in ("lora_application", "frame_rule", "vae_tiling", "boundary", "compiled"):
        value = getattr(overrides, name)
        if value is not None:
            changes[name] = value
    return dataclasses.replace(graph, **changes)  # type: ignore[arg-type]
