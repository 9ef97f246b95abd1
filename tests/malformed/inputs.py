"""The type of a malformed input, and the damage that applies to every kind of file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["refused", "clean"]
"""refused: exit code 2 or 3, and one message that names the file. clean: that, or a result (0 or 1): the damage may
leave a file that is as good as another."""

Damage = Callable[[Path], None]
"""A function that damages the intact file at a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One malformed input."""

    kind: str
    """The kind of file, as the table of outcomes lists it."""
    target: str
    """The file, relative to the workplace."""
    what: str
    """A description of the damage."""
    damage: Damage
    command: tuple[str, ...]
    """Arguments of `parity`, run in the workplace."""
    must: Outcome = "refused"
    says: str = ""
    """The text that the message must contain besides the file's name."""
    names: bool = True
    """True if it must contain that: not if the damage is only noticed while generating."""
    torch: bool = False
    """True if the command loads torch."""

    @property
    def name(self) -> str:
        words = self.command[: 2 if self.command[0] == "baseline" else 1]
        case = next((word for word in self.command if word.endswith(".yaml")), "")
        return f"{self.target}: {self.what} ({' '.join((*words, case)).strip()})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file of the workplace, and the command that reads it."""

    kind: str
    path: str
    command: tuple[str, ...]
    torch: bool = False

    def input(self, what: str, damage: Damage, must: Outcome = "refused", says: str = "", names: bool = True) -> Input:
        return Input(
            kind=self.kind,
            target=self.path,
            what=what,
            damage=damage,
            command=self.command,
            must=must,
            says=says,
            names=names,
            torch=self.torch,
        )


def bytes_of(change: Callable[[bytes], bytes]) -> Damage:
    """Damage as a change of content."""

    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


def instead(data: bytes) -> Damage:
    """Damage as other content."""
    return bytes_of(lambda _: data)


def cut_at(percent: float) -> Damage:
    return bytes_of(lambda data: data[: int(len(data) * percent / 100)])


def flip_bit(bit: int) -> Damage:
    """One bit of the file, counted from its start; negative: from its end."""

    def change(data: bytes) -> bytes:
        place = bit % (len(data) * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    return bytes_of(change)


def put(place: int, patch: bytes) -> Damage:
    """Other bytes in a place."""
    return bytes_of(lambda data: data[:place] + patch + data[place + len(patch) :])


def scattered_bits(target: Target, count: int) -> Iterator[Input]:
    """Flips all over the file; what they hit is chance, but the same in every run."""
    chosen = random.Random(target.path)
    for _ in range(count):
        bit = chosen.randrange(2_000_000)
        yield target.input(f"bit {bit}, counted round and round, flipped", flip_bit(bit), "clean")


def cuts(target: Target, *percents: float) -> Iterator[Input]:
    for percent in percents:
        yield target.input(f"cut at {percent:g}%", cut_at(percent))


def no_file(target: Target) -> Iterator[Input]:
    """Replace the file by something else."""
    yield target.input("empty", instead(b""))
    yield target.input("a folder", _folder)
    yield target.input("a link to itself", _loop)
    yield target.input("a link to nothing", _dangling)
    yield target.input("a pipe nobody writes to", _pipe)
    yield target.input("a link to /dev/zero", _endless)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def no_text(target: Target) -> Iterator[Input]:
    """Damage that any text file can take. A byte order mark is none: editors write it."""
    yield target.input("as UTF-16", bytes_of(lambda data: data.decode().encode("utf-16")))
    yield target.input("a letter in Latin-1", bytes_of(_latin))
    yield target.input(
        "a NUL byte in it", bytes_of(lambda data: data[: len(data) // 2] + b"\0" + data[len(data) // 2 :])
    )
    yield target.input("NUL bytes alone", instead(bytes(4096)))
    yield target.input("random bytes", instead(random.Random(target.path).randbytes(4096)))
    yield target.input("with a byte order mark", bytes_of(lambda data: b"\xef\xbb\xbf" + data), "clean")


def _latin(data: bytes) -> bytes:
    """Put an é in Latin-1, as old editors save it, into the first quoted text."""
    place = data.index(b'"') + 1
    return data[:place] + b"\xe9" + data[place:]
