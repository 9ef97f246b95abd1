"""One exception hierarchy: what a user can get wrong, and what cannot be done.

Every message says what is wrong, where (file, line, key) and what to do. The command line
prints the message alone; a traceback is reserved for our own mistakes.
"""

from __future__ import annotations


class ParityError(Exception):
    """Root of all errors this project raises on purpose. `exit_code` is the process exit code."""

    exit_code = 3


class CaseError(ParityError):
    """A case, job config or request that cannot be understood; nothing was run."""

    exit_code = 2


class MediaError(ParityError):
    """A video or image file that cannot be read or written."""


class WeightsError(ParityError):
    """A checkpoint or LoRA file that is missing, unreadable or does not fit the model."""


class DeviceError(ParityError):
    """The device cannot do what was asked of it."""


class OutOfMemoryError(DeviceError):
    """The device ran out of memory; another offload mode may need less."""


class NotANumberError(ParityError):
    """A drawing that is no picture: NaN or infinite latents or pixels."""


class TargetError(ParityError):
    """A server that was asked to draw, and what it answered instead."""


class UnreproducibleError(ParityError):
    """A recipe that no engine can repeat (random seed) or that ours does not run yet."""


class UsageError(ParityError):
    """A command line that cannot be followed."""

    exit_code = 2
