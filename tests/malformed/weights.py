"""Malformed LoRA files and checkpoints."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.malformed.inputs import (
    Damage,
    Input,
    Target,
    bytes_of,
    cuts,
    instead,
    no_file,
    no_text,
    put,
    scattered_bits,
)
from tests.malformed.values import Raw, remove, set_to

_LORA = "job/tiny_t2v.safetensors"
_RUN = ("--out", "out", "--no-html")
LORA = Target(kind="LoRA safetensors", path=_LORA, command=("plan", "plain.yaml"))
MERGED = Target(kind="LoRA safetensors", path=_LORA, command=("run", "merged.yaml", *_RUN), torch=True)
ADAPTER = Target(kind="LoRA safetensors", path=_LORA, command=("run", "plain.yaml", *_RUN), torch=True)
IMPORTED = Target(kind="LoRA safetensors", path=_LORA, command=("import", "job", "--out", "out"))

Header = dict[str, Any]


def checkpoint_file(name: str) -> Target:
    command = ("run", "plain.yaml", *_RUN)
    return Target(kind="checkpoint", path=f"model_t2v/{name}", command=command, torch=True)


def lora_inputs(folder: Path) -> Iterator[Input]:
    del folder
    yield from no_file(LORA)
    yield from cuts(LORA, 0.02, 0.06, 5, 50, 99)
    yield from scattered_bits(LORA, 10)
    yield from headers(LORA)
    yield LORA.input("a pickle", instead(b"\x80\x02}q\x00."))
    yield LORA.input("a zip", instead(b"PK\x03\x04" + bytes(100)))
    yield LORA.input("random bytes", instead(bytes(range(256)) * 64))
    yield LORA.input("a page of HTML", instead(b"<!doctype html><title>404</title>"))
    yield LORA.input("bytes after the end", bytes_of(lambda data: data + bytes(100)))
    for kind, suffix in (("LoHa", "hada_w1_a"), ("GLoRA", "a1.weight"), ("DoRA", "dora_scale"), ("OFT", "oft_blocks")):
        yield LORA.input(f"a {kind} network", header(_renamed("lora_A.weight", suffix)))
    yield LORA.input("a LoRA for FLUX", header(_renamed("blocks", "double_blocks")))
    yield MERGED.input("LoKr without its second factor", header(_renamed("lora_A.weight", "lokr_w1")))
    yield MERGED.input("alpha that is a matrix", header(_renamed("lora_A.weight", "alpha")))
    yield MERGED.input("names without a prefix", header(_renamed("diffusion_model.", "")), "clean")
    for target in (MERGED, ADAPTER):
        yield target.input("keys of another model", header(_renamed("blocks", "double_blocks")))
        yield target.input("one half of each pair", header(_renamed("lora_B", "lora_C")))
        yield target.input("no tensor at all", instead(_file({})))
        yield target.input("two dimensions swapped", header(_swapped))
        yield target.input("integers for weights", header(_typed("I16")))
        yield target.input("a type of number torch lacks", header(_typed("F4", halve=True)))
        yield target.input("NaN in all weights", bytes_of(_all_nan), "clean", names=False)
    for what, damage in (("a version of 10 MB", _software("9" * 10_000_000)), ("a step that is text", _step('"x"'))):
        yield IMPORTED.input(what, damage, "clean")
    yield IMPORTED.input(
        "metadata that is no JSON", header(lambda data: data | {"__metadata__": {"software": "{"}}), "clean"
    )
    yield IMPORTED.input("a version with line breaks", _software("1\\n  evil: true"), "clean")
    yield IMPORTED.input("cut at 50%", bytes_of(lambda data: data[: len(data) // 2]), "clean")
    yield IMPORTED.input("a pipe nobody writes to", list(no_file(IMPORTED))[4].damage, "clean")


def headers(target: Target) -> Iterator[Input]:
    """Damage to a safetensors header: eight bytes of length, then JSON."""
    for power in (63, 64, 40, 27):
        yield target.input(f"a header of 2^{power} - 1 bytes", put(0, struct.pack("<Q", 2**power - 1)))
    yield target.input("a header of 0 bytes", put(0, bytes(8)))
    yield target.input(
        "a header one byte short", bytes_of(lambda data: struct.pack("<Q", _length(data) - 1) + data[8:])
    )
    yield target.input("a header that is no JSON", put(9, b"\xff\xfe"))
    yield target.input("a header of 50,000 lists in one another", instead(_raw(b"[" * 50_000)))
    yield target.input("a header of a number", instead(_raw(b"5" + b" " * 7)))
    yield target.input("offsets beyond the file", header(_offsets(lambda a, b: (a, b + 10**9))))
    yield target.input("offsets that end before they begin", header(_offsets(lambda a, b: (b, a))))
    yield target.input("offsets that overlap", header(_offsets(lambda a, b: (0, b - a))))
    yield target.input("offsets below zero", header(_offsets(lambda a, b: (a - 8, b))))
    yield target.input("a shape of 2^62 rows", header(_shaped([2**62, 2**62])))
    yield target.input("a shape below zero", header(_shaped([-4, -32])))
    yield target.input("a shape that is text", header(_shaped("wide")))
    yield target.input("a shape of other size than its bytes", header(_shaped([3, 3])))
    yield target.input("a type of number that is none", header(_typed("F13")))
    yield target.input("metadata that is a list", header(lambda data: data | {"__metadata__": [1]}))
    yield target.input("metadata of numbers", header(lambda data: data | {"__metadata__": {"a": 1}}))
    yield target.input("all bytes zero", bytes_of(lambda data: bytes(len(data))))


def checkpoint_inputs(folder: Path) -> Iterator[Input]:
    del folder
    weights = checkpoint_file("transformer/diffusion_pytorch_model.safetensors")
    yield from no_file(weights)
    yield from cuts(weights, 0.01, 50)
    yield from list(headers(weights))[::3]
    yield from cuts(checkpoint_file("vae/diffusion_pytorch_model.safetensors"), 50)
    yield from cuts(checkpoint_file("text_encoder/model.safetensors"), 50)
    for name in ("transformer/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer.json"):
        target = checkpoint_file(name)
        yield target.input("empty", instead(b""))
        yield target.input("cut at 50%", bytes_of(lambda data: data[: len(data) // 2]))
        yield target.input("a list", instead(b"[]"))
        yield target.input("a pipe nobody writes to", list(no_file(target))[4].damage)
        yield target.input("as UTF-16", bytes_of(lambda data: data.decode().encode("utf-16")))
    index = checkpoint_file("model_index.json")
    yield from no_file(index)
    yield index.input("a list", instead(b"[]"))
    yield index.input("a part of a library that is not there", set_to(("vae",), ["nolibrary", "AutoencoderKLWan"]))
    yield index.input("a part of a class that is none", set_to(("vae",), ["diffusers", "AutoencoderKLWann"]))
    yield index.input("a part that is a number", set_to(("transformer",), 5))
    yield index.input("no transformer", remove(("transformer",)))
    transformer = checkpoint_file("transformer/config.json")
    for key, value in (
        ("num_layers", 3),
        ("num_layers", 10**9),
        ("num_layers", "two"),
        ("num_layers", -1),
        ("num_attention_heads", 0),
        ("num_attention_heads", 10**9),
        ("attention_head_dim", 10**15),
        ("patch_size", "1, 2, 2"),
        ("patch_size", [1, 2]),
        ("in_channels", None),
        ("text_dim", Raw("NaN")),
        ("ffn_dim", Raw("1" + "0" * 400)),
        ("rope_max_seq_len", 10**12),
    ):
        shown = value.text[:4] if isinstance(value, Raw) else value
        yield transformer.input(f"{key} is {shown}", set_to((key,), value))
    vae = checkpoint_file("vae/config.json")
    yield vae.input("z_dim is text", set_to(("z_dim",), "sixteen"))
    yield vae.input("latents_mean is short", set_to(("latents_mean",), [0.0]))
    yield vae.input("base_dim is 10^9", set_to(("base_dim",), 10**9))
    encoder = checkpoint_file("text_encoder/config.json")
    yield encoder.input("num_layers is 10^9", set_to(("num_layers",), 10**9))
    yield encoder.input("vocab_size is text", set_to(("vocab_size",), "many"))
    yield from scheduler_inputs()


def scheduler_inputs() -> Iterator[Input]:
    name = "model_t2v/scheduler/scheduler_config.json"
    target = Target(kind="checkpoint", path=name, command=("plan", "plain.yaml"))
    yield from no_file(target)
    yield from list(no_text(target))[:5:2]
    yield target.input("cut at 50%", bytes_of(lambda data: data[: len(data) // 2]))
    yield target.input("a list", instead(b"[]"))
    yield target.input("100,000 lists in one another", instead(b"[" * 100_000 + b"]" * 100_000))
    yield target.input("another class", set_to(("_class_name",), "DDIMScheduler"))
    yield target.input("a class that is a list", set_to(("_class_name",), ["DDIMScheduler"]))
    yield target.input("a setting that is none", set_to(("surprise",), 1))
    yield target.input("shift is text", set_to(("flow_shift",), "three"))
    yield target.input("shift is NaN", set_to(("flow_shift",), Raw("NaN")))
    yield target.input("shift is of 401 digits", set_to(("flow_shift",), Raw("1" + "0" * 400)))
    yield target.input("solver_order is a list", set_to(("solver_order",), [[2]]))


def _length(data: bytes) -> int:
    length: int = struct.unpack("<Q", data[:8])[0]
    return length


def _raw(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head)) + head + body


def _file(head: Header, body: bytes = b"") -> bytes:
    return _raw(json.dumps(head).encode(), body)


def header(change: Callable[[Header], Header]) -> Damage:
    """Damage as a change of the header, the weights left as they are."""

    def changed(data: bytes) -> bytes:
        end = 8 + _length(data)
        return _file(change(json.loads(data[8:end])), data[end:])

    return bytes_of(changed)


def _tensors(change: Callable[[str, Header], tuple[str, Header]]) -> Callable[[Header], Header]:
    def changed(head: Header) -> Header:
        items = (change(name, dict(tensor)) for name, tensor in head.items() if name != "__metadata__")
        return dict(items) | {name: value for name, value in head.items() if name == "__metadata__"}

    return changed


def _renamed(old: str, new: str) -> Callable[[Header], Header]:
    return _tensors(lambda name, tensor: (name.replace(old, new), tensor))


def _offsets(change: Callable[[int, int], tuple[int, int]]) -> Callable[[Header], Header]:
    return _tensors(lambda name, tensor: (name, tensor | {"data_offsets": list(change(*tensor["data_offsets"]))}))


def _shaped(shape: Any) -> Callable[[Header], Header]:
    return _tensors(lambda name, tensor: (name, tensor | {"shape": shape}))


def _swapped(head: Header) -> Header:
    return _tensors(lambda name, tensor: (name, tensor | {"shape": tensor["shape"][::-1]}))(head)


def _typed(dtype: str, halve: bool = False) -> Callable[[Header], Header]:
    def change(name: str, tensor: Header) -> tuple[str, Header]:
        shape = [tensor["shape"][0], tensor["shape"][1] * 4] if halve else tensor["shape"]
        return name, tensor | {"dtype": dtype, "shape": shape}

    return _tensors(change)


def _all_nan(data: bytes) -> bytes:
    """Half precision: NaN is 7e00."""
    end = 8 + _length(data)
    return data[:end] + b"\x00\x7e" * ((len(data) - end) // 2)


def _software(version: str) -> Damage:
    text = f'{{"name": "ai-toolkit", "version": "{version}"}}'
    return header(lambda head: head | {"__metadata__": {"software": text}})


def _step(step: str) -> Damage:
    return header(lambda head: head | {"__metadata__": {"training_info": f'{{"step": {step}}}'}})
