"""The exceptions of this project, one class per kind of problem.

Every message says what is wrong, where (file, line, key) and what to do. The command line prints only the message; the
traceback of an exception that is not one of these goes to a file, for a report (`parity/run/unexpected.py`).
"""

from __future__ import annotations

from pipelines.files.shown import message


class ParityError(Exception):
    """Base class of all deliberate errors. `exit_code` is the exit code of the process.

    Each argument is a message; several stand below one another. A message's further lines are indented by two spaces:
    a line break without them came with a value from elsewhere and is shown as such, like other control characters.
    """

    exit_code = 3

    def __init__(self, *messages: str) -> None:
        super().__init__(*map(message, messages))

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class CaseError(ParityError):
    """A case, job config or request is invalid; nothing was run."""

    exit_code = 2


class GraphError(CaseError):
    """A ComfyUI graph is damaged, or holds nodes that are not supported yet; the message names them."""


class MediaError(ParityError):
    """A video or image file cannot be read or written."""


class WeightsError(ParityError):
    """A checkpoint or LoRA file is missing, unreadable or does not fit the model."""


class HubError(WeightsError):
    """A source of weights cannot be had from the Hub."""

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source


class DeviceError(ParityError):
    """The device does not support what was requested."""


class OutOfMemoryError(DeviceError):
    """The device ran out of memory; another offload mode may need less."""


class ProcessEndedError(DeviceError):
    """A process of ours died: killed by a signal, out of memory, or ended by a library."""

    def __init__(self, name: str, how: str) -> None:
        """`name` is the process, `how` what happened to it, as `apart.how_it_ended` says it."""
        super().__init__(f"{name} {how}")
        self.how = how


class NotANumberError(ParityError):
    """The generated latents or pixels contain NaN or infinity."""


class TargetError(ParityError):
    """A server did not generate what was requested; the message contains its answer."""


class UnreproducibleError(ParityError):
    """A recipe cannot be reproduced by anyone (random seed), or this engine does not support it yet."""


class UnexpectedError(ParityError):
    """An exception that nobody foresaw: a bug of this project, or a library's refusal that is not known yet."""

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        self.cause = cause


class UsageError(ParityError):
    """An invalid command line."""

    exit_code = 2
