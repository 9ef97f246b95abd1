"""All checks, in the order in which they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from parity.doctor import determinism, devices, hub, installation, machine, metrics, places
from parity.doctor.check import Asked, Check, problem, skipped
from parity.doctor.devices import TorchBrokenError
from parity.doctor.redact import Redactor
from pipelines.files.words import words_of

Probe = Callable[[Asked], Iterable[Check]]

PROBES: dict[str, Probe] = {
    "wan-parity": installation.package,
    "python": installation.python,
    "versions": installation.versions,
    "extras": installation.extras,
    "environment": machine.environment,
    "terminal": machine.terminal,
    "cpu": machine.cpu,
    "memory": machine.memory,
    "torch": devices.torch_build,
    "cuda": devices.cuda,
    "mps": devices.mps,
    "disk": places.disks,
    "cache trust": places.cache_trust,
    "ffmpeg": places.ffmpeg,
    "ssim": metrics.ssim,
    "lpips": metrics.lpips,
    "hub": hub.hub,
    "determinism": determinism.determinism,
}
"""Each yields its lines; none ends the others."""


def examine(asked: Asked, probes: dict[str, Probe] = PROBES) -> Iterator[Check]:
    """Make the checks one after another, without secrets in what they found. A check that raises is a problem."""
    redactor = Redactor(asked.environ, (hub.token_file(asked.environ),))
    shown = asked.waiting
    asked = dataclasses.replace(asked, waiting=lambda what, detail="": shown(redactor(what), redactor(detail)))
    for name, probe in probes.items():
        try:
            for check in probe(asked):
                yield redactor.check(check)
        except TorchBrokenError:
            yield skipped(name, "needs torch, which cannot be imported")
        except Exception as error:
            failed = f"this check failed: {words_of(error)}"
            yield redactor.check(problem(name, failed, "report it, with the output of `parity doctor --json`"))
