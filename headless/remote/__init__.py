"""A running ComfyUI that does the work."""
