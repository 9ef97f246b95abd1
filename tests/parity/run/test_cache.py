"""The cache of generated frames: a hit only where every bit would be the same."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.results.case import CaseResult
from parity.results.folders import cache_folder
from parity.run.cache import Cache, Entry, Kept, key_of, open_cache
from parity.run.encodings import KeptEncoding
from parity.run.options import Options
from parity.run.session import Session
from pipelines.engine import fingerprint
from pipelines.engine.engine import Engine
from pipelines.errors import UsageError
from pipelines.files import digests
from pipelines.media.video import Frames
from pipelines.recipe import Asked, LoraFile, Recipe
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.conftest import CaseFiles
from tests.support.oracle import sample_recipe

FRAMES: Frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


@pytest.fixture
def recipe() -> Recipe:
    return sample_recipe("t2v_basic", 0)


def kept(cache: Cache, recipe: Recipe, *names: str) -> list[str]:
    """Store drawings of one recipe under keys made of names; the first is the one used last."""
    keys = [name.encode().hex().ljust(64, "0") for name in names]
    for age, key in enumerate(keys):
        cache.store(key, FRAMES, recipe, "case")
        os.utime(cache.root / key[:2] / key, (1e9 - 86400 * age, 1e9 - 86400 * age))
    return keys


def test_what_was_stored_is_found(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path)
    assert cache.find("ab" * 32) is None
    cache.store("ab" * 32, FRAMES, recipe, "guitar")
    found = cache.find("ab" * 32)
    assert found is not None
    frames, entry = found
    assert np.array_equal(frames, FRAMES)
    assert (entry.case, entry.model, entry.frames, entry.width, entry.height) == ("guitar", recipe.model, 2, 6, 4)
    assert not list(tmp_path.rglob(".new-*"))


def test_a_damaged_entry_is_removed_and_no_hit(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path)
    key = "ab" * 32
    folder = tmp_path / key[:2] / key
    for damage in (
        lambda: (folder / "frames.npz").write_bytes((folder / "frames.npz").read_bytes()[:-40]),
        lambda: np.savez_compressed(folder / "frames.npz", frames=FRAMES + 1),
        lambda: (folder / "entry.json").write_text("{"),
        lambda: (folder / "entry.json").unlink(),
    ):
        cache.store(key, FRAMES, recipe, "guitar")
        assert cache.find(key) is not None
        damage()
        assert cache.find(key) is None


def keys(removed: Sequence[Kept | KeptEncoding]) -> list[str]:
    return [kept.entry.key for kept in removed if isinstance(kept, Kept)]


def test_prune_removes_what_was_not_used_longest(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path)
    new, middle, old = kept(cache, recipe, "new", "middle", "old")
    assert [entry.entry.key for entry in cache.entries()] == [new, middle, old]
    size = cache.entries()[0].size
    assert keys(cache.prune(max_bytes=2 * size + 10)) == [old]
    assert cache.prune(max_bytes=2 * size + 10) == []
    assert cache.find(middle) is not None  # used now
    assert keys(cache.prune(older_than=timedelta(days=1))) == [new]
    assert [entry.entry.key for entry in cache.entries()] == [middle]


def test_prune_clears_what_a_killed_run_left(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path)
    cache.store("ab" * 32, FRAMES, recipe, "guitar")
    for name, age in ((".new-old", 7200), (".new-now", 0)):
        left = tmp_path / "ab" / name
        left.mkdir()
        (left / "frames.npz").write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    cache.prune(older_than=timedelta(days=1))
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == [".new-now", "ab" * 32]


def changed(recipe: Recipe) -> dict[str, Recipe]:
    lora = LoraFile(path=Path("elsewhere.safetensors"), sha256="cd" * 32)
    return {
        "prompt": dataclasses.replace(recipe, prompt=recipe.prompt + "!"),
        "seed": dataclasses.replace(recipe, seed=1),
        "lora": dataclasses.replace(recipe, lora_files=(lora,)),
        "scale": dataclasses.replace(recipe, lora_scales=(0.98,)),
        "width": dataclasses.replace(recipe, width=Asked(asked=112, applied=112)),
        "shift": dataclasses.replace(recipe, scheduler=flow_schedule("flow_match_euler", 3.1)),
    }


def test_the_key_is_what_reaches_the_bits(recipe: Recipe) -> None:
    key = key_of(recipe, "weights", {"torch": "2.13.0"}, "code")
    for name, other in changed(recipe).items():
        assert key_of(other, "weights", {"torch": "2.13.0"}, "code") != key, name
    assert key_of(recipe, "others", {"torch": "2.13.0"}, "code") != key
    assert key_of(recipe, "weights", {"torch": "2.14.0"}, "code") != key
    assert key_of(recipe, "weights", {"torch": "2.13.0"}, "edited") != key
    moved = dataclasses.replace(
        recipe,
        weights=Weights("/elsewhere"),
        lora_files=tuple(dataclasses.replace(file, path=Path("/elsewhere/lora")) for file in recipe.lora_files),
        width=Asked(asked=recipe.width.applied + 1, applied=recipe.width.applied),
        fps=recipe.fps + 1,
    )
    assert key_of(moved, "weights", {"torch": "2.13.0"}, "code") == key


def test_weights_are_known_by_content(tmp_path: Path, recipe: Recipe) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "vae").mkdir(parents=True)
        (tmp_path / name / "vae" / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name)  # never loaded
    of = [dataclasses.replace(recipe, weights=Weights(str(tmp_path / name))) for name in ("one", "two")]
    assert fingerprint.weights(of[0]) == fingerprint.weights(of[1])
    (tmp_path / "two" / "vae" / "model.safetensors").write_bytes(b"Weights")
    assert fingerprint.weights(of[0]) != fingerprint.weights(of[1])


def test_weights_are_hashed_beside_other_work(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_current", digests.Digests())
    hashing = fingerprint.Hashing(recipe)
    assert (hashing.is_known, hashing.is_done) == (False, False)
    hashing.begin()
    assert hashing.result() == fingerprint.weights(recipe)
    assert fingerprint.Hashing(recipe).is_known
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "model_index.json").write_text("{}")
    lost = fingerprint.Hashing(dataclasses.replace(recipe, weights=Weights(str(gone))))
    monkeypatch.setattr(fingerprint, "sha256_files", lambda _: Path("gone").stat())
    lost.begin()
    with pytest.raises(FileNotFoundError):
        lost.result()


def test_files_of_the_hubs_cache_are_known_by_their_names(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"gigabytes")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(digests, "_read", lambda path: pytest.fail(f"{path} was read"))
    assert fingerprint.weights(dataclasses.replace(recipe, weights=Weights(str(tmp_path / "snapshot"))))


def test_edited_code_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "edited_library"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(fingerprint, "_LIBRARIES", ("edited_library",))
    before = fingerprint.code.__wrapped__()
    assert fingerprint.code.__wrapped__() == before
    (package / "__init__.py").write_text("x = 2")
    assert fingerprint.code.__wrapped__() != before


# ---- A run ----


def run(path: Path, out: Path, cache: Path | None, engine: Engine) -> CaseResult:
    with Session(Options(out=out, device="cpu", cache=cache), engine) as session:
        return session.run_case(load_case(path), Quiet())


def test_an_unchanged_case_is_not_generated_again(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    path = cases.write("one", request=cases.request(sample_steps=1, num_frames=1))
    cache = tmp_path / "cache"
    first = run(path, tmp_path / "a", cache, engine)
    steps = engine.work.denoising_steps
    second = run(path, tmp_path / "b", cache, engine)
    assert engine.work.denoising_steps == steps
    assert first.drawn_before is None
    assert second.drawn_before is not None
    assert first.output == second.output
    assert first.metrics == second.metrics
    assert (tmp_path / "b" / second.artifacts["output"]).read_bytes() == (
        tmp_path / "a" / first.artifacts["output"]
    ).read_bytes()
    assert run(path, tmp_path / "c", None, engine).drawn_before is None
    assert engine.work.denoising_steps > steps
    cases.write("one", request=cases.request(sample_steps=1, num_frames=1, seed=7))
    assert run(path, tmp_path / "d", cache, engine).drawn_before is None


@pytest.mark.draws
def test_frames_are_found_by_a_process_that_has_hashed_nothing(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights whose hash is unknown are loaded beside hashing them, but not if there may be frames of them."""
    case = load_case(cases.write(request=cases.request(sample_steps=1, num_frames=1)))
    results, loads = [], []
    for number in range(2):
        monkeypatch.setattr(digests, "_current", digests.Digests())
        options = Options(out=tmp_path / str(number), device="cpu", cache=tmp_path / "cache")
        with Session(options) as session:
            results.append(session.run_case(case, Quiet()))
            loads.append(session.engine.work.loads)
    assert loads == [1, 0]
    assert results[1].drawn_before is not None
    assert results[0].weights_sha256 == results[1].weights_sha256 == fingerprint.weights(case.inference)


def test_other_tolerances_do_not_generate_again(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    request = cases.request(sample_steps=1, num_frames=1)
    run(cases.write("one", request=request), tmp_path / "a", tmp_path / "cache", engine)
    gated = run(
        cases.write("two", request=request, expect=["frame_count", "steps"]), tmp_path / "b", tmp_path / "cache", engine
    )
    assert gated.status == "expected_drift"
    assert gated.drawn_before is not None


def test_a_full_disk_spoils_no_result(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    path = cases.write(
        "one", request=cases.request(sample_steps=1, num_frames=1, seed=3), expect=["frame_count", "steps", "seed"]
    )
    result = run(path, tmp_path / "a", tmp_path / "cache", engine)
    assert result.status == "expected_drift"
    assert any("could not be cached" in note and "No space left on device" in note for note in result.notes)
    assert not list((tmp_path / "cache").rglob("*.npz"))
    assert not list((tmp_path / "cache").rglob(".new-*"))


def test_a_cache_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cache .*file.*cannot be written: Not a directory; set WAN_PARITY_CACHE"):
        open_cache(tmp_path / "file" / "cache")


def test_the_default_folder_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", "")
    assert cache_folder() is None
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("WAN_PARITY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/wan-parity/frames")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/wan-parity/frames")


def test_the_commands(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path))
    assert main(["cache", "ls"]) == 0
    assert capsys.readouterr().out == f"no cached generations in {tmp_path}\n"
    kept(Cache(tmp_path), recipe, "new", "old")
    assert main(["cache", "ls"]) == 0
    out = capsys.readouterr().out
    assert "2 of 6x4" in out
    assert "2 generations" in out
    assert main(["cache", "prune"]) == 2
    assert "say what to remove" in capsys.readouterr().err
    assert main(["cache", "prune", "--older-than", "0"]) == 0
    assert capsys.readouterr().out == f"2 removed\nno cached generations in {tmp_path}\n"


def test_entries_are_plain_json(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path)
    cache.store("ab" * 32, FRAMES, recipe, "guitar")
    data = json.loads((tmp_path / "ab" / ("ab" * 32) / "entry.json").read_text())
    assert Entry(**data) == cache.entries()[0].entry
