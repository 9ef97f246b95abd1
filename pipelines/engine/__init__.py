"""The engine: turns a recipe into frames with diffusers, whichever side the recipe came from."""
