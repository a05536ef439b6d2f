"""Files whose header is not what it was: cut short, of a wrong length, with entries that cannot be."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .damage import HALF, Damage, Sound, changed, sound, write


def cut_short() -> Iterator[Damage]:
    for name in ("stage_c", "stage_b", "all_in_one", "previewer", "tiny"):
        file = sound(name)
        raw = json.dumps(file.header()).encode()
        whole = 8 + len(raw) + file.data
        for harm, keep in {
            "one byte": 1,
            "half a length": 7,
            "a length": 8,
            "a brace": 9,
            "few names": 400,
            "half a header": len(raw) // 2,
            "a header": len(raw) + 8,
            "a tenth": whole // 10,
            "a half": whole // 2,
            "nearly all": whole * 99 // 100,
            "all but a byte": whole - 1,
        }.items():

            def make(folder: Path, file: Sound = file, keep: int = keep) -> Path:
                path = file.write(folder)
                with path.open("r+b") as opened:
                    opened.truncate(keep)
                return path

            yield Damage(f"{name} cut to {keep} bytes", file.kind, make, HALF, harm)

        def lengthen(folder: Path, file: Sound = file) -> Path:
            return write(folder / "x.safetensors", file.header(), file.data + 7)

        yield Damage(f"{name} with more behind it", file.kind, lengthen, HALF, "longer")


def wrong_length() -> Iterator[Damage]:
    for name in ("stage_c", "effnet", "tiny"):
        file = sound(name)
        raw = json.dumps(file.header()).encode()
        lengths = (0, 1, len(raw) // 2, len(raw) - 1, len(raw) + 1, len(raw) + 64, 10**8, 2**31, 2**63, 2**64 - 1)
        for number, length in enumerate(lengths):

            def make(folder: Path, file: Sound = file, length: int = length) -> Path:
                return write(folder / "x.safetensors", file.header(), file.data, length)

            yield Damage(f"{name} whose header says {length}", file.kind, make, HALF, str(number))


def bad_entries() -> Iterator[Damage]:
    for name in ("stage_a", "image_encoder"):
        for number, tensor in enumerate(list(sound(name).shapes)[:: len(sound(name).shapes) // 3][:3]):
            for field, value in (
                ("dtype", "F31"),
                ("dtype", "float32"),
                ("dtype", None),
                ("dtype", 7),
                ("dtype", ["F32"]),
                ("shape", None),
                ("shape", "3"),
                ("shape", [-1]),
                ("shape", [1.5]),
                ("shape", [2**62, 2**62]),
                ("data_offsets", None),
                ("data_offsets", [0]),
                ("data_offsets", [8, 4]),
                ("data_offsets", [-4, 0]),
                ("data_offsets", [0, 2**70]),
                ("data_offsets", ["0", "4"]),
                ("data_offsets", {}),
            ):

                def change(
                    header: dict[str, Any], tensor: str = tensor, field: str = field, value: Any = value
                ) -> None:
                    header[tensor][field] = value

                if (number + len(str(value))) % 2 or number == 0:
                    yield changed(name, f"{field} of {tensor} is {value}", change, HALF, f"{field} {value}")


def flipped_bits() -> Iterator[Damage]:
    """One bit in the names, types, shapes and offsets, which are all of the header where there is no metadata."""
    file = sound("previewer")
    raw = json.dumps(file.header()).encode()
    generator = random.Random(7)
    for place in sorted(generator.sample(range(1, len(raw) - 1), 40)):
        bit = generator.randrange(7)

        def make(folder: Path, place: int = place, bit: int = bit) -> Path:
            flipped = bytearray(raw)
            flipped[place] ^= 1 << bit
            return write(folder / "x.safetensors", bytes(flipped), file.data)

        if raw[place : place + 1] != b" ":
            yield Damage(f"bit {bit} of byte {place}", "previewer", make, f"{HALF}|does not fit previewer|but it lacks")
