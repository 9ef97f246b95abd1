"""What to set in ComfyUI for a preview, against graphs that real ComfyUI ran; and what cannot be had there."""

from __future__ import annotations
