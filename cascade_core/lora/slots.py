"""The tensors that a file holds for one module, by their last names, to the changes that they make.

The names are LyCORIS's, kohya's, ComfyUI's and PEFT's; `alpha` over the rank scales what has a rank.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from ..errors import CascadeError
from .changes import Change, Difference, HadamardChange, KroneckerChange, LowRankChange, Scaling

SLOTS = {
    "lora_A": "down", "lora_B": "up", "lora.down": "down", "lora.up": "up", "lora_down": "down", "lora_up": "up",
    "lora_mid": "mid", "alpha": "alpha", "dora_scale": "magnitude", "lora_magnitude_vector": "magnitude",
    "diff": "diff", "w_norm": "diff", "diff_b": "diff_b", "b_norm": "diff_b", "on_input": "on_input", "ia3_l": "ia3_l",
} | {name: name for name in (
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
)}  # fmt: skip
ALONE_NOTHING = {"alpha", "magnitude"}  # slots that say something of a change which other tensors are
BIAS = ".diff_b"  # after a module's name: the change of its bias
_END = re.compile(rf"\.(?P<slot>{'|'.join(map(re.escape, SLOTS))})(\.(default|weight))*$")


def find_slot(key: str, keys: Collection[str]) -> tuple[str, str] | None:
    """The module and the slot of one of the file's names; None for a name that is no part of a change."""
    end = _END.search(key)
    if end:
        return key[: end.start()], SLOTS[end["slot"]]
    module = key.removesuffix(".weight")
    # IA3's factors are called as a weight is; what stands beside them tells them apart.
    return (module, "factors") if module != key and f"{module}.on_input" in keys else None


@dataclass(frozen=True, eq=False)
class Group:
    """The tensors of one module, by the values of SLOTS.

    scale: of what has a rank, before it is divided by it, whatever `alpha` says; default: the whole of it where there
    is no alpha. None: not told; then alpha over rank, or 1.
    """

    module: str
    file: str
    tensors: dict[str, Tensor]
    scale: float | None = None
    default: float | None = None

    def changes(self) -> dict[str, Change]:
        """The changes by the module's name, that of its bias with BIAS behind it.

        Raises CascadeError where tensors are missing or do not fit together.
        """
        found: dict[str, Change] = {}
        try:
            change = self._change()
        except (RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, CascadeError):
                raise
            sizes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in self.tensors.items())
            raise CascadeError(
                f"{self.file}: the tensors of {self.module} do not fit together ({sizes}): get the file again"
            ) from error
        if change is not None:
            found[self.module] = change
        if "diff_b" in self.tensors:
            found[self.module + BIAS] = Difference(self._need("diff_b"))
        return found

    def _change(self) -> Change | None:
        slots = self.tensors.keys()
        if any(slot.startswith("hada_") for slot in slots):
            return self._hadamard()
        if any(slot.startswith("lokr_") for slot in slots):
            return self._kronecker()
        if "factors" in slots:
            return Scaling(self._need("factors").flatten(), bool(self._need("on_input")))
        if "ia3_l" in slots:  # PEFT's is the whole factor, and its shape tells the axis
            factors = self._need("ia3_l")
            return Scaling(factors.flatten() - 1, factors.shape[0] == 1)
        if "diff" in slots:
            return Difference(self._need("diff"), magnitude=self._magnitude())
        return None if slots == {"diff_b"} else self._low_rank()

    def _low_rank(self) -> Change:
        down, up = self._need("down"), self._need("up").flatten(1)  # up (out, rank, 1, 1) for a convolution
        down = down.flatten(1) if down.shape[2:].numel() == 1 else down
        if "mid" in self.tensors:  # LoCon's: (rank, rank, height, width) between a down and an up of 1 x 1
            down = self._cored(self._need("mid"), down)
        rank = down.shape[0]
        if up.shape[1] != rank or rank == 0:
            raise CascadeError(
                f"{self.file}: {self.module} has a lora_down of rank {rank}, but a lora_up of rank {up.shape[1]}: get"
                " the file again"
            )
        return LowRankChange(down, up, self._scaled(rank), magnitude=self._magnitude())

    def _hadamard(self) -> Change:
        (up1, down1), (up2, down2) = (self._pair(f"hada_w{i}", f"hada_t{i}") for i in (1, 2))
        if not (up1.shape == up2.shape and down1.shape == down2.shape and up1.shape[1] == len(down1) > 0):
            raise ValueError("halves of different shapes")
        return HadamardChange(up1, down1, up2, down2, self._scaled(len(down1)), magnitude=self._magnitude())

    def _kronecker(self) -> Change:
        factors: list[Tensor] = []
        scale = 1.0  # of whole factors alpha is not read: LyCORIS and ComfyUI take 1 then
        for slot, core in (("lokr_w1", ""), ("lokr_w2", "lokr_t2")):
            if slot in self.tensors or f"{slot}_a" not in self.tensors:
                factors.append(self._need(slot))
                continue
            up, down = self._pair(slot, core)
            factors.append((up @ down.flatten(1)).reshape(-1, *down.shape[1:]))
            scale = self._scaled(len(down))
        w1, w2 = factors
        (_, _), (_, _, *_) = w1.shape, w2.shape
        return KroneckerChange(w1, w2, scale, magnitude=self._magnitude())

    def _pair(self, slot: str, core: str) -> tuple[Tensor, Tensor]:
        """up (out, rank) and down (rank, in[, height, width]) of a slot's two tensors; a Tucker core joins down."""
        up, down = self._need(f"{slot}_a"), self._need(f"{slot}_b")
        return (up.mT, self._cored(self._need(core), down)) if core in self.tensors else (up, down)

    @staticmethod
    def _cored(core: Tensor, down: Tensor) -> Tensor:
        """A Tucker core (rank, rank, height, width) and a down (rank, in) as a down (rank, in, height, width)."""
        return (core.flatten(2).permute(2, 0, 1) @ down).permute(1, 2, 0).reshape(len(core), -1, *core.shape[2:])

    def _magnitude(self) -> Tensor | None:
        if "magnitude" not in self.tensors:
            return None
        magnitude = self._need("magnitude")
        return magnitude.reshape(-1, 1) if magnitude.ndim == 1 else magnitude.flatten(1)

    def _scaled(self, rank: int) -> float:
        if self.scale is not None:
            return self.scale / rank
        if "alpha" in self.tensors:
            return float(self.tensors["alpha"]) / rank
        return 1.0 if self.default is None else self.default

    def _need(self, slot: str) -> Tensor:
        """A copy in float32, which does not keep the file's pages."""
        if slot not in self.tensors:
            name = f"lora_{slot}" if slot in ("down", "up") else slot
            raise CascadeError(f"{self.file}: {self.module} lacks its {name}: the file is not whole, get it again")
        return self.tensors[slot].float().clone()
