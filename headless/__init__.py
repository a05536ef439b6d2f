"""Workflow files without an editor and a server: read, checked, run here or by a ComfyUI elsewhere."""
