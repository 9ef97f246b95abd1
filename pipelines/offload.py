"""Where weights are while a GPU computes. Imports nothing heavy: options and estimates know the modes, too."""

from __future__ import annotations

from typing import Literal, get_args

Offload = Literal["none", "model", "sequential"]
"""What is on the device: all weights (`none`), one part at a time (`model`) or one layer at a time (`sequential`)."""
OFFLOADS: tuple[Offload, ...] = get_args(Offload)
"""The offload modes; each needs less memory than the one before."""
