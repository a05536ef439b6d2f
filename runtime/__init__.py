"""Where nodes run: folders, device, memory, progress, cancelling; in ComfyUI or on our own."""
