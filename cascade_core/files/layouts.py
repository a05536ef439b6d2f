"""The tensor names of every layout as tables, read in both directions.

Ours are the official single files' names (for CLIP: transformers'). A row says how one or three of ours go by another
layout's names: three names for one are its rows in three equal parts, as with q, k and v. What no row names is called
the same. Knows names and shapes; files and modules are others' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .model_part import Part

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """The origin of one tensor: a tensor of another name, several put together, or the rows of one."""

    names: tuple[str, ...]  # more than one are stacked along the rows
    rows: tuple[int, int] = (0, 1)  # (i, n): the i-th of n equal parts
    transposed: bool = False

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """The tensor's shape, made of those of `names`."""
        first = shapes[self.names[0]]
        if self.transposed:
            return first[::-1]
        return first if self.plain else (sum(shapes[name][0] for name in self.names) // self.rows[1], *first[1:])

    def stored_shape(self, shape: Shape) -> Shape:
        """The shape that each of `names` has where the tensor has `shape`."""
        if self.transposed:
            return shape[::-1]
        return shape if self.plain else (shape[0] * self.rows[1] // len(self.names), *shape[1:])

    def pieces(self, get: Callable[[str], Tensor]) -> Iterator[Tensor]:
        """The pieces that make the tensor, from top to bottom."""
        for name in self.names:
            tensor = get(name)
            if self.transposed:
                tensor = tensor.mT
            yield tensor if self.rows[1] == 1 else tensor.chunk(self.rows[1])[self.rows[0]]

    @property
    def plain(self) -> bool:
        """Is it one tensor as it stands?"""
        return len(self.names) == 1 and self.rows[1] == 1 and not self.transposed


@dataclass(frozen=True)
class Row:
    """Names of ours and theirs that hold the same values; a star stands for the same text in all of them."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transposed: bool = False


Names = str | tuple[str, ...]


def _rows(*pairs: tuple[Names, Names]) -> tuple[Row, ...]:
    """A row for each pair of names, or groups of names; `@` stands for weight and for bias."""

    def group(names: Names, end: str) -> tuple[str, ...]:
        return tuple(name.replace("@", end) for name in ((names,) if isinstance(names, str) else names))

    return tuple(
        Row(group(ours, end), group(theirs, end))
        for ours, theirs in pairs
        for end in (("weight", "bias") if "@" in "".join(ours) else ("",))
    )


def _qkv(pattern: str) -> tuple[str, ...]:
    """The pattern's three names, with a letter for the question mark."""
    return tuple(pattern.replace("?", letter) for letter in "qkv")


_SPLIT = _rows(("*.attention.attn.in_proj_@", _qkv("*.attention.attn.to_?.@")))
_DIFFUSERS = _rows(
    ("*.attention.attn.in_proj_@", _qkv("*.attention.to_?.@")),
    ("*.attention.attn.out_proj.@", "*.attention.to_out.0.@"),
)


def _openclip_layers(ours: str, theirs: str) -> tuple[Row, ...]:
    return _rows(
        (_qkv(f"{ours}.*.self_attn.?_proj.@"), f"{theirs}.*.attn.in_proj_@"),
        (f"{ours}.*.self_attn.out_proj.@", f"{theirs}.*.attn.out_proj.@"),
        (f"{ours}.*.layer_norm1.@", f"{theirs}.*.ln_1.@"),
        (f"{ours}.*.layer_norm2.@", f"{theirs}.*.ln_2.@"),
        (f"{ours}.*.mlp.fc1.@", f"{theirs}.*.mlp.c_fc.@"),
        (f"{ours}.*.mlp.fc2.@", f"{theirs}.*.mlp.c_proj.@"),
    )


TABLES: Mapping[tuple[str, str], tuple[Row, ...]] = {
    ("stage_c", "comfyui"): _SPLIT,
    ("stage_b", "comfyui"): _SPLIT,
    ("stage_c", "diffusers"): _DIFFUSERS,
    ("stage_b", "diffusers"): (*_DIFFUSERS, *_rows(("clip_mapper.@", "clip_txt_pooled_mapper.@"))),
    ("stage_a", "diffusers"): _rows(("vquantizer.codebook.weight", "vquantizer.embedding.weight")),
    # An all-in-one file's, behind its prefix; its projection occurs in both forms.
    ("text_encoder", "comfyui"): (
        *_rows(("text_model.*", "transformer.text_model.*")),
        Row(("text_projection.weight",), ("text_projection",), transposed=True),
        *_rows(("text_projection.weight", "transformer.text_projection.weight")),
    ),
    ("text_encoder", "openclip"): (
        *_openclip_layers("text_model.encoder.layers", "transformer.resblocks"),
        *_rows(
            ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
            ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("text_model.final_layer_norm.@", "ln_final.@"),
        ),
        Row(("text_projection.weight",), ("text_projection",), transposed=True),
    ),
    ("image_encoder", "openclip"): (
        *_openclip_layers("vision_model.encoder.layers", "transformer.resblocks"),
        *_rows(
            ("vision_model.embeddings.class_embedding", "class_embedding"),
            ("vision_model.embeddings.patch_embedding.weight", "conv1.weight"),
            ("vision_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("vision_model.pre_layrnorm.@", "ln_pre.@"),
            ("vision_model.post_layernorm.@", "ln_post.@"),
        ),
        Row(("visual_projection.weight",), ("proj",), transposed=True),
    ),
}  # (kind, layout) -> how it differs from ours; a pair that is not here has our names


def layout_of(kind: str, names: Iterable[str]) -> str:
    """The layout whose own names most of a part's names are (without a prefix); "official" where all are ours."""
    names = list(names)
    found = {"official": 0}
    for (of, layout), rows in TABLES.items():
        if of == kind:
            patterns = [pattern for row in rows for pattern in row.theirs]
            found[layout] = sum(any(_match(pattern, name) is not None for pattern in patterns) for name in names)
    return max(found, key=lambda layout: found[layout])


def to_official(part: Part) -> dict[str, Source]:
    """Our names -> the tensors of the part's file, by their full names there.

    A source may name tensors that the file has not: the caller knows which are wanted, and says which are missing.
    """
    rows = TABLES.get((part.kind, part.layout), ())
    sources = _translate(part.names, [(row.theirs, row.ours, row.transposed) for row in rows])
    return {
        name: Source(tuple(part.prefix + stored for stored in source.names), source.rows, source.transposed)
        for name, source in sources.items()
    }


def from_official(kind: str, layout: str, names: Iterable[str]) -> dict[str, Source]:
    """The layout's names -> tensors of our names."""
    rows = TABLES.get((kind, layout), ())
    return _translate(names, [(row.ours, row.theirs, row.transposed) for row in rows])


def chain(outer: Source, inner: Mapping[str, Source]) -> Source:
    """`outer`, made of tensors that `inner` makes, at once; `outer` neither stacks nor transposes."""
    first = inner[outer.names[0]]
    if outer.rows[1] == 1:
        return first
    if len(first.names) == outer.rows[1]:
        return Source((first.names[outer.rows[0]],))
    return Source(first.names, outer.rows)


def _translate(
    names: Iterable[str], rows: Iterable[tuple[tuple[str, ...], tuple[str, ...], bool]]
) -> dict[str, Source]:
    """New name -> where it comes from; a row is (patterns of the old names, patterns of the new ones, transposed)."""
    translated: dict[str, Source] = {}
    for name in names:
        new = {name: Source((name,))}
        for olds, news, transposed in rows:
            star = next((star for old in olds if (star := _match(old, name)) is not None), None)
            if star is not None:
                stored = tuple(old.replace("*", star) for old in olds)
                new = {
                    pattern.replace("*", star): Source(stored, (i, len(news)), transposed)
                    for i, pattern in enumerate(news)
                }
                break
        translated |= new
    return translated


def _match(pattern: str, name: str) -> str | None:
    """The text of the pattern's star in `name`, "" for a pattern without one; None where they do not match."""
    head, star, tail = pattern.partition("*")
    if not star:
        return "" if name == pattern else None
    fits = len(name) > len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
    return name[len(head) : len(name) - len(tail)] if fits else None
