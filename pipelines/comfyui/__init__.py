"""ComfyUI's side: the graphs of its native Wan nodes, and how they decide the pixels."""
