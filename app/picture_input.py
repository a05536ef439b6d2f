"""A field that takes a picture: a list of those that are there, a button to bring one, and the picture itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from . import components, pictures, wording
from .gallery import QUIET
from .tabs import Field

PAINT = "Paint over what is to be made anew. Without paint it is what is transparent in the picture."


class PictureInput:
    """`component` has the picture's name, `view` shows it; where its mask is used, it can be painted on."""

    def __init__(self, field: Field, label: str) -> None:
        """Draw it."""
        self.field = field
        if field.mask:
            gr.Markdown(PAINT, elem_classes=["hint"])
            self.view = gr.ImageEditor(
                label="Mask",
                height=330,
                value=self.shown(str(field.value)),
                type="pil",
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(default_size=40, colors=["#ff3b30"], color_mode="fixed"),
                format="png",
                elem_classes=["mask"],
            )
        else:
            self.view = gr.Image(
                value=self.shown(str(field.value)),
                show_label=False,
                interactive=False,
                height=200,
                format="png",
                buttons=[],
                elem_classes=["given"],
            )
        with gr.Row(elem_classes=["choose"]):
            self.component = components.make(field, label)
            bring = gr.UploadButton("Upload a picture", file_types=["image"], size="sm", elem_classes=["bring"])
        message = gr.HTML(visible=False)
        self.component.input(self.shown, self.component, self.view, **QUIET)
        bring.upload(self._brought, bring, [self.component, self.view, message], **QUIET)

    def shown(self, name: object) -> Any:
        """A picture as the view takes it."""
        picture = pictures.view(name) if isinstance(name, str) else None
        if not self.field.mask:
            return picture
        return {"background": picture, "layers": [], "composite": picture}

    def _brought(self, path: str) -> Sequence[Any]:
        try:
            name = pictures.keep(Path(path), Path(path).name)
        except CascadeError as error:
            return gr.skip(), gr.skip(), gr.HTML(wording.error(error), visible=True)
        chosen = gr.Dropdown(choices=components.choices(self.field), value=name)
        return chosen, self.shown(name), gr.HTML(visible=False)
