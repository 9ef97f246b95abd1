"""Places that come out of whole runs: cases that generate (a frame of one step), as tests under pytest, diagnosed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hostile.puts import argument, as_keys, at, file_name, nothing, renamed, then
from tests.hostile.records import GITHUB
from tests.hostile.session import PYTEST, Slot, Words, fixed
from tests.malformed.values import Place

_CPU = ("--device", "cpu", "--out", "out")
_RUN = fixed("run", "case.yaml", *_CPU)
_PYTEST = fixed(PYTEST, "--parity-cases", "case.yaml", "--parity-out", "out", "--parity-device", "cpu", "-v")
_PROMPT: Place = ("request", "prompts", 0, "prompt")
_FREE: dict[str, tuple[Place, ...]] = {
    "prompt": (_PROMPT,),
    "prompt, negative prompt, trigger word": (_PROMPT, (*_PROMPT[:-1], "neg"), ("request", "trigger_word")),
    "a tag": (("tags", 0),),
    "id": (("id",),),
    "the preview": (("preview", "video"),),
}


def run_slots(_: Path) -> Iterator[Slot]:
    for name, command in (("run", _RUN), ("pytest", _PYTEST)):
        for where, spots in _FREE.items():
            yield Slot(
                kind=name, where=where, command=command, put=at("case.yaml", *spots), places=len(spots),
                environment=GITHUB, torch=True,
            )  # fmt: skip
        yield Slot(
            kind=name,
            where="an unknown key",
            command=command,
            put=as_keys("case.yaml", ()),
            environment=GITHUB,
            torch=True,
        )
        yield Slot(
            kind=name, where="the file's name", command=_in_folder(command),
            put=then(renamed("case.yaml", ".yaml"), _alone),
            environment=GITHUB, torch=True,
        )  # fmt: skip
        lora, video = "job/tiny_t2v.safetensors", "job/samples/1795289016732__000000500_0.webp"
        for file, ending, spots in ((lora, ".safetensors", _LORAS), (video, ".webp", (_VIDEO,))):

            def put(
                folder: Path,
                texts: Sequence[str],
                file: str = file,
                to: str = ending,
                at_all: tuple[Place, ...] = spots,
            ) -> None:
                name = f"{file.rpartition('/')[0]}/{file_name(texts[0], to)}"
                written = name.encode("utf-8", "replace").decode()
                at("case.yaml", *at_all)(folder, [written] * len(at_all))

            yield Slot(
                kind=name, where=f"the name of {file}", command=command, put=then(renamed(file, ending), put),
                environment=GITHUB, torch=True,
            )  # fmt: skip
    yield Slot(
        kind="run", where="prompt, diagnose --quick", command=fixed("diagnose", "case.yaml", "--quick", *_CPU),
        put=at("case.yaml", _PROMPT), environment=GITHUB, torch=True,
    )  # fmt: skip
    for name in ("HF_ENDPOINT", "CUDA_VISIBLE_DEVICES", "WAN_PARITY_OWNED", "HF_HOME", "PATH"):
        for line in ("doctor", "doctor --json"):

            def command_of(texts: Sequence[str], name: str = name, line: str = line) -> list[str]:
                return [f"env:{name}={argument(texts[0])}", *line.split()]

            yield Slot(
                kind="variable",
                where=f"{name}, {line}",
                command=command_of,
                put=nothing,
                is_json="json" in line,
                torch=True,
            )
    for line in ("baseline check", "expect case.yaml --dry-run"):
        yield Slot(kind="results", where=f"the last run's folder, {line}", command=fixed(*line.split()), put=_last_run)


_VIDEO: Place = ("preview", "video")
_LORAS: tuple[Place, ...] = (("request", "loras", 0, "path"), ("preview", "lora"))


def _in_folder(command: Words) -> Words:
    """The command for all cases of a folder that has one."""
    return lambda texts: [word.replace("case.yaml", "alone") for word in command(texts)]


def _alone(folder: Path, texts: Sequence[str]) -> None:
    """Leave the renamed case alone in a folder that reads it."""
    (folder / "alone").mkdir()
    name = file_name(texts[0], ".yaml")
    text = (folder / name).read_text(encoding="utf-8").replace("job/", "../job/").replace("model_t2v", "../model_t2v")
    (folder / name).unlink()
    (folder / "alone" / name).write_text(text, encoding="utf-8")


def _last_run(folder: Path, texts: Sequence[str]) -> None:
    """A run below reports/out in a folder of this name, beside a newer one of fewer cases."""
    for name in (file_name(texts[0]), "newer"):
        place = folder / "reports" / "out" / name
        place.mkdir(parents=True)
        shutil.copy(folder / "results.json", place)
