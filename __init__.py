"""Stable Cascade for node graphs: what ComfyUI reads when it finds this folder in `custom_nodes`.

Cheap to import: no torch, no file is touched before a node is asked for.
"""

if __package__:  # empty only where a test runner imports this file bare, from a folder whose name is not an identifier
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .runtime.editor import serve

    serve()  # the one thing that importing does, and only in ComfyUI, which takes it at no other time

    WEB_DIRECTORY = "./web"  # help pages and socket colours, which ComfyUI serves to the editor

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
