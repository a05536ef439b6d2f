"""The engine of Stable Cascade: models, sampling, files, training; no nodes, no ComfyUI, no workflow files.

For people who write Python `cascade_core.api` has the names that they need. Code of this project imports the modules
themselves, so that nothing heavy loads before it is used.
"""
