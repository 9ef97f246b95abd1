"""The engine: turns a recipe into frames with diffusers, whichever side the recipe came from."""

from pipelines import cpu_kernels

cpu_kernels.apply()  # before any module of this package imports torch
