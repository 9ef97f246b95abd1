"""A recipe drawn in a fresh process, which knows nothing of what this one has loaded, encoded or chosen before.

The process hears its work on stdin, as a pickle of ours, and says on stdout, a line of JSON each, how far it is; the
frames come back as a file. It ends with this process, however that ends: its stdin is closed then.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import errors
from pipelines.errors import DeviceError, ParityError

if TYPE_CHECKING:
    from pipelines.engine.engine import Engine
    from pipelines.engine.stages import OnStep
    from pipelines.media.video import Frames
    from pipelines.recipe import Recipe

# -P: a folder called `torch` where the user happens to be is nobody's torch; PYTHONPATH is this process' own path.
_COMMAND = (sys.executable, "-P", "-m", "parity.repeat.fresh")


def draw_afresh(
    engine: Engine, recipe: Recipe, token: str | None, on_loaded: Callable[[], None], on_step: OnStep
) -> Frames:
    """Frames (T, H, W, 3), uint8 RGB, of a recipe as a fresh process draws it.

    On this engine's device, offloaded alike. The engine lets go of its weights first: no device need hold them twice.
    `token`: a Hub token. `on_loaded`: hears that the weights are there. Raises as `Engine.generate` does there, and
    DeviceError if the process dies.
    """
    engine.close()
    with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
        file = Path(folder) / "frames.npy"
        work = pickle.dumps((recipe, str(engine.device), engine.offload, token, file))
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            _converse(process, work, on_loaded, on_step)
        finally:  # done, or Ctrl-C, or --timeout
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        frames: Frames = np.load(file, allow_pickle=False)
        return frames


def _converse(process: subprocess.Popen[bytes], work: bytes, on_loaded: Callable[[], None], on_step: OnStep) -> None:
    """Hand over the work and hear of it until it is done."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died; what it said before tells more
        process.stdin.write(work)
        process.stdin.flush()
    for line in process.stdout:
        said: dict[str, Any] = json.loads(line)
        if "loaded" in said:
            on_loaded()
        elif "step" in said:
            on_step(*said["step"])
        elif "error" in said:
            name, message = said["error"]
            raise getattr(errors, name)(message)
        else:
            return
    code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise DeviceError(f"the fresh process that was to draw this once more {how}; was there memory enough?")


def main() -> None:
    """The fresh process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both: the one that waits for us decides
    saying = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no word of ours
    recipe, device, offload, token, file = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_other, daemon=True).start()

    def say(**words: Any) -> None:
        saying.write(json.dumps(words) + "\n")

    from pipelines.engine.engine import Engine

    try:
        engine = Engine(device, offload)
        engine.load(recipe, token)
        say(loaded=True)
        frames = engine.generate(recipe, lambda *step: say(step=step), token)
    except ParityError as error:
        say(error=(type(error).__name__, str(error)))
        return
    np.save(file, frames)
    say(done=True)


def _end_with_the_other() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
