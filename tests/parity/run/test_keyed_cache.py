"""With a cache key, what somebody else wrote into the cache folder is not used, and that is said."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from parity.comparison.compare import frames_sha256
from parity.results import folders
from parity.results.folders import cache_key, who_else_writes
from parity.run.cache import Cache, open_cache
from parity.run.encodings import KeptEncodings
from parity.run.generation import Shelf, generate
from pipelines.engine import fingerprint
from pipelines.errors import UsageError
from pipelines.files import digests
from pipelines.files.digests import Digests
from pipelines.files.keyed import Key, key_in
from pipelines.media.video import Frames
from pipelines.recipe import Recipe
from tests.support.oracle import sample_recipe

FRAMES: Frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
OTHERS: Frames = FRAMES[::-1].copy()
ENTRY = "ab" * 32
MINE, THEIRS = Key("mine" * 8), Key("theirs" * 8)
IDENTITY = {"kind": "text", "given": ("diffusers", "a red square"), "weights": ["x"], "way": [], "code": "y"}


@pytest.fixture
def recipe() -> Recipe:
    return sample_recipe("t2v_basic", 0)


def rewritten(root: Path) -> None:
    """Other frames under an entry, with their hash in it: what anyone can do who can write the folder."""
    folder = root / ENTRY[:2] / ENTRY
    np.savez_compressed(folder / "frames.npz", frames=OTHERS)
    entry = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(entry | {"sha256": frames_sha256(OTHERS)}))


def found(cache: Cache) -> Frames | None:
    hit = cache.find(ENTRY)
    return None if hit is None else hit[0]


def test_rewritten_frames_are_believed_only_without_a_key(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path, MINE)
    cache.store(ENTRY, FRAMES, recipe, "case")
    hit = found(cache)
    assert hit is not None
    assert np.array_equal(hit, FRAMES)
    assert cache.unsigned is None
    rewritten(tmp_path)
    assert found(cache) is None
    assert "not signed with the cache key" in str(cache.unsigned)
    believed = found(Cache(tmp_path))
    assert believed is not None
    assert np.array_equal(believed, OTHERS)
    cache.store(ENTRY, FRAMES, recipe, "case")  # takes its place
    again = found(cache)
    assert again is not None
    assert np.array_equal(again, FRAMES)


@pytest.mark.parametrize("key", [None, THEIRS])
def test_frames_of_others_are_not_used(tmp_path: Path, recipe: Recipe, key: Key | None) -> None:
    Cache(tmp_path, key).store(ENTRY, OTHERS, recipe, "case")
    cache = Cache(tmp_path, MINE)
    assert found(cache) is None
    assert cache.unsigned is not None
    assert found(Cache(tmp_path, key)) is not None  # theirs stay as they are


def test_a_signature_holds_for_one_key_of_the_cache_alone(tmp_path: Path, recipe: Recipe) -> None:
    cache = Cache(tmp_path, MINE)
    cache.store(ENTRY, FRAMES, recipe, "case")
    cache.store("cd" * 32, OTHERS, recipe, "other case")
    shutil.rmtree(tmp_path / ENTRY[:2] / ENTRY)
    shutil.copytree(tmp_path / "cd" / ("cd" * 32), tmp_path / ENTRY[:2] / ENTRY)
    assert found(cache) is None


def test_it_is_said_with_the_case(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the frames are generated."""
    Cache(tmp_path).store(ENTRY, OTHERS, recipe, "case")
    hashing = SimpleNamespace(is_known=True, is_done=True, result=lambda: "weights")
    monkeypatch.setattr(fingerprint, "Hashing", lambda *_: hashing)
    monkeypatch.setattr(Shelf, "key", lambda *_: ENTRY)
    lab: Any = SimpleNamespace(
        case=SimpleNamespace(id="case", inference=recipe, token=None),
        engine=SimpleNamespace(on_phase=None, load=lambda *_: None, ran=None),
        progress=SimpleNamespace(phase=lambda *_: None),
        generate=lambda *_: FRAMES,
    )
    shelf = Shelf(Cache(tmp_path, MINE), {})
    made = generate(cast(Any, lab), shelf, None)
    assert np.array_equal(made.frames, FRAMES)
    assert made.generated_before is None
    assert [note for note in made.notes if "not signed with the cache key were not used" in note]
    again = generate(cast(Any, lab), shelf, None)
    assert again.generated_before is not None
    assert again.notes == ()


@pytest.mark.parametrize("key", [None, THEIRS])
def test_encodings_of_others_are_not_used(tmp_path: Path, key: Key | None) -> None:
    KeptEncodings(tmp_path, {}, key).keep(IDENTITY, torch.ones(1, 4, 8))
    mine = KeptEncodings(tmp_path, {}, MINE)
    assert mine.find(IDENTITY) is None
    assert "not signed with the cache key were not used" in str(mine.problem)
    mine.keep(IDENTITY, torch.zeros(1, 4, 8))
    kept = KeptEncodings(tmp_path, {}, MINE).find(IDENTITY)
    assert kept is not None
    assert torch.equal(kept, torch.zeros(1, 4, 8))


def test_an_encoding_under_the_name_of_another_is_not_used(tmp_path: Path) -> None:
    mine = KeptEncodings(tmp_path, {}, MINE)
    mine.keep(IDENTITY, torch.ones(1, 4, 8))
    [path] = tmp_path.rglob("*.safetensors")
    mine.keep(IDENTITY | {"code": "z"}, torch.zeros(1, 4, 8))
    [other] = {*tmp_path.rglob("*.safetensors")} - {path}
    other.replace(path)
    assert mine.find(IDENTITY) is None


def test_remembered_hashes_of_others_are_not_believed(tmp_path: Path) -> None:
    """Whoever wrote that file could pass off one checkpoint for another."""
    weights, kept = tmp_path / "weights", tmp_path / "hashes.json"
    weights.write_bytes(bytes(1 << 20))
    os.utime(weights, (1e9, 1e9))
    true = Digests(kept, MINE, now=lambda: 1e12).sha256(weights)
    assert json.loads(kept.read_text())["files"]
    assert Digests(kept, MINE).knows([weights])
    forged = kept.read_text().replace(true, "0" * 64)
    kept.write_text(forged)
    assert Digests(kept).sha256(weights) == "0" * 64  # without a key, the folder is trusted
    assert not Digests(kept, MINE).knows([weights])
    assert Digests(kept, MINE).sha256(weights) == true


def test_another_process_of_ours_signs_its_hashes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`parity serve` hands them to the process that generates, with its tasks."""
    weights, kept = tmp_path / "weights", tmp_path / "hashes.json"
    weights.write_bytes(bytes(1 << 20))
    os.utime(weights, (1e9, 1e9))
    monkeypatch.setattr(digests, "_current", Digests(kept, MINE))
    handed_over = pickle.loads(pickle.dumps(digests.remembered_in()))
    monkeypatch.setattr(digests, "_current", Digests())
    digests.remember_in(*handed_over)
    monkeypatch.setattr(digests._current, "_now", lambda: 1e12)  # a file that is just written is not remembered
    digests.sha256_file(weights)
    assert Digests(kept, MINE).knows([weights])
    assert not Digests(kept, THEIRS).knows([weights])


# ---- The key, and the folder


def test_where_the_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAN_PARITY_CACHE_KEY", raising=False)
    assert cache_key() is None
    file = tmp_path / "key"
    file.write_text("mine" * 8 + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY_FILE", str(file))
    from_file = cache_key()
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY", "mine" * 8)
    from_variable = cache_key()
    assert from_file is not None
    assert from_variable is not None
    assert from_file.mac("x", b"") == from_variable.mac("x", b"") == MINE.mac("x", b"") != THEIRS.mac("x", b"")
    assert MINE.mac("x", b"") != MINE.mac("y", b"")
    assert "mine" not in f"{from_file!r} {vars(from_file).keys()}"


def test_a_key_that_cannot_be_used_is_one_message_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY", "topsecret")
    with pytest.raises(UsageError, match=r"WAN_PARITY_CACHE_KEY: has 9 characters, a key needs at least 32") as caught:
        open_cache(tmp_path)
    assert "topsecret" not in str(caught.value)
    monkeypatch.delenv("WAN_PARITY_CACHE_KEY")
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"WAN_PARITY_CACHE_KEY_FILE: .*none: cannot be read: No such file"):
        open_cache(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("mine" * 8)
    file.chmod(0o640)
    with pytest.raises(ValueError, match="can be read by others: chmod 600"):
        key_in(file)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes of folders are POSIX's")
def test_who_else_can_write_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "tmp"
    parent.mkdir()
    parent.chmod(0o1777)
    cache = parent / "cache"
    assert open_cache(cache) is not None
    assert cache.stat().st_mode & 0o777 == 0o700
    assert who_else_writes(cache) is None
    for mode, said in ((0o770, "group"), (0o777, "any user")):
        cache.chmod(mode)
        assert said in str(who_else_writes(cache))
    original = Path.stat

    def of_another_user(path: Path, **how: Any) -> os.stat_result:
        values = list(original(path, **how))
        return os.stat_result([*values[:4], 4711, *values[5:]] if path == cache else values)

    monkeypatch.setattr(Path, "stat", of_another_user)
    assert who_else_writes(cache) == "it belongs to user 4711, not to you"
    with pytest.raises(UsageError, match="another user made this folder where all can"):
        open_cache(cache)
    monkeypatch.setenv("WAN_PARITY_CACHE_KEY", "mine" * 8)
    assert open_cache(cache) is not None  # keyed: nothing in it is believed
    monkeypatch.delenv("WAN_PARITY_CACHE_KEY")
    parent.chmod(0o755)
    assert open_cache(cache) is not None  # a container's volume, say
    assert folders.is_planted(cache) is False
