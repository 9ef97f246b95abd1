"""Who gets which case, what a worker has of a cluster, what machines need, and how files travel."""

from __future__ import annotations

import pickle
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from parity.case.load import Case, load_cases
from parity.cluster.dispatch import Held, Waiting, held_for
from parity.cluster.needs import SAME, check, files_of, reporter
from parity.cluster.parcel import Sender, place
from parity.cluster.ray_cluster import Share, share
from pipelines.errors import UsageError
from tests.conftest import CaseFiles


def given(waiting: Waiting, held: dict[int, Held], turns: list[int], kinds: dict[str, Held]) -> list[str]:
    """Which case each worker gets, in these turns."""
    ids = []
    for worker in turns:
        case = waiting.take(held.get(worker), [other for number, other in held.items() if number != worker])
        assert case is not None
        held[worker] = kinds[case.id]
        ids.append(case.id)
    return ids


@pytest.fixture
def six(cases: CaseFiles) -> dict[str, Case]:
    """Six cases that differ in nothing but their ids."""
    names = ("a1", "a2", "a3", "b1", "b2", "c1")
    return {case.id: case for case in load_cases([cases.write(name) for name in names])}


def test_a_worker_stays_with_its_checkpoint_and_then_its_lora(six: dict[str, Case]) -> None:
    kinds = {name: Held(name[0] != "c", name[0]) for name in six}  # a and b: one checkpoint, two LoRAs; c: another
    waiting = Waiting([(case, kinds[name]) for name, case in six.items()])
    assert len(waiting) == 6
    assert given(waiting, {}, [1, 2, 1, 2, 1, 2], kinds) == ["a1", "b1", "a2", "b2", "a3", "c1"]
    assert waiting.take(None, []) is None


def test_workers_spread_over_checkpoints_and_steal_when_idle(six: dict[str, Case]) -> None:
    kinds = {name: Held(name[0], "lora") for name in six}
    waiting = Waiting([(case, kinds[name]) for name, case in six.items()])
    held: dict[int, Held] = {}
    assert given(waiting, held, [1, 2, 3], kinds) == ["a1", "b1", "a2"]  # two wait for the worker at `a`, none at `c`
    assert given(waiting, held, [3, 2, 2], kinds) == ["a3", "b2", "c1"]


def test_a_case_that_is_put_back_is_the_next_of_its_kind(six: dict[str, Case]) -> None:
    one = Held("checkpoint", "lora")
    waiting = Waiting([(case, one) for case in six.values()])
    first = waiting.take(None, [])
    assert first is not None
    waiting.put_back(first, one)
    assert len(waiting) == 6
    assert waiting.take(one, []) is first


def test_cases_of_one_lora_are_of_one_kind(cases: CaseFiles) -> None:
    request = cases.request()
    half = request | {"loras": [request["loras"][0] | {"network_multiplier": 0.5}]}
    given = {"same": request, "seed": cases.request(seed=7, prompt="a boat"), "half": half}
    same, seed, other = (
        held_for(case) for case in load_cases([cases.write(name, request=asked) for name, asked in given.items()])
    )
    assert same == seed != other
    assert same.checkpoint == other.checkpoint


@pytest.mark.parametrize(
    ("machines", "device", "workers", "each"),
    [
        ([{"CPU": 16, "GPU": 4}, {"CPU": 32, "GPU": 4}], "auto", None, Share(8, 1, 4)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 4}], "cuda", 2, Share(2, 1, 4)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 8}], "cpu", None, Share(2, 0, 8)),
        ([{"CPU": 2}], "auto", None, Share(1, 0, 2)),
        ([{"CPU": 2}], "auto", 2, Share(2, 0, 1)),
        ([{"CPU": 9}, {"CPU": 4}], "cpu", 3, Share(3, 0, 4)),
    ],
)
def test_what_a_worker_has(machines: list[dict[str, float]], device: str, workers: int | None, each: Share) -> None:
    assert share(machines, device, workers) == each


@pytest.mark.parametrize(
    ("machines", "device", "workers", "said"),
    [
        ([{"CPU": 16.0, "GPU": 2.0}], "auto", 3, "has 2 GPUs, and each worker needs one"),
        ([{"CPU": 2.0}], "cpu", 3, "has 2 CPU cores; use at most that"),
        ([{"CPU": 2.0}], "cuda", None, "has no GPU; --device auto or cpu"),
        ([{"CPU": 2.0, "GPU": 2.0}], "cuda:1", None, "use auto, cuda or cpu"),
    ],
)
def test_what_there_is_no_room_for(
    machines: list[dict[str, float]], device: str, workers: int | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        share(machines, device, workers)


def test_machines_need_the_same_versions_and_files(cases: CaseFiles, tmp_path: Path) -> None:
    case = load_cases([cases.write(request=cases.request())])[0]
    files = files_of([case])
    assert {Path(path).name for path in files} >= {"tiny_t2v.safetensors", "tiny-wan-t2v", case.video.name}
    report = reporter()
    assert report.__module__ == "parity.cluster.needs"
    same = report(SAME, files)
    check([same, same])
    other = {**same, "host": "gpu2", "versions": {**same["versions"], "torch": "1.0", "wan-parity": None}}
    with pytest.raises(UsageError) as refused:
        check([same, other, {**same, "host": "gpu3", "missing": [str(tmp_path / "my.safetensors")]}])
    text = str(refused.value)
    assert f"gpu2 has torch 1.0, this machine {version('torch')}" in text
    assert f"gpu2 has no wan-parity, this machine {version('wan-parity')}" in text
    assert f"gpu3 lacks 1 path: {tmp_path / 'my.safetensors'}; " in text
    assert same["versions"]["Python"] == platform.python_version()


def test_a_case_travels(cases: CaseFiles) -> None:
    case = load_cases([cases.write(request=cases.request())])[0]
    assert pickle.loads(pickle.dumps(case)) == case


def test_files_are_sent_once_and_replace_those_of_before(tmp_path: Path) -> None:
    there, here = tmp_path / "worker", tmp_path / "driver"
    sender = Sender(there)
    place({"artifacts/case/old.webp": b"old", "artifacts/other/its.webp": b"its"}, here)
    place({"artifacts/case/output.webp": b"1", "artifacts/other/x": b"2", "errors/case.txt": b"3"}, there)
    first = sender.new("case")
    assert first == {"artifacts/case/output.webp": b"1", "errors/case.txt": b"3"}
    assert sender.new("case") == {}
    place(first, here, instead_of=here / "artifacts" / "case")
    place({"artifacts/case/trials/one/0000.webp": b"4"}, there)
    assert list(sender.new("case")) == ["artifacts/case/trials/one/0000.webp"]
    assert sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()) == [
        "artifacts/case/output.webp",
        "artifacts/other/its.webp",
        "errors/case.txt",
    ]
    sender.clear("case")
    assert [path.name for path in there.rglob("*") if path.is_file()] == ["x"]
