"""The page's colours and fonts: every text has a contrast of 4.5 to 1 and more, in light and in dark."""

from typing import Any

from gradio.themes import Default
from gradio.themes.utils import colors

FONTS, MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # the computer's own: nothing is loaded

# Variables of Gradio's themes, in light and in dark.
_COLOURS: dict[str, tuple[str, str]] = {
    "body_text_color_subdued": ("*neutral_600", "*neutral_300"),
    "block_info_text_color": ("*neutral_600", "*neutral_300"),
    "block_label_text_color": ("*neutral_700", "*neutral_200"),
    "block_title_text_color": ("*neutral_800", "*neutral_100"),
    "accordion_text_color": ("*neutral_800", "*neutral_100"),
    "input_placeholder_color": ("*neutral_500", "*neutral_400"),
    "link_text_color": ("*secondary_700", "*secondary_300"),
    "link_text_color_hover": ("*secondary_800", "*secondary_200"),
    "link_text_color_active": ("*secondary_700", "*secondary_300"),
    "link_text_color_visited": ("*secondary_700", "*secondary_300"),
    "button_primary_background_fill": ("*primary_700", "*primary_700"),
    "button_primary_background_fill_hover": ("*primary_800", "*primary_800"),
    "button_cancel_background_fill": (colors.red.c700, colors.red.c700),
    "button_cancel_background_fill_hover": (colors.red.c800, colors.red.c800),
}


def make() -> Any:
    """Gradio's own theme in these colours."""
    both = {}
    for name, (light, dark) in _COLOURS.items():
        both |= {name: light, f"{name}_dark": dark}
    return Default(font=FONTS, font_mono=MONO).set(**both)
