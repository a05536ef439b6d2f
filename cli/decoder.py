"""What makes pictures of latents: Stage B by the empty prompt, then Stage A; here, or as one of several processes."""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files import picture_files
from ..cascade_core.training.data import latent_files
from ..cascade_core.training.data.latent_files import Picture
from ..headless.graph import WorkflowError
from ..headless.run import configure
from ..runtime import host
from . import arguments, workers

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle
    from ..cascade_core.sampling.condition import Condition

ADVICE = "choose a smaller --batch, or another --device"
NO_TEXT = "none"
MARK = ("Software", "cascade decode")  # in the text of each PNG: only these are taken for done, and replaced


class Decoder:
    """The models, of one family with the latents: WorkflowError for others."""

    def __init__(self, options: argparse.Namespace, families: Mapping[str, str]) -> None:
        """families: of the latents, each with what is of it."""
        from ..nodes import loaders

        self.options = options
        self.stage_b = arguments.load_model(loaders.CascadeStageBLoader, "--stage-b", options.stage_b, options.dtype)
        self.stage_a = arguments.load_model(loaders.CascadeStageALoader, "--stage-a", options.stage_a)
        for family, label in families.items():
            _check(self.stage_b, "--stage-b", label, family)
        _check(self.stage_a, "--stage-a", self.stage_b.name, self.stage_b.family)
        self.condition = self._condition()

    def __call__(self, batch: Sequence[Picture], stage_c: Sequence[Tensor]) -> list[Tensor]:
        """Latents of Stage C (16, h, w) -> pictures (3, H, W) in 0..1."""
        import torch

        from ..cascade_core.pipeline import decode_pixels, last
        from ..cascade_core.sampling.latent import Latent
        from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS
        from ..cascade_core.sampling.sizes import stage_b_size
        from ..cascade_core.sampling.stages import sample_stage_b

        height, width = batch[0].size
        empty = torch.zeros(len(batch), self.stage_b.config.channels, *stage_b_size(width, height))
        steps = sample_stage_b(
            self.stage_b,
            [self.condition],
            [self.condition],
            Latent(torch.stack([latent.float() for latent in stage_c])),
            Latent(empty, batch_index=[picture.index for picture in batch]),
            seed=self.options.seed,
            settings=replace(STAGE_B_DEFAULTS, steps=self.options.steps, cfg=self.options.cfg),
        )
        pixels = decode_pixels(self.stage_a, last(steps), along=partial(host.current().walk, "Stage A"))
        return [one[:, : picture.size[0], : picture.size[1]] for one, picture in zip(pixels, batch, strict=True)]

    def _condition(self) -> Condition:
        """The empty prompt, of which Stage B reads the pooled vector."""
        import torch

        from ..cascade_core.pipeline import encode_text
        from ..cascade_core.sampling.condition import Condition
        from ..nodes import loaders

        name = self.options.text_encoder or (arguments.TINY if self.stage_b.family == "tiny" else None)
        if name is None:
            raise WorkflowError(
                f"--text-encoder: expected the text encoder of {self.stage_b.name}, for the empty prompt that Stage B"
                f" is conditioned on, or {NO_TEXT} for zeros"
            )
        if name == NO_TEXT:
            return Condition(torch.zeros(1, 1, 1), torch.zeros(1, self.stage_b.config.c_clip))
        encoder = arguments.load_model(loaders.CascadeTextEncoderLoader, "--text-encoder", name)
        _check(encoder, "--text-encoder", self.stage_b.name, self.stage_b.family)
        return encode_text(encoder, "")


def _check(handle: Handle, option: str, other: str, family: str) -> None:
    if handle.family != family:
        raise WorkflowError(
            f"{option}: {handle.name} is of the family {handle.family}, but {other} is of {family}: choose models of"
            " one family"
        )


def to_png(pixels: Tensor) -> bytes:
    """(3, H, W) as the content of a PNG file."""
    import torch
    from PIL import Image, PngImagePlugin

    array = pixels.mul(255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    content, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text(*MARK)
    Image.fromarray(array).save(content, format="PNG", compress_level=4, pnginfo=text)
    return content.getvalue()


def is_ours(path: Path) -> bool:
    """Whether the file is a PNG that `to_png` made; CascadeError for one that is no picture."""
    with picture_files.opened(path, most=1) as picture:
        return picture.info.get(MARK[0]) == MARK[1]


def worker(options: argparse.Namespace, job: Mapping[str, Any]) -> workers.PieceWorker:
    """One of the processes that decode for another. WorkflowError and CascadeError where it cannot."""
    from ..cascade_core.files.header import open_tensors

    configure(options).device()
    decoder = Decoder(options, job["families"])

    def decode(file: str, fingerprint: str, names: Sequence[str]) -> dict[str, Any]:
        shard = read_same(Path(file), fingerprint)
        with open_tensors(shard.header) as get:
            decoded = decoder([shard.pictures[name] for name in names], [get(name) for name in names])
        finite = {name: pixels for name, pixels in zip(names, decoded, strict=True) if pixels.isfinite().all()}
        return {"pngs": {name: base64.b64encode(to_png(pixels)).decode() for name, pixels in finite.items()}}

    return workers.PieceWorker(models(options), decode, ADVICE)


@lru_cache(maxsize=1)
def read_same(path: Path, fingerprint: str) -> latent_files.Shard:
    """A file of latents, which has to be the driver's. Raises LeftOut."""
    try:
        if latent_files.fingerprint(path) == fingerprint:
            return latent_files.read(path)
    except CascadeError as error:
        raise workers.LeftOut(str(error)) from error
    raise workers.LeftOut(f"{path} is not the driver's file of that name: give both the same")


def models(options: argparse.Namespace) -> dict[str, str]:
    """Digests of the files in which workers and driver have to agree."""
    from ..headless import node_classes
    from ..headless.batch.model_identity import identity

    names = {"CascadeStageBLoader": options.stage_b, "CascadeStageALoader": options.stage_a}
    names["CascadeTextEncoderLoader"] = options.text_encoder or NO_TEXT
    return {f"{loader}: {name}": identity(f"{loader}: {name}", node_classes.load()) for loader, name in names.items()}
