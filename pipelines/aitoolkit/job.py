"""ai-toolkit job configs: what every prompt of a job asks for, as ai-toolkit itself reads them.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.aitoolkit.config_keys import notes_on_keys
from pipelines.files import strict_json
from pipelines.files.document import MAX_BYTES, Document, KeyPath, read
from pipelines.files.words import shorten
from pipelines.prompts import why_too_long, with_trigger
from pipelines.quantization import Quantization
from pipelines.recipe import Dtype, Expert

PROCESS: KeyPath = ("config", "process", 0)

# toolkit/config_modules.py: SampleConfig's defaults. `neg` has none that Wan survives.
SAMPLE_DEFAULTS: dict[str, Any] = {
    "width": 512,
    "height": 512,
    "guidance_scale": 7,
    "sample_steps": 20,
    "network_multiplier": 1,
    "num_frames": 1,
    "fps": 16,
}

# Inline flags (GenerateImageConfig._process_prompt_string). Flags that Wan does not read (p2, n2, gr, a, ref, ev,
# ctrl_idx …) still end the text before them.
_FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("neg", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "seed": ("seed", int),
    "l": ("guidance_scale", float),
    "cfg": ("guidance_scale", float),
    "s": ("sample_steps", int),
    "steps": ("sample_steps", int),
    "m": ("network_multiplier", float),
    "network_multiplier": ("network_multiplier", float),
    "frames": ("num_frames", int),
    "num_frames": ("num_frames", int),
    "fps": ("fps", int),
    "ctrl_img": ("ctrl_img", str),
}

# Flags that end the text before them and that Wan does not read; any other word after `--` is prose that is lost.
_OTHER_FLAGS = frozenset({"p2", "n2", "gr", "a", "ref", "ev", "extra_values", "ctrl_idx"})

# toolkit/train_tools.py: get_torch_dtype.
_DTYPES: dict[str, Dtype] = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "float16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float32": "float32",
    "float": "float32",
    "single": "float32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt of a job as ai-toolkit reads it: trigger, flags, defaults and seeds applied, sizes not yet."""

    prompt: str
    neg: str | None
    width: int
    height: int
    seed: int | None
    """The seed; None: ai-toolkit chooses one at random."""
    guidance_scale: float
    sample_steps: int
    num_frames: int
    fps: int
    network_multiplier: float
    ctrl_img: str | None
    format: str
    lost: str | None = None
    """The prose after a stray `--`, which ai-toolkit cut off; None: there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The parts of a job config that decide its previews."""

    document: Document
    name: str
    arch: str | None
    variant: str | None
    """The suffix that the UI adds to the arch, like 14b in wan21:14b."""
    experts: tuple[Expert, ...]
    """The experts of Wan 2.2 that the job trains, high noise first; empty: its model has one transformer."""
    checkpoint: str
    device: str | None
    """The device that the config names; without one, ai-toolkit takes a GPU where it finds one."""
    dtype: Dtype
    low_vram: bool
    vae_tiling: bool
    quantization: Quantization
    """What the config names: without the layers that are kept, which depend on the version, and the adapter's file."""
    recovery_adapter: str | None
    """The accuracy recovery adapter of a quantized transformer: a path, or owner/repository/file on the Hub."""
    layer_offloading: bool
    network_type: str | None
    pretrained_lora: str | None
    """The LoRA that training started from."""
    use_ema: bool
    save_dtype: str
    save_every: int
    """Steps; 0: only after training."""
    saves_kept: int
    has_first_sample: bool
    """Step 0 was generated from a section of its own, `first_sample`, before it was generated from `sample`."""
    trigger_word: str | None
    samples: tuple[Sample, ...]
    unlisted: Sample
    """The settings for a prompt that the config does not list."""
    notes: tuple[str, ...] = ()
    """The keys that may reach the pixels and are not read, and the values that ai-toolkit reads in a surprising way."""

    @property
    def folder(self) -> Path:
        return self.document.path.parent


def split_flags(text: str) -> tuple[str, dict[str, Any]]:
    """A prompt and its inline flags. The text is cut at every `--`, a stray one in prose too.

    Raises ValueError for a flag whose value does not parse, on which ai-toolkit itself stops.
    """
    head, *parts = text.strip().split("--")
    flags: dict[str, Any] = {}
    for part in parts:
        word = part.split(" ")[0].strip()
        content = part[len(word) :].strip()
        if word in _FLAGS:
            name, parse = _FLAGS[word]
            flags[name] = parse(content)
    return head.strip(), flags


def lost_prose(text: str) -> str | None:
    """What `split_flags` cuts off a prompt without a meaning: from the first `--` on that starts no flag."""
    parts = text.strip().split("--")
    for number, part in enumerate(parts[1:], 1):
        if part.split(" ")[0].strip() not in _FLAGS.keys() | _OTHER_FLAGS:
            return "--" + "--".join(parts[number:])
    return None


def _as_seed(value: Any) -> Any:
    """A seed as torch.manual_seed takes it: whole numbers as text or with a fraction of zero too."""
    if isinstance(value, bool) or not isinstance(value, (str, float)):
        return value
    try:
        return int(value)
    except (ValueError, OverflowError):
        return value


class _Reader:
    """Typed look-ups in a job config, with errors that name file, line and key."""

    def __init__(self, document: Document, root: KeyPath = ()) -> None:
        self.document = document
        self.root = root
        value = document.data
        for part in root:
            value = value[part]
        self.value: dict[str, Any] = value

    def flag(self, key: str, default: bool = False) -> bool:
        """A switch as ai-toolkit reads it, by Python's truth: null and 0 are off, 1 and any text are on."""
        return bool(self.value.get(key, default))

    def get(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.value.get(key, default)
        if value is default:
            return default
        if kind is int and key == "seed" and not self.value.get("walk_seed"):
            value = _as_seed(value)
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kind):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.document.error((*self.root, key), f"must be {names}, is {value!r}")
        if isinstance(value, str) and "${" in value:
            raise self.document.error(
                (*self.root, key),
                "names an environment variable whose value at training is unknown; "
                "use the config.yaml that ai-toolkit wrote into the job's output folder",
            )
        return value

    def section(self, key: str) -> _Reader:
        if self.get(key, dict, None) is None:
            return _Reader(dataclasses.replace(self.document, data={}), ())
        return _Reader(self.document, (*self.root, key))


def read_job(path: Path) -> Job:
    """Read an ai-toolkit job config. Raises CaseError for what ai-toolkit itself would refuse."""
    document = _fill_name_tags(read(path, duplicate_keys=True))
    process = _Reader(document, PROCESS)
    model, train, sample = process.section("model"), process.section("train"), process.section("sample")
    if not sample.root:
        raise document.error(PROCESS, "has no `sample` section, so it generates no previews")
    dtype = train.get("dtype", str, "fp32")
    if dtype not in _DTYPES:
        raise document.error((*PROCESS, "train", "dtype"), f"{dtype!r} is not a dtype ai-toolkit trains Wan in")
    trigger_word = process.get("trigger_word", str, None)
    if (reason := why_too_long(trigger_word or "")) is not None:
        raise document.error((*PROCESS, "trigger_word"), reason)
    network, save = process.section("network"), process.section("save")
    quantization, adapter = _quantization(model)
    arch = model.get("arch", str, None)
    name_or_path = model.get("name_or_path", str, None)
    if name_or_path is None:
        raise document.error((*PROCESS, "model"), "has no name_or_path")
    return Job(
        document=document,
        name=document.data["config"]["name"],
        arch=arch.split(":")[0] if arch else None,  # the UI writes wan21:14b; the tag is dropped
        variant=arch.partition(":")[2] or None if arch else None,
        experts=_experts(arch, model),
        checkpoint=name_or_path,
        device=process.get("device", str, None),
        dtype=_DTYPES[dtype],
        low_vram=model.flag("low_vram"),
        vae_tiling=model.section("model_kwargs").flag("vae_tiling"),
        quantization=quantization,
        recovery_adapter=adapter,
        layer_offloading=_offloads_layers(model),
        network_type=network.get("type", str, "lora").lower() if process.value.get("network") is not None else None,
        pretrained_lora=str(network.value.get("pretrained_lora_path") or "") or None,
        use_ema=train.section("ema_config").flag("use_ema"),
        save_dtype=save.get("dtype", str, "float16"),
        save_every=_count(save.value.get("save_every", 1000)),
        saves_kept=_count(save.value.get("max_step_saves_to_keep", 5)),
        has_first_sample=process.value.get("first_sample") is not None,
        trigger_word=trigger_word,
        samples=_read_samples(sample, trigger_word),
        unlisted=_read_sample(
            _Reader(dataclasses.replace(document, data={})), sample, None, sample.get("seed", int, 0)
        ),
        notes=(
            *notes_on_keys(process.value, len(document.data["config"]["process"])),
            *_words_as_switches(process.value),
        ),
    )


def _quantization(model: _Reader) -> tuple[Quantization, str | None]:
    """What is quantized by which qtype, and the adapter (ModelConfig in toolkit/config_modules.py).

    The Wan classes quantize the text encoder with `qtype` too: `qtype_te` is never read.
    """
    quantize = model.flag("quantize")
    qtype = "qfloat8" if model.value.get("qtype", "") is None and not quantize else model.get("qtype", str, "qfloat8")
    if qtype == "qfloat8" and _offloads_layers(model):
        qtype = "float8"
    adapter = model.get("accuracy_recovery_adapter", str, None)
    if "|" in qtype:
        qtype, _, adapter = qtype.partition("|")
        if "|" in adapter:
            raise model.document.error((*model.root, "qtype"), "has more than one |; ai-toolkit stops on it")
    found = Quantization(
        transformer=qtype if quantize else None,
        text_encoder=qtype if model.flag("quantize_te", quantize) else None,
    )
    return found, adapter if quantize else None


def _offloads_layers(model: _Reader) -> bool:
    """`layer_offloading`, whose older name, `auto_memory`, is its default."""
    return model.flag("layer_offloading", model.flag("auto_memory"))


def _words_as_switches(process: Mapping[str, Any]) -> list[str]:
    """A note for each text where a switch belongs: Python takes any text, `"false"` too, as true."""
    sections = ((name, process.get(name)) for name in ("model", "sample"))
    return [
        f"{name}.{key} is the text {value!r}: ai-toolkit takes any text as true"
        for name, section in sections
        if isinstance(section, dict)
        for key, value in section.items()
        if key in _SWITCHES and isinstance(value, str) and value.lower() in ("false", "no", "off", "0", "none")
    ]


_SWITCHES = ("low_vram", "quantize", "quantize_te", "layer_offloading", "auto_memory", "walk_seed")


def _experts(arch: str | None, model: _Reader) -> tuple[Expert, ...]:
    """`model_kwargs.train_high_noise` and `train_low_noise` (wan22_14b_model.py); one at least is trained."""
    if arch is None or not arch.startswith("wan22_14b"):
        return ()
    kwargs = model.section("model_kwargs")
    both: tuple[Expert, ...] = ("high", "low")
    experts = tuple(expert for expert in both if kwargs.flag(f"train_{expert}_noise", True))
    if not experts:
        raise model.document.error((*model.root, "model_kwargs"), "trains neither expert; ai-toolkit stops on it")
    return experts


def _fill_name_tags(document: Document) -> Document:
    """Replace `[name]` by the job's name everywhere, as ai-toolkit does before it reads anything else."""
    try:
        name = document.data["config"]["name"]
        process = document.data["config"]["process"][0]
    except (KeyError, TypeError, IndexError):
        raise document.error(
            (), "is not an ai-toolkit job config: config.name or config.process[0] is missing"
        ) from None
    if not isinstance(name, str) or not isinstance(process, dict):
        raise document.error(("config",), "name must be text and process a list of sections")
    text = json.dumps(document.data)
    count = text.count("[name]")
    if count * len(name) > MAX_BYTES:
        message = f"has {len(name)} characters, which ai-toolkit puts in place of each of {count} [name]; shorten it"
        raise document.error(("config", "name"), message)
    try:
        data = strict_json.loads(text.replace("[name]", name), constants=True)  # unescaped, as ai-toolkit does it
        return dataclasses.replace(document, data=data)
    except ValueError:
        raise document.error(
            ("config", "name"), f"{shorten(repr(name), 100)} breaks ai-toolkit's [name] tags; ai-toolkit stops on it"
        ) from None


def _read_samples(sample: _Reader, trigger: str | None) -> tuple[Sample, ...]:
    start_seed = sample.get("seed", int, 0)
    walk_seed = sample.flag("walk_seed")
    listed = "samples" if "samples" in sample.value else "prompts"
    items = sample.get(listed, list, [])
    samples = []
    running_seed = start_seed
    for i, item in enumerate(items):
        where = (*sample.root, listed, i)
        if listed == "prompts":
            item = {"prompt": item}
        if not isinstance(item, dict) or not isinstance(item.get("prompt"), str):
            raise sample.document.error(
                where, f"must be {'text' if listed == 'prompts' else 'a mapping with a prompt'}"
            )
        own = _Reader(dataclasses.replace(sample.document, data=item), ())
        own.root = where
        seed = own.get("seed", int, None)
        if walk_seed:
            running_seed = start_seed + i
        if seed is not None:
            running_seed = seed  # and stays for the following prompts unless walk_seed moves it
        samples.append(_read_sample(own, sample, trigger, running_seed))
    return tuple(samples)


def _read_sample(own: _Reader, sample: _Reader, trigger: str | None, seed: int) -> Sample:
    text: str = own.get("prompt", str, "")
    try:
        text = with_trigger(text, trigger)
    except ValueError as error:
        raise own.document.error((*own.root, "prompt"), str(error)) from None
    try:
        prompt, flags = split_flags(text)
    except ValueError as error:
        raise own.document.error((*own.root, "prompt"), f"inline flag: {error}; ai-toolkit stops on it") from None

    def value(key: str, kind: type | tuple[type, ...]) -> Any:
        if key in flags:
            return flags[key]
        return own.get(key, kind, sample.get(key, kind, SAMPLE_DEFAULTS.get(key)))

    number = (int, float)
    # A random seed is chosen before the flags are read, so only `seed: -1` is random; `--seed -1` is a seed like any.
    chosen_seed = flags.get("seed", None if seed == -1 else seed)
    negative = flags.get("neg", own.value.get("neg", sample.value.get("neg")))
    if isinstance(negative, str) and (reason := why_too_long(negative)) is not None:
        raise own.document.error((*(own if "neg" in own.value else sample).root, "neg"), reason)
    return Sample(
        prompt=prompt,
        neg=negative if isinstance(negative, str) else None,
        width=value("width", int),
        height=value("height", int),
        seed=chosen_seed,
        guidance_scale=float(value("guidance_scale", number)),
        sample_steps=value("sample_steps", int),
        num_frames=value("num_frames", int),
        fps=value("fps", int),
        network_multiplier=_multiplier(value("network_multiplier", (int, float, str))),
        ctrl_img=flags.get("ctrl_img", own.get("ctrl_img", str, None)),
        format=sample.get("format", str, "jpg"),
        lost=lost_prose(text),
    )


def _count(value: Any) -> int:
    """A number that decides no pixel: anything else counts as 0 and is no error."""
    return value if isinstance(value, int) else 0


def _multiplier(value: float | str) -> float:
    """A LoRA scale; like ai-toolkit, 1.0 for text that is not a number."""
    try:
        return float(value)
    except ValueError:
        return 1.0
