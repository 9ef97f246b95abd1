"""Malformed case files, requests and job configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tests.malformed.inputs import (
    Damage,
    Input,
    Outcome,
    Target,
    bytes_of,
    cuts,
    instead,
    no_file,
    no_text,
    scattered_bits,
)
from tests.malformed.values import Place, Raw, edit, load, remove, set_to, wrong_values

CASE = Target(kind="case YAML", path="case.yaml", command=("plan", "case.yaml"))
REQUEST = Target(kind="request JSON", path="request.json", command=("plan", "plain.yaml"))
PROJECT = Target(kind="pyproject.toml", path="pyproject.toml", command=("settings",))
CONFIG = Target(kind="job config", path="job/config.yaml", command=("plan", "plain.yaml"))
IMPORTED = Target(kind="job config", path="job/config.yaml", command=("import", "job", "--out", "out"))

_PROCESS: Place = ("config", "process", 0)
_READ = {"network", "train", "model", "sample", "trigger_word"}
"""The keys of a job's process that determine a preview."""
_UNREAD = {"sampler", "linear", "linear_alpha"}


def case_inputs(folder: Path) -> Iterator[Input]:
    yield from no_file(CASE)
    yield from no_text(CASE)
    yield from cuts(CASE, 3, 20, 55)
    yield CASE.input("cut at 90%", bytes_of(lambda data: data[: len(data) * 9 // 10]), "clean")
    yield from yaml_bombs(CASE)
    yield from scattered_bits(CASE, 10)
    yield CASE.input("unknown key", set_to(("toleranse",), {"psnr": 40}), says="toleranse")
    yield CASE.input("unknown key inside", set_to(("preview", "vidoe"), "x"), says="vidoe")
    yield CASE.input("a key twice", bytes_of(lambda data: data + b"model: wan21_14b\n"), says="model")
    yield CASE.input("id leads out of the folder", set_to(("id",), "../../escape"), says="id")
    yield CASE.input("model of another kind", set_to(("model",), "wan22_14b_t2v"), says="model")
    yield CASE.input("a video that is not there", set_to(("preview", "video"), "no.webp"), says="video")
    yield CASE.input("a video whose name has a NUL", set_to(("preview", "video"), "a\0b.webp"))
    yield CASE.input("a config whose name has 5000 letters", set_to(("preview", "config"), "a" * 5000))
    yield CASE.input("sample 10^18", set_to(("preview", "sample"), 10**18))
    yield CASE.input("sample negative", set_to(("preview", "sample"), -1), says="sample")
    yield CASE.input("checkpoint that is nowhere", set_to(("checkpoint",), "/nowhere/model"), says="checkpoint")
    yield CASE.input("a model key missing", remove(("model",)), says="model")
    yield CASE.input("preview missing", remove(("preview",)), says="preview")
    yield from wrong_values(CASE, load(folder / "case.yaml"), keys=lambda _: "refused")


def request_inputs(folder: Path) -> Iterator[Input]:
    yield from no_file(REQUEST)
    yield from no_text(REQUEST)
    yield from cuts(REQUEST, 1, 30, 60, 98)
    yield from scattered_bits(REQUEST, 10)
    yield from json_bombs(REQUEST)
    for what, value in (("63 wide", ("width", 63)), ("4097 wide", ("width", 4097)), ("0 steps", ("sample_steps", 0))):
        yield REQUEST.input(what, set_to(("prompts", 0, value[0]), value[1]), says=value[0])
    yield REQUEST.input("no prompt", set_to(("prompts",), []), says="prompts")
    yield REQUEST.input("no LoRA", set_to(("loras",), []), says="loras")
    yield REQUEST.input("a LoRA that is not there", set_to(("loras", 0, "path"), "no.safetensors"), says="path")
    yield REQUEST.input("a misspelt key", set_to(("prompts", 0, "widht"), 96), says="widht")
    yield from wrong_values(REQUEST, load(folder / "request.json"), keys=lambda _: "refused")


def config_inputs(folder: Path) -> Iterator[Input]:
    yield from no_file(CONFIG)
    for target in (CONFIG, IMPORTED):
        yield from no_text(target)
        yield from yaml_bombs(target)
        yield from cuts(target, 2, 40)
        yield from scattered_bits(target, 8)
        yield target.input("no process", set_to(("config", "process"), []))
        yield target.input("no sample section", remove((*_PROCESS, "sample")), says="sample")
        yield target.input("a name that breaks its tags", set_to(("config", "name"), 'a"b[name]'), "clean")
        yield target.input("a name with a NUL", set_to(("config", "name"), "a\0b"), "clean")
        yield target.input("a prompt that is a number", set_to((*_PROCESS, "sample", "prompts", 0), 5))
        flags = "a woman --w 10000000000000000000000000 --h -5"
        yield target.input("sizes from inline flags out of all bounds", _prompt(flags), "clean")
        yield target.input("a width flag that is no number", _prompt("a woman --w wide"))
        yield target.input("a guidance flag that is NaN", _prompt("a woman --cfg nan"), "clean")
        yield target.input("a frames flag of 5000 digits", _prompt("a woman --frames " + "9" * 5000))
        for key, value in (("fps", 0), ("fps", -1), ("num_frames", 0), ("num_frames", 10**12), ("width", -96)):
            yield target.input(f"{key} is {value}", set_to((*_PROCESS, "sample", key), value), "clean")
        yield target.input("steps 0", set_to((*_PROCESS, "sample", "sample_steps"), 0), "clean")
        yield target.input("a seed of 40 digits", set_to((*_PROCESS, "sample", "seed"), 10**40), "clean")
    yield from wrong_values(CONFIG, load(folder / "job/config.yaml"), keys=_config_key)
    yield from wrong_values(IMPORTED, load(folder / "job/config.yaml"), keys=_imported_key)


def _prompt(text: str) -> Damage:
    return set_to((*_PROCESS, "sample", "prompts", 0), text)


def project_inputs(_: Path) -> Iterator[Input]:
    """What is broken beyond recognition, or is no file, is nobody's table."""
    for item in (*no_file(PROJECT), *no_text(PROJECT), *scattered_bits(PROJECT, 10)):
        yield dataclasses.replace(item, must="clean")
    head = b"[tool.wan-parity]\n"
    for what, line in (
        ("an unknown key", b'devcie = "cpu"'),
        ("half a line", b'device = "cp'),
        ("a list of lists", b"cases = [[[]]]"),
        ("5000 lists in one another", b"cases = " + b"[" * 5000 + b"]" * 5000),
        ("a number of 5000 digits", b"timeout = " + b"9" * 5000),
        ("a hexadecimal number of 20,000 digits", b"timeout = 0x" + b"f" * 20_000),
        ("such a number in a list", b"cases = [[0x" + b"f" * 20_000 + b"]]"),
        ("not a number", b"timeout = nan"),
        ("a date", b"device = 2026-11-30"),
        ("a NUL in a path", b'out = "a\\u0000b"'),
        ("a text of a megabyte", b'offload = "' + b"x" * (1 << 20) + b'"'),
        ("a key of 100,000 letters", b"k" * 100_000 + b" = 1"),
        ("a table in the table", b'[tool.wan-parity.run]\ndevice = "cpu"'),
    ):
        yield PROJECT.input(what, instead(head + line + b"\n"))


def _config_key(at: Place) -> Outcome | None:
    """Places whose value ai-toolkit reads itself; the rest of a config does not concern us."""
    if at[:3] != _PROCESS:
        return "refused" if at in (("config",), ("config", "name"), ("config", "process")) else "clean"
    if len(at) > 3 and (at[3] not in _READ or at[-1] in _UNREAD):
        return "clean"
    # ai-toolkit takes walk_seed by Python's truth, as it does every switch: any text is on
    return "clean" if at[-1] in ("neg", "network_multiplier", "walk_seed") else "refused"


def _imported_key(at: Place) -> Outcome | None:
    """The same, a few keys: what `import` makes of a value, `plan` has shown."""
    return _config_key(at) if at[-1] in ("name", "width", "guidance_scale", "model", "seed", "fps") else None


def yaml_bombs(target: Target) -> Iterator[Input]:
    """Small files that would take a lot of time or memory."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
    )
    yield target.input("a bomb of aliases", instead(bomb.encode()))
    merge = "a: &a {x: 1}\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 10)}]}}\n" for n in range(9)
    )
    yield target.input("a bomb of merged aliases", instead(merge.encode()))
    yield target.input("an alias of itself", instead(b"a: &a [*a]\n"))
    yield target.input("merged into itself", instead(b"a: &a {<<: *a}\n"))
    yield target.input("100,000 lists in one another", instead(b"[" * 100_000))
    yield target.input("900 keys in one another", instead(b"".join(b" " * n + b"a:\n" for n in range(900))))
    yield target.input("a million items", instead(b"- a\n" * 1_000_000))
    yield target.input("5 million brackets", instead(b"[" + b"[]," * 1_700_000 + b"]"))
    yield target.input("a number of 2 MB", instead(b"a: " + b"9" * 2_000_000))
    yield target.input("a hexadecimal number of 20,000 digits", instead(b"model: 0x" + b"f" * 20_000))
    yield target.input("a number by sixties of 1 MB", instead(b"model: 1" + b":59" * 350_000))
    yield target.input("a key of 100,000 letters", instead(b"k" * 100_000 + b": 1\n"))
    yield target.input("20 MB of blanks", instead(b" " * 20_000_000))
    yield target.input("an object of Python's", instead(b"model: !!python/object/apply:os.system [ls]\n"))
    yield target.input("two documents", bytes_of(lambda data: data + b"\n---\n" + data))
    yield target.input("an anchor that is not there", instead(b"model: *nothing\n"))
    yield target.input("tabs for blanks", instead(b"model:\n\tname: x\n"))


def json_bombs(target: Target) -> Iterator[Input]:
    """The same for JSON."""
    yield target.input("100,000 lists in one another", instead(b"[" * 100_000 + b"]" * 100_000))
    yield target.input("90,000 keys in one another", instead(b'{"a":' * 90_000 + b"1" + b"}" * 90_000))
    yield target.input("5 million lists", instead(b"[" + b"[]," * 5_000_000 + b"[]]"))
    yield target.input("a number of 2 MB", instead(b'{"model": ' + b"9" * 2_000_000 + b"}"))
    yield target.input("a number of 5000 digits", edit(lambda data: data | {"surprise": Raw("9" * 5000)}), "clean")
    yield target.input("half a character in a text", edit(lambda data: data | {"\ud800": "\udfff"}), "clean")
    yield target.input("text after the end", bytes_of(lambda data: data + b"]"))
    yield target.input("a list", instead(b"[]"))
    yield target.input("null", instead(b"null"))
