"""Checks of what is installed: wan-parity itself, Python, and libraries against the versions that were tested."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from parity.doctor.check import Asked, Check, ok, problem, warning

LIBRARIES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow"),
    *("huggingface-hub", "imageio-ffmpeg"),
)
"""The libraries that generate, read or write: another version of one can change bits or fail."""

_EXTRAS = {"server": "`parity serve`", "pytest": "`pytest --parity-cases`"}
_PACKAGE = Path(__file__).parents[1]


def package(_: Asked) -> Iterator[Check]:
    """The version of wan-parity and where it is imported from."""
    try:
        installed = distribution("wan-parity")
    except PackageNotFoundError:
        found = f"{_PACKAGE} is imported, but not installed: its version and requirements are unknown"
        yield problem("wan-parity", found, f"pip install {_PACKAGE.parent}")
        return
    yield ok("wan-parity", f"{installed.version}, {_origin(installed)}, {_PACKAGE}")


def _origin(installed: Distribution) -> str:
    """Where pip took it from, as it noted down (PEP 610)."""
    noted = json.loads(installed.read_text("direct_url.json") or "{}")
    commit = noted.get("vcs_info", {}).get("commit_id")
    if commit:
        return f"commit {commit[:12]}"
    return "editable" if noted.get("dir_info", {}).get("editable") else "installed"


def python(_: Asked) -> Iterator[Check]:
    """The interpreter: version, 64 bit, environment."""
    bits = 64 if sys.maxsize > 1 << 32 else 32
    where = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    found = f"{platform.python_version()}, {bits} bit, {platform.platform()}, {where} {sys.prefix}"
    supported = _supported_pythons()
    if bits == 32:
        yield problem("python", f"{found}: torch needs 64 bit", "install a 64-bit Python")
    elif not supported.contains(platform.python_version(), prereleases=True):
        yield problem("python", f"{found}: supported are {supported}", "install such a Python, e.g. 3.12")
    else:
        yield ok("python", found)


def _supported_pythons() -> SpecifierSet:
    try:
        return SpecifierSet(distribution("wan-parity").metadata["Requires-Python"] or "")
    except PackageNotFoundError:
        return SpecifierSet()


def tested_versions() -> dict[str, str]:
    """The versions that every figure of this project was made with: `constraints.txt` of the checkout or wheel."""
    found = next(path for path in (_PACKAGE / "constraints.txt", _PACKAGE.parent / "constraints.txt") if path.is_file())
    pins = re.findall(r"^([\w.-]+)==(\S+)", found.read_text(encoding="utf-8"), re.MULTILINE)
    return {_normal(name): pinned for name, pinned in pins}


def versions(_: Asked) -> Iterator[Check]:
    """The installed libraries against the required ranges and the tested versions."""
    installed = {name: _version(name) for name in LIBRARIES}
    if installed["torch"] is None:  # `torch` says what does not work then
        installed = {name: has for name, has in installed.items() if has is not None}
    yield from judged_versions(installed, tested_versions(), _required())


def judged_versions(
    installed: Mapping[str, str | None], tested: Mapping[str, str], required: Mapping[str, SpecifierSet]
) -> Iterator[Check]:
    """Compare installed versions: one line for those that cannot work, one for the rest."""
    broken = {
        name: f"{name} {has or 'is missing'} (needs {required[name] or 'any version'})"
        for name, has in installed.items()
        if name in required and (has is None or not required[name].contains(has, prereleases=True))
    }
    if broken:
        pins = " ".join(f"{name}=={tested[name]}" for name in broken if name in tested)
        yield problem("versions", ", ".join(broken.values()), f"pip install {pins}")
    present = {name: has for name, has in installed.items() if has is not None and name not in broken}
    other = {name: has for name, has in present.items() if name in tested and not _same(has, tested[name])}
    if other:
        named = ", ".join(f"{name} {has} (tested: {tested[name]})" for name, has in other.items())
        pins = " ".join(f"{name}=={tested[name]}" for name in other)
        yield warning("versions", f"{named}: bits may differ from the published figures", f"pip install {pins}")
    elif not broken:
        yield ok("versions", f"as tested: {', '.join(f'{name} {has}' for name, has in present.items())}")


def _same(installed: str, tested: str) -> bool:
    """Equal but for the build: `2.13.0+cpu` and `2.13.0+cu130` are both torch 2.13.0."""
    return Version(installed).public == Version(tested).public


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _required(extra: str = "") -> dict[str, SpecifierSet]:
    """What wan-parity needs, or what one of its extras adds."""
    try:
        wanted = [Requirement(text) for text in requires("wan-parity") or ()]
    except PackageNotFoundError:
        return {}
    of_extra = (one for one in wanted if (one.marker is None) == (not extra))
    return {
        _normal(one.name): one.specifier for one in of_extra if not one.marker or one.marker.evaluate({"extra": extra})
    }


def extras(_: Asked) -> Iterator[Check]:
    """The optional parts. One that is missing whole was not wanted; one that is there in part does not work."""
    for extra, use in _EXTRAS.items():
        wanted = _required(extra)
        unfit = [name for name, range_ in wanted.items() if not _fits(_version(name), range_)]
        install = f"pip install 'wan-parity[{extra}]' (in a clone: pip install -c constraints.txt '.[{extra}]')"
        if not unfit:
            yield ok("extras", f"[{extra}] is installed: {use} works")
        elif len(unfit) == len(wanted) or all(_version(name) is None for name in unfit):
            yield ok("extras", f"[{extra}] is not installed; only {use} needs it: {install}")
        else:
            named = ", ".join(f"{name} {_version(name) or 'is missing'} (needs {wanted[name]})" for name in unfit)
            yield warning("extras", f"[{extra}] does not fit: {named}", install)


def _fits(has: str | None, range_: SpecifierSet) -> bool:
    return has is not None and range_.contains(has, prereleases=True)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
