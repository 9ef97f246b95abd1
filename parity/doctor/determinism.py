"""The check that matters: does this machine generate the same bits twice, and those of ai-toolkit's own preview?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.doctor.check import Asked, Check, ok, problem, skipped, warning
from pipelines import cpu_kernels
from pipelines.errors import ParityError

if TYPE_CHECKING:
    from parity.case.load import Case
    from pipelines.media.video import Frames

CASE = "t2v-guitar-faithful"
"""Of the demo: its preview is ai-toolkit's, and its recipe repeats it bit for bit."""


def determinism(asked: Asked) -> Iterator[Check]:
    """Generate one tiny case twice, in two fresh processes, on every device."""
    if asked.quick:
        yield skipped("determinism", "not tried (--quick)", "parity doctor")
        return
    from parity.case.load import DEMO, load_case

    case = load_case(DEMO / f"{CASE}.yaml")
    for device in _devices(asked):
        name = f"determinism on {device}"
        try:
            yield _on(device, case, asked)
        except ParityError as error:
            yield problem(name, str(error).partition("\n")[0], "report it, unless a line above says why")


def _devices(asked: Asked) -> list[str]:
    from parity.doctor.devices import usable_gpus

    if asked.device not in ("auto", "cpu"):
        return [asked.device]
    return ["cpu", *(usable_gpus() if asked.device == "auto" else ())]


def _on(device: str, case: Case, asked: Asked) -> Check:
    from parity.repeat.fresh import generate_in_fresh_process
    from pipelines.engine.engine import Engine

    engine, started = Engine(device), time.perf_counter()

    def generate(number: int) -> Frames:
        what = f"generating a tiny video on {device}, in fresh process {number} of 2"
        asked.waiting(what, ": loading")
        return generate_in_fresh_process(
            engine,
            case.inference,
            None,
            lambda: asked.waiting(what, ": loaded"),
            lambda done, steps: asked.waiting(what, f": step {done} of {steps}"),
        )

    return judged_outputs(device, case, generate(1), generate(2), time.perf_counter() - started)


def judged_outputs(device: str, case: Case, first: Frames, second: Frames, seconds: float) -> Check:
    """Compare two generations with each other, and with the preview."""
    from parity.comparison.compare import closeness, compare, local_output, read_preview
    from parity.results.words import decibels

    name = f"determinism on {device}"
    apart = closeness(first, second)
    if not apart.identical:
        found = (
            f"two fresh processes generate different frames ({decibels(apart.psnr)} apart): no figure can be trusted"
        )
        return problem(name, found, "docs/repeat.md says what to check; report it with this output")
    preview = read_preview(case.video, case.preview)
    output = local_output(first, case.inference)
    took = f"({seconds:.0f} s)"
    if output.encoded == case.video.read_bytes():
        return ok(name, f"the same bits in two fresh processes, and ai-toolkit's own preview bit for bit {took}")
    comparison = compare(case.video, preview, output, case.preview)
    if comparison.bit_identical:
        found = (
            "the same bits in two fresh processes, and every frame of ai-toolkit's own preview; only its file differs"
        )
        return ok(name, f"{found} (another libwebp) {took}")
    psnr = comparison.metrics["psnr"].mean
    near = f"the same bits in two fresh processes, {decibels(psnr)} from ai-toolkit's preview of another machine"
    if psnr is None or psnr < case.tolerance["psnr"]:
        to_do = "compare the versions above with the tested ones; if they are the same, report it"
        return problem(name, f"{near}: less than rounding costs ({case.tolerance['psnr']:g} dB)", to_do)
    if device == "cpu" and cpu_kernels.in_force() == "portable":
        to_do = "compare the versions above with the tested ones; with the same on x86-64, report it"
        return warning(name, f"{near}: expected are its very bits", to_do)
    return ok(name, f"{near}, as rounding on another device costs {took}")
