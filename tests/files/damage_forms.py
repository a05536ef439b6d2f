"""What is no safetensors file, pickled files, sets of shards and folders."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .damage import HALF, Damage, Sound, sound, write


def strangers() -> Iterator[Damage]:
    picture = io.BytesIO()
    with zipfile.ZipFile(picture, "w") as archive:
        archive.writestr("model.safetensors", "x")
    contents: dict[str, tuple[bytes, str]] = {
        "empty": (b"", r"is empty \(0 bytes\)"),
        "an LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "a Git LFS pointer",
        ),
        "an HTML page": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>", "is a web page"),
        "an error in XML": (b"<Error><Code>NoSuchKey</Code></Error>", "is an XML or HTML text"),
        "an error in JSON": (b'{"error": "Access to model is restricted"}', "is a JSON text"),
        "an error in words": (b"Entry not found", "is a text that begins with 'Entry not found'"),
        "a README": (
            "# Stable Cascade\n\nEin Modell für Bilder.\n".encode() * 30,
            "is a text that begins with '# Stable",
        ),
        "a zip": (picture.getvalue(), "is a zip archive"),
        "half a zip": (picture.getvalue()[:40], HALF),
        "a PNG": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is a PNG picture"),
        "a JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is a JPEG picture"),
        "a GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(64), "is a GGUF file"),
        "a gzip": (b"\x1f\x8b\x08\x08" + bytes(64), "is a gzip archive"),
        "a 7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "is a 7z archive"),
        "a tar": (b"stage_c.safetensors".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive"),
        "a NumPy array": (b"\x93NUMPY\x01\x00v\x00", "is a NumPy array"),
        "an HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file"),
        "a PDF": (b"%PDF-1.7\n", "is a PDF document"),
        "a program": (b"MZ\x90\x00" + bytes(64), "is a Windows program"),
        "zeros": (bytes(100_000), "is filled with zeros"),
        "noise": (random.Random(1).randbytes(5000), "is of no known format"),
        "a torch file of noise": (b"\x80\x02" + random.Random(2).randbytes(5000), f"{HALF}|could run code"),
    }
    for name, (content, says) in contents.items():
        for suffix, kind in ((".safetensors", "stage_c"), (".ckpt", "stage_a")):

            def make(folder: Path, content: bytes = content, suffix: str = suffix) -> Path:
                (folder / f"x{suffix}").write_bytes(content)
                return folder / f"x{suffix}"

            yield Damage(f"{name} as {suffix}", kind, make, says)


class Foreign:
    """An object as training programs leave it among the tensors."""


def pickled() -> Iterator[Damage]:
    def saved(value: Any, keep: float = 1.0, new: bool = True) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            torch.save(value, folder / "x.pt", _use_new_zipfile_serialization=new)
            content = (folder / "x.pt").read_bytes()
            (folder / "x.pt").write_bytes(content[: int(len(content) * keep)])
            return folder / "x.pt"

        return make

    weights = {"blocks.0.weight": torch.zeros(512, 16, 3, 3), "blocks.6.weight": torch.zeros(512, 256, 2, 2)}
    for new in (True, False):
        for keep in (0.05, 0.5, 0.95, 0.9999):
            make = saved(weights, keep, new)
            yield Damage(f"torch {'zip' if new else 'pickle'} cut to {keep}", "previewer", make, HALF)
        yield Damage(
            f"objects, {new}", "stage_c", saved({"a": Foreign()}, 1, new), "holds more than tensors and could run code"
        )
        yield Damage(f"a list, {new}", "stage_c", saved([1, 2, 3], 1, new), "that holds no named tensors")
        yield Damage(f"some tensors, {new}", "previewer", saved(weights, 1, new), "but it lacks blocks.2.running_mean")
    yield Damage(
        "an optimiser", "stage_c", saved({"state": {0: {"step": torch.zeros(1)}}}), "the state of an optimiser"
    )


def sets() -> Iterator[Damage]:
    """Two shards of Stage C 1B and their index, without the one, with a damaged one, with two that do not fit."""
    whole = sound("stage_c")
    names = list(whole.shapes)
    halves = [Sound("stage_c", "BF16", {name: whole.shapes[name] for name in names[i::2]}, {}) for i in (0, 1)]
    files = [f"x-0000{i}-of-00002.safetensors" for i in (1, 2)]
    places = {name: files[i % 2] for i, name in enumerate(names)}

    def build(folder: Path) -> None:
        for file, half in zip(files, halves, strict=True):
            write(folder / file, half.header(), half.data)
        (folder / "x.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    def lose(folder: Path, file: str) -> None:
        (folder / file).unlink()

    def halve(folder: Path, file: str) -> None:
        with (folder / file).open("r+b") as opened:
            opened.truncate(10**6)

    def empty(folder: Path, file: str) -> None:
        (folder / file).write_bytes(b"")

    def repeat(folder: Path, file: str) -> None:
        other = halves[1 - files.index(file)]
        write(folder / file, other.header(), other.data)

    def strip(folder: Path, file: str) -> None:
        write(folder / file, {}, 0)

    harms = {
        lose: "belongs to a set of 2 files, of which 1 lie not beside it",
        halve: HALF,
        empty: "is empty",
        repeat: "repeats .* tensors of another file",
        strip: "no part of Stable Cascade|its files lack|does not fit Stage C 1B",
    }
    for chosen in (*files, "x.safetensors.index.json"):
        for damaged_file in files:
            for harm, says in harms.items():

                def make(folder: Path, chosen: str = chosen, file: str = damaged_file, harm: Any = harm) -> Path:
                    build(folder)
                    harm(folder, file)
                    return folder / chosen

                if harm is not lose or chosen != damaged_file:
                    yield Damage(f"{chosen} with {damaged_file} {harm.__name__}", "stage_c", make, says)


def folders() -> Iterator[Damage]:
    def folder_with(files: dict[str, str | bytes]) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            (folder / "prior").mkdir()
            for name, content in files.items():
                (folder / "prior" / name).parent.mkdir(exist_ok=True)
                (folder / "prior" / name).write_bytes(content.encode() if isinstance(content, str) else content)
            return folder / "prior"

        return make

    ours = json.dumps({"_class_name": "StableCascadePriorPipeline", "prior": ["diffusers", "StableCascadeUNet"]})
    for name, files, says in (
        ("an empty folder", {}, "is a folder without weights"),
        ("a folder of texts", {"README.md": "x", "config.json": "{}"}, "is a folder without weights"),
        ("a pipeline without components", {"model_index.json": ours}, "is a folder without weights"),
        ("another pipeline", {"model_index.json": '{"_class_name": "StableDiffusionXLPipeline"}'}, "of another model"),
        ("a damaged pipeline", {"model_index.json": "{"}, f"model_index.json {HALF}"),
        ("half a component", {"config.json": "{}", "model.safetensors": b"\x09\0\0\0\0\0\0\0{"}, HALF),
        ("an empty component", {"config.json": "{}", "diffusion_pytorch_model.safetensors": b""}, "is empty"),
        (
            "a pointer in a component",
            {"model_index.json": ours, "prior/model.safetensors": "version https://git-lfs"},
            "a Git LFS pointer",
        ),
        ("two unknown files", {"a.safetensors": b"", "b.safetensors": b""}, "is a folder of 2 models"),
    ):
        yield Damage(name, "stage_c", folder_with(files), says)
    yield Damage("nothing", "stage_c", lambda folder: folder / "x.safetensors", "cannot be read .No such file")
