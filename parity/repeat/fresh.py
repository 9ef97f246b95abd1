"""Generation in a fresh process, which shares nothing that this one has loaded, encoded or chosen before.

The frames come back as a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.apart import Child, Parent
from pipelines.errors import ParityError
from pipelines.leaving import leave_quickly

if TYPE_CHECKING:
    from pipelines.engine.engine import Engine
    from pipelines.engine.stages import OnStep
    from pipelines.media.video import Frames
    from pipelines.phases import OnPhase
    from pipelines.recipe import Recipe

_NAME = "the fresh process that was to generate this again"


def generate_in_fresh_process(
    engine: Engine, recipe: Recipe, token: str | None, on_loaded: Callable[[], None], on_step: OnStep
) -> Frames:
    """Generate a recipe in a fresh process. Returns frames (T, H, W, 3), uint8 RGB.

    The process uses this engine's device and offload mode. The engine releases its weights first, so that they are not
    on the device twice. `token` is a Hub token. `on_loaded` is called once the weights are loaded. Raises what
    `Engine.generate` raises there, and ProcessEndedError if the process dies.
    """
    engine.close()
    with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
        file = Path(folder) / "frames.npy"
        with Child("parity.repeat.fresh", _NAME) as child:  # killed when done, or at Ctrl-C, or --timeout
            child.send((recipe, str(engine.device), engine.offload, token, file))
            _converse(child, engine.on_phase, on_loaded, on_step)
        frames: Frames = np.load(file, allow_pickle=False)
        return frames


def _converse(child: Child, on_phase: OnPhase, on_loaded: Callable[[], None], on_step: OnStep) -> None:
    """Read its progress until it is done."""
    while True:
        message = child.receive()
        if "loaded" in message:
            on_loaded()
        elif "phase" in message:
            on_phase(*message["phase"])
        elif "step" in message:
            on_step(*message["step"])
        else:
            return


def main() -> None:
    """Run as the fresh process."""
    parent = Parent()
    recipe, device, offload, token, file = parent.receive()
    leave_quickly()

    from pipelines.engine.engine import Engine

    try:
        engine = Engine(device, offload)
        engine.on_phase = lambda *phase: parent.send(phase=phase)
        engine.load(recipe, token)
        parent.send(loaded=True)
        frames = engine.generate(recipe, lambda *step: parent.send(step=step), token)
    except ParityError as error:
        parent.fail(error)
        return
    np.save(file, frames)
    parent.send(done=True)


if __name__ == "__main__":
    main()
