"""The node between Stage C and Stage B that lets a person choose: only what is picked is worked out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import STAGE_C_CHANNELS
from ..cascade_core.sampling.sizes import PIXELS_PER_CELL
from ..runtime import host, previews
from . import inputs, sockets
from .latents import CATEGORY, CascadeEmptyLatents

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle

ALL = "all"
RANGE = re.compile(r"(\d{1,6})(?:\s*-\s*(\d{1,6}))?")


class CascadePickLatents:
    DISPLAY_NAME = "Pick Pictures"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Shows what Stage C made and passes on what you pick, so that Stage B works out no others. While nothing is"
        " picked, nothing after it runs. A picture keeps its place in the batch and becomes what it would be with all."
    )
    SEARCH_ALIASES = ("stable cascade", "preview gate", "choose", "select", "latent from batch", "preview chooser")
    FUNCTION, REHEARSE = "pick", "rehearse"
    OUTPUT_NODE = True
    RETURN_TYPES, RETURN_NAMES = ("LATENT", "LATENT"), ("stage_c", "stage_b")
    OUTPUT_TOOLTIPS = (
        "What was picked, for `stage_c` of the Stage B sampler.",
        "Empty latents for as many pictures, for `latent` of the Stage B sampler.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "latent": inputs.wire("LATENT", "The result of the Stage C sampler, several pictures."),
                "picks": inputs.text(
                    "",
                    "The pictures to go on with, counted from 1: 2, 5-6, or all. Empty: none yet. A click on a preview"
                    " adds its number, or takes it away.",
                ),
            },
            "optional": {"previewer": inputs.wire(sockets.PREVIEWER, "Shows the pictures in the node, to pick from.")},
        }

    def pick(self, latent: sockets.Latent, picks: str, previewer: Handle | None = None) -> dict[str, Any]:
        places, result = self._picked(latent, picks, previewer)
        count = len(latent["samples"])
        if places:
            text = f"picked {', '.join(str(place + 1) for place in places)} of {count}"
        else:
            text = (
                f"nothing is picked of {count} pictures yet, so nothing after this node runs: give picks the numbers to"
                f" go on with, such as 1 or 1-{count} or {ALL}"
            )
            result = (host.current().withheld(),) * len(result)
        host.current().tell(self.DISPLAY_NAME, text)
        shown = [] if previewer is None else previews.keep(previewer, latent["samples"])
        return {"ui": {"text": [text], "previews": shown}, "result": result}

    def rehearse(
        self, latent: sockets.Latent, picks: str, previewer: Handle | None = None
    ) -> tuple[sockets.Latent, sockets.Latent]:
        places, result = self._picked(latent, picks, previewer)
        return result if places else self._picked(latent, ALL, previewer)[1]  # what comes after is to fit already

    def _picked(
        self, latent: sockets.Latent, picks: str, previewer: Handle | None
    ) -> tuple[list[int], tuple[sockets.Latent, sockets.Latent]]:
        """The places that were picked, from 0, and the outputs for them."""
        given = sockets.to_latent("latent", latent, STAGE_C_CHANNELS)
        if previewer is not None:
            from ..cascade_core.models.family import check_family

            check_family(previewer, "latent", given.family)
        places = picked_places(picks, len(given.samples))
        mask = given.noise_mask
        if mask is not None and mask.ndim > 2:  # fewer masks than pictures serve in turn
            mask = mask[[place % len(mask) for place in places]]
        stage_c = {
            **latent,
            "samples": latent["samples"][places],
            "batch_index": [given.places[place] for place in places],
            **({} if mask is None else {sockets.NOISE_MASK: mask}),
        }
        height, width = given.size or (round(cells * PIXELS_PER_CELL) for cells in given.cells)
        return places, (stage_c, CascadeEmptyLatents().make(width, height, len(places))[1])


def picked_places(picks: str, count: int) -> list[int]:
    """`2, 5-6` or `all` of so many pictures -> their places from 0, in order, each once."""
    if picks.strip().lower() == ALL:
        return list(range(count))
    places = set[int]()
    for part in filter(None, (part.strip() for part in picks.split(","))):
        found = RANGE.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= count:
            raise CascadeError(
                f"`picks`: expected numbers of the {count} pictures, such as 1 or 1-{count} or {ALL},"
                f" found {part!r:.60}"
            )
        places.update(range(first - 1, last))
    return sorted(places)


NODES = (CascadePickLatents,)
