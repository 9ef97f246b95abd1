"""Generation in a fresh process, which shares nothing that this one has loaded, encoded or chosen before.

The process receives its task on stdin, as a pickle of ours, and reports progress on stdout, one line of JSON each; the
frames come back as a file. It ends when this process ends, because its stdin is closed then.
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
from pipelines.leaving import leave_quickly

if TYPE_CHECKING:
    from pipelines.engine.engine import Engine
    from pipelines.engine.stages import OnStep
    from pipelines.media.video import Frames
    from pipelines.phases import OnPhase
    from pipelines.recipe import Recipe

# -P: a folder called `torch` in the current folder must not be imported; PYTHONPATH is this process' own path.
_COMMAND = (sys.executable, "-P", "-m", "parity.repeat.fresh")


def generate_in_fresh_process(
    engine: Engine, recipe: Recipe, token: str | None, on_loaded: Callable[[], None], on_step: OnStep
) -> Frames:
    """Generate a recipe in a fresh process. Returns frames (T, H, W, 3), uint8 RGB.

    The process uses this engine's device and offload mode. The engine releases its weights first, so that they are not
    on the device twice. `token` is a Hub token. `on_loaded` is called once the weights are loaded. Raises what
    `Engine.generate` raises there, and DeviceError if the process dies.
    """
    engine.close()
    with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
        file = Path(folder) / "frames.npy"
        task = pickle.dumps((recipe, str(engine.device), engine.offload, token, file))
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            _converse(process, task, engine.on_phase, on_loaded, on_step)
        finally:  # done, or Ctrl-C, or --timeout
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        frames: Frames = np.load(file, allow_pickle=False)
        return frames


def _converse(
    process: subprocess.Popen[bytes], task: bytes, on_phase: OnPhase, on_loaded: Callable[[], None], on_step: OnStep
) -> None:
    """Send the task and read its progress until it is done."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # the process died; its output tells why
        process.stdin.write(task)
        process.stdin.flush()
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "loaded" in message:
            on_loaded()
        elif "phase" in message:
            on_phase(*message["phase"])
        elif "step" in message:
            on_step(*message["step"])
        elif "error" in message:
            name, text = message["error"]
            raise getattr(errors, name)(text)
        else:
            return
    code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise DeviceError(f"the fresh process that was to generate this again {how}; was there enough memory?")


def main() -> None:
    """Run as the fresh process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes: the parent decides
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with our messages
    recipe, device, offload, token, file = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    leave_quickly()

    def send(**message: Any) -> None:
        messages.write(json.dumps(message) + "\n")

    from pipelines.engine.engine import Engine

    try:
        engine = Engine(device, offload)
        engine.on_phase = lambda *phase: send(phase=phase)
        engine.load(recipe, token)
        send(loaded=True)
        frames = engine.generate(recipe, lambda *step: send(step=step), token)
    except ParityError as error:
        send(error=(type(error).__name__, str(error)))
        return
    np.save(file, frames)
    send(done=True)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
