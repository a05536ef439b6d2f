"""Stage A in tiles: the margin is what a cell depends on and no more, and the picture is that of the whole latent.

Run: pytest tests/test_tiles.py
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core import memory, tiles
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageAConfig
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.pipeline import decode_pixels
from stable_cascade_nodes.runtime.local import LocalHost, Settings

from .sampling.peak import PeakBytes

PUBLISHED = replace(PRESETS["stage_a"]["published"], codebook_size=0)
NARROW = replace(PUBLISHED, c_hidden=16)
CONFIGS = {
    "published": NARROW,
    "tiny": PRESETS["stage_a"]["tiny"],
    "three levels": replace(NARROW, levels=3, bottleneck_blocks=2),
}


def handle(config: StageAConfig, dtype: torch.dtype = torch.float32, module: Any = None) -> Handle:
    module = alive(StageA, config).to(dtype) if module is None else module
    return Handle(module, "stage_a", "random", "tiny", config, "v", None, dtype, StayPut())


def test_spans_cover_a_side_once_each_with_its_margin() -> None:
    for side, most in [(1, 64), (64, 64), (65, 64), (1000, 256), (2048, 256)]:
        found = tiles.spans(side, most, 13)
        assert [cell for span in found for cell in range(span.first, span.end)] == list(range(side))
        assert len(found) == -(-side // most) and max(span.end - span.first for span in found) <= most
        for span in found:
            assert (span.outer_first, span.outer_end) == (max(0, span.first - 13), min(side, span.end + 13))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("act", ["decode", "encode"])
def test_the_margin_is_all_that_a_cell_depends_on_and_no_more(name: str, act: str) -> None:
    """What is not a number spreads to all that depends on it."""
    network = alive(StageA, CONFIGS[name])
    scale = 2 ** CONFIGS[name].levels
    given, made = (1, scale) if act == "decode" else (scale, 1)
    margin = network.decode_margin if act == "decode" else network.encode_margin
    compute: Callable[[Tensor], Tensor] = getattr(network, act)
    side, cell = 2 * margin + 5, margin + 2
    for reach, reached in ((margin, False), (margin - 1, True)):
        kept = slice(given * (cell - reach), given * (cell + 1 + reach))
        for axis in (2, 3):
            x = torch.full((1, 4 if act == "decode" else 3, given * side, given * side), torch.nan)
            index = [slice(None)] * 4
            index[axis] = kept
            x[tuple(index)] = 0.5
            with torch.inference_mode():
                out = compute(x)
            index[axis] = slice(made * cell, made * (cell + 1))
            assert bool(out[tuple(index)].isnan().any()) == reached


def test_the_published_margins() -> None:
    network = StageA(NARROW)
    assert (network.decode_margin, network.encode_margin) == (13, 2)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_equal_to_the_whole_to_the_last_bit(dtype: torch.dtype) -> None:
    """At the published widths, on a CPU."""
    model = handle(PUBLISHED, dtype)
    network: Any = model.module
    latent = torch.randn(1, 4, 44, 50, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network.decode(latent.to(dtype)).float()
    assert torch.equal(tiles.decode(model, latent, side=25), whole)
    pixels = torch.rand(1, 3, 176, 200, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network.encode(pixels.to(dtype)).float()
    assert torch.equal(tiles.encode(model, pixels, side=25), whole)


@pytest.mark.parametrize("size", [(12, 300), (257, 9)])
def test_what_is_larger_than_1024_pixels_is_made_in_tiles(size: tuple[int, int]) -> None:
    """At widths for which oneDNN adds up in another order by the width of a tile: equal but for rounding."""
    model = handle(PRESETS["stage_a"]["tiny"])
    latent = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    seen: list[Sequence[tiles.Tile]] = []

    def along(found: Sequence[tiles.Tile]) -> Iterator[tiles.Tile]:
        seen.append(found)
        yield from found

    network: Any = model.module
    with torch.inference_mode():
        whole = torch.cat([network.decode(one) for one in latent.split(1)])
    pixels = tiles.decode(model, latent, along)
    torch.testing.assert_close(pixels, whole, atol=1e-5, rtol=1e-5)
    assert [len(found) for found in seen] == [4]
    torch.testing.assert_close(tiles.encode(model, pixels), network.encode(pixels), atol=1e-5, rtol=1e-5)


def test_a_small_picture_is_made_whole() -> None:
    model = handle(PRESETS["stage_a"]["tiny"])
    network: Any = model.module
    latent = torch.randn(2, 4, 24, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = torch.cat([network.decode(one) for one in latent.split(1)])
    assert torch.equal(tiles.decode(model, latent), whole)
    assert torch.equal(decode_pixels(model, latent, (95, 1023)), whole.clamp(0, 1)[..., :95, :1023])


def test_little_memory_makes_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = handle(PRESETS["stage_a"]["tiny"])
    latent = torch.randn(1, 4, 300, 40, generator=torch.Generator().manual_seed(0))
    plain = tiles.decode(model, latent)
    shapes: list[Any] = []
    model.module.up_blocks.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape[-2:]))
    for total, expected in ((2**40, 2), (40_000_000, 3), (1, 5)):
        shapes.clear()
        monkeypatch.setattr(memory, "total_bytes", lambda device, total=total: total)
        torch.testing.assert_close(tiles.decode(model, latent), plain, atol=1e-5, rtol=1e-5)
        assert len(shapes) == expected


def test_progress_and_cancelling_between_tiles() -> None:
    told: list[tuple[str, int, int]] = []

    class Audience:
        def advance(self, label: str, done: int, total: int, preview: Any) -> None:
            told.append((label, done, total))
            if done == 2:
                host.request_cancel()

        def warn(self, node: str, message: str) -> None:
            raise AssertionError

    host = LocalHost()
    host.settings = Settings(audience=Audience())
    assert list(host.walk("Stage A", ["alone"])) == ["alone"] and not told
    with pytest.raises(KeyboardInterrupt):
        list(host.walk("Stage A", "abcd"))
    assert told == [("Stage A", 0, 4), ("Stage A", 1, 4), ("Stage A", 2, 4)]


def test_memory_of_a_picture_of_4096_pixels() -> None:
    """Of the published decoder in float32: 33 GB as a whole."""
    with torch.device("meta"):
        network: Any = StageA(PUBLISHED).eval()
    weights = [*network.parameters(), *network.buffers()]
    spans = tiles.spans(1024, tiles.SIDES[0], network.decode_margin)
    side = max(span.outer_end - span.outer_first for span in spans)
    with torch.inference_mode(), PeakBytes(weights) as peak:
        network.decode(torch.empty(1, 4, side, side, device="meta"))
    picture = 3 * 4096**2 * torch.float32.itemsize
    assert peak.peak + picture < 2.7 * 2**30


def test_the_memory_of_a_device() -> None:
    cpu = torch.device("cpu")
    if Path("/proc/meminfo").exists():
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        assert abs(memory.total_bytes(cpu) / kilobytes / 1024 - 1) < 0.05
    assert not memory.is_short(cpu, 1) and memory.is_short(cpu, 2**60)
    assert not memory.is_short(torch.device("meta"), 2**60)
