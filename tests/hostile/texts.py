"""Places in what people write: case files, job configs, requests, settings, arguments, environment variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.hostile.puts import argument, as_keys, at, file_name, holders, leaves, nothing, renamed, then, whole
from tests.hostile.session import Slot, fixed
from tests.malformed.values import load, show

PLAN = fixed("plan", "case.yaml")
PLAN_JSON = fixed("plan", "--json", "case.yaml")
PLAIN = fixed("plan", "plain.yaml")
IMPORT = fixed("import", "job", "--out", "out")


def case_slots(folder: Path) -> Iterator[Slot]:
    data = load(folder / "case.yaml")
    for spot in leaves(data):
        yield Slot(kind="case", where=show(spot), command=PLAN, put=at("case.yaml", spot))
    for spot in holders(data):
        yield Slot(kind="case", where=f"a key of {show(spot) or 'all'}", command=PLAN, put=as_keys("case.yaml", spot))
    free = (("id",), ("request", "prompts", 0, "prompt"), ("request", "trigger_word"), ("request", "prompts", 0, "neg"))
    for name, command in (("plan", PLAN), ("plan --json", PLAN_JSON)):
        yield Slot(
            kind="case",
            where=f"prompt and negative prompt, {name}",
            command=command,
            put=at("case.yaml", free[1], free[3]),
            places=2,
            is_json=command is PLAN_JSON,
        )
    yield Slot(kind="case", where="the whole file", command=PLAN, put=whole("case.yaml"))
    yield Slot(kind="case", where="a tag, shards", command=fixed("shards", "2", "."), put=at("case.yaml", ("tags", 0)))
    for name, rest in (("fetch", ("fetch", "--dry-run")), ("expect", ("expect", "--remove"))):
        yield Slot(
            kind="case",
            where=f"the checkpoint, {name}",
            command=fixed(*rest, "case.yaml"),
            put=at("case.yaml", ("checkpoint",)),
        )
    for key in ("url", "lora_root", "token_env"):
        target = {"url": "http://127.0.0.1:9"}

        def put(folder: Path, texts: Sequence[str], key: str = key, target: dict[str, str] = target) -> None:
            path = folder / "case.yaml"
            path.write_text(json.dumps(load(path) | {"target": target | {key: texts[0]}}), encoding="utf-8")

        yield Slot(kind="case", where=f"target.{key}", command=PLAN, put=put)


def config_slots(folder: Path) -> Iterator[Slot]:
    file = "job/config.yaml"
    data = load(folder / file)
    for name, command in (("plan", PLAIN), ("import", IMPORT)):
        for spot in leaves(data):
            yield Slot(kind="job config", where=f"{show(spot)}, {name}", command=command, put=at(file, spot))
        for spot in holders(data):
            where = f"a key of {show(spot) or 'all'}, {name}"
            yield Slot(kind="job config", where=where, command=command, put=as_keys(file, spot))
        yield Slot(kind="job config", where=f"the whole file, {name}", command=command, put=whole(file))


def request_slots(folder: Path) -> Iterator[Slot]:
    data = load(folder / "request.json")
    for spot in leaves(data):
        yield Slot(kind="request", where=show(spot), command=PLAIN, put=at("request.json", spot))
    for spot in holders(data):
        where = f"a key of {show(spot) or 'all'}"
        yield Slot(kind="request", where=where, command=PLAIN, put=as_keys("request.json", spot))
    yield Slot(kind="request", where="the whole file", command=PLAIN, put=whole("request.json"))


def project_slots(_: Path) -> Iterator[Slot]:
    from parity.cli.project import KEYS

    def table(line: Callable[[str], str]) -> Callable[[Path, Sequence[str]], None]:
        def put(folder: Path, texts: Sequence[str]) -> None:
            text = f"[tool.wan-parity]\n{line(json.dumps(texts[0]))}\n"
            (folder / "pyproject.toml").write_text(text, encoding="utf-8")

        return put

    for name, command, is_json in (
        ("settings", fixed("settings"), False),
        ("settings --json", fixed("settings", "--json"), True),
        ("plan", PLAN, False),
    ):
        for key in KEYS:
            put = table(lambda text, key=key.name: f"{key} = {text}")  # type: ignore[misc]
            where = f"{key.name}, {name}"
            yield Slot(kind="pyproject", where=where, command=command, put=put, is_json=is_json)
        yield Slot(
            kind="pyproject",
            where=f"a key, {name}",
            command=command,
            put=table(lambda text: f"{text} = 1"),
            is_json=is_json,
        )
        many = table(lambda text: f"cases = [{text}]")
        yield Slot(kind="pyproject", where=f"a list, {name}", command=command, put=many, is_json=is_json)
        yield Slot(
            kind="pyproject",
            where=f"the whole table, {name}",
            command=command,
            put=whole("pyproject.toml", "[tool.wan-parity]\n"),
            is_json=is_json,
        )


_ARGUMENTS = (
    "STRING",
    "help STRING",
    "plan STRING",
    "plan case.yaml -k STRING",
    "plan case.yaml --tag STRING",
    "plan case.yaml --output STRING",
    "plan --STRING",
    "plan case.yaml --STRING",
    "run STRING",
    "run case.yaml --device STRING",
    "run case.yaml --out STRING --shard STRING",
    "run case.yaml --target STRING",
    "run case.yaml --timeout STRING",
    "diagnose case.yaml --budget STRING",
    "shards STRING",
    "shards 2 case.yaml --balance STRING",
    "import STRING",
    "import job --out STRING",
    "import job --out out --toolkit STRING",
    "compare STRING frames",
    "compare frames frames --metrics STRING",
    "compare frames frames --out STRING",
    "expect case.yaml --factors STRING",
    "expect case.yaml --results STRING",
    "report STRING",
    "report results.json --out STRING",
    "report results.json --summary STRING",
    "report results.json --baselines STRING",
    "report results.json --max-size STRING",
    "baseline check STRING --results results.json",
    "baseline show STRING",
    "baseline accept STRING --results results.json",
    "baseline accept --from STRING --results results.json",
    "baseline undo --baselines STRING",
    "explain STRING",
    "models STRING",
    "schema STRING",
    "cache prune --older-than STRING",
    "cache STRING",
    "fetch STRING",
    "demo STRING",
    "completion STRING",
    "serve --host STRING --lora-root /nowhere",
    "serve --port STRING --lora-root /nowhere",
    "serve --checkpoint STRING --lora-root /nowhere",
    "serve --lora-root STRING --checkpoint STRING",
    "serve --base-url STRING --lora-root /nowhere",
    "selftest --device STRING",
    "doctor --STRING",
)


def argument_slots(_: Path) -> Iterator[Slot]:
    for line in _ARGUMENTS:

        def command(texts: Sequence[str], line: str = line) -> list[str]:
            return [word.replace("STRING", argument(texts[0])) for word in line.split()]

        yield Slot(kind="argument", where=line, command=command, put=nothing)


_VARIABLES = {
    "WAN_PARITY_CACHE": ("cache ls", "plan case.yaml", "settings"),
    "WAN_PARITY_CPU_KERNELS": ("settings", "plan case.yaml", "settings --json"),
    "WAN_PARITY_TARGET_TOKEN": ("run case.yaml --target http://127.0.0.1:9",),
    "XDG_CACHE_HOME": ("plan case.yaml",),
    "HF_HOME": ("plan case.yaml",),
    "HF_ENDPOINT": ("plan case.yaml", "fetch case.yaml"),
    "CUDA_VISIBLE_DEVICES": ("plan case.yaml",),
    "GITHUB_STEP_SUMMARY": ("report shown/results.json --github",),
    "GITHUB_WORKSPACE": ("report shown/results.json --github --summary summary.md",),
    "COLUMNS": ("plan --help", "plan case.yaml"),
    "TERM": ("plan case.yaml",),
    "HOME": ("plan case.yaml",),
    "TMPDIR": ("plan case.yaml",),
}


def variable_slots(_: Path) -> Iterator[Slot]:
    for name, lines in _VARIABLES.items():
        for line in lines:

            def command(texts: Sequence[str], name: str = name, line: str = line) -> list[str]:
                return [f"env:{name}={argument(texts[0])}", *line.split()]

            yield Slot(
                kind="variable",
                where=f"{name}, {line}",
                command=command,
                put=nothing,
                environment={"GITHUB_STEP_SUMMARY": "step.md"},
                twin="--github" in line,
                is_json="--json" in line,
            )


def name_slots(_: Path) -> Iterator[Slot]:
    """The names of files and folders."""

    def moved(file: str, ending: str, line: str, to: str = "") -> Slot:
        def command(texts: Sequence[str]) -> list[str]:
            return [word.replace("NAME", to + file_name(texts[0], ending)) for word in line.split()]

        return Slot(kind="name", where=f"{file}, {line}", command=command, put=renamed(file, ending))

    yield moved("case.yaml", ".yaml", "plan NAME")
    yield moved("case.yaml", ".yaml", "plan .")
    yield moved("case.yaml", ".yaml", "shards 2 .")
    yield moved("case.yaml", ".yaml", "expect . --remove")
    yield moved("request.json", ".json", "plan plain.yaml")
    yield moved("job", "", "import NAME --out out")
    yield moved("job/tiny_t2v.safetensors", ".safetensors", "import job --out out")
    yield moved("job/config.yaml", ".yaml", "import job --out out")
    yield moved("job/samples/1795289016732__000000500_0.webp", ".webp", "import job --out out")
    yield moved("frames", "", "compare NAME frames --out compared")
    yield moved("frames/0000.png", ".png", "compare frames preview.mp4 --out compared")
    yield moved("preview.mp4", ".mp4", "compare NAME frames --json")
    yield moved("made.png", ".png", "plan --output NAME case.yaml")
    yield moved("graph.json", ".json", "plan --output NAME case.yaml")
    yield moved("shown", "", "report NAME --summary summary.md --junit junit.xml")
    yield moved("baselines/guitar.json", ".json", "baseline check --results results.json")
    yield moved("baselines", "", "baseline show --baselines NAME")
    yield moved("model_t2v", "", "plan case.yaml")
    for file, key, ending in (
        ("job/tiny_t2v.safetensors", ("request", "loras", 0, "path"), ".safetensors"),
        ("job/samples/1795289016732__000000500_0.webp", ("preview", "video"), ".webp"),
        ("model_t2v", ("checkpoint",), ""),
        ("job/config.yaml", ("preview", "config"), ".yaml"),
    ):
        parent = file.rpartition("/")[0]

        def named(
            folder: Path, texts: Sequence[str], key: tuple[str | int, ...] = key, to: str = ending, up: str = parent
        ) -> None:
            at("case.yaml", key)(folder, [f"{up}/{file_name(texts[0], to)}".lstrip("/")])

        yield Slot(kind="name", where=f"{file} and case", command=PLAN, put=then(renamed(file, ending), named))
