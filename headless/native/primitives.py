"""Stand-ins for the host's nodes that hold one value: PrimitiveInt and the like."""

import sys
from collections.abc import Mapping
from typing import Any

_ANY_SIZE = {"min": -sys.maxsize, "max": sys.maxsize}


class _Primitive:
    CATEGORY = "utils/primitive"
    DESCRIPTION = "One value, for as many inputs as it is connected to."
    FUNCTION = REHEARSE = "give"
    RETURN_TYPES: tuple[str]
    OPTIONS: Mapping[str, Any] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (cls.RETURN_TYPES[0], dict(cls.OPTIONS))}}

    def give(self, value: Any) -> tuple[Any]:
        return (value,)


class PrimitiveInt(_Primitive):
    DISPLAY_NAME, RETURN_TYPES = "Int", ("INT",)
    OPTIONS = {**_ANY_SIZE, "control_after_generate": "fixed"}


class PrimitiveFloat(_Primitive):
    DISPLAY_NAME, RETURN_TYPES = "Float", ("FLOAT",)
    OPTIONS = {**_ANY_SIZE, "step": 0.1}


class PrimitiveString(_Primitive):
    DISPLAY_NAME, RETURN_TYPES = "Text", ("STRING",)


class PrimitiveStringMultiline(_Primitive):
    DISPLAY_NAME, RETURN_TYPES = "Text (Multiline)", ("STRING",)
    OPTIONS = {"multiline": True}


class PrimitiveBoolean(_Primitive):
    DISPLAY_NAME, RETURN_TYPES = "Boolean", ("BOOLEAN",)


NODES = (PrimitiveInt, PrimitiveFloat, PrimitiveString, PrimitiveStringMultiline, PrimitiveBoolean)
