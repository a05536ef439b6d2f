"""From a network to `denoise(x, index) -> (x0, eps)`: conditions, guidance, parameterisation, precision.

Knows no sampler, and of a network only how it evaluates one step. Latents and arithmetic are float32; the network gets
its own type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor

from ..errors import CascadeError
from ..models.body import Context, Modulation, slice_modulation
from ..models.handle import Handle
from .condition import Condition
from .guidance import Guidance
from .process import Process, Timesteps
from .samplers import Denoise


class Network(Protocol):
    """What denoising needs of a stage."""

    def evaluate(self, x: Tensor, modulation: Modulation, context: Context) -> Tensor:
        """One step: latents (B, C, h, w) -> the raw prediction."""
        ...


@dataclass(frozen=True)
class Active:
    """Which conditions a step averages, by index; no negative ones: a single conditional pass."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]


def plan(
    r: Sequence[float], positive: Sequence[Condition], negative: Sequence[Condition], guidance: Guidance
) -> list[Active]:
    """What acts at each time of a run; CascadeError where nothing would."""
    return [
        Active(
            _active("positive", positive, time),
            _active("negative", negative, time) if guidance.active(time) else (),
        )
        for time in r
    ]


def _active(name: str, conditions: Sequence[Condition], r: float) -> tuple[int, ...]:
    found = tuple(k for k, condition in enumerate(conditions) if condition.active(r))
    if not found:
        given = ", ".join(f"{c.start:g} to {c.end:g} at strength {c.strength:g}" for c in conditions) or "none"
        raise CascadeError(
            f"`{name}`: expected a condition for every step, found none for the one at {1 - r:.3g} of the way "
            f"(conditions: {given}): let one start earlier, end later or have a strength over 0"
        )
    return found


@dataclass(frozen=True)
class Branch:
    """A condition, prepared for the network."""

    strength: float
    context: Context
    batch: int  # of the context: 1 for all images, or one for each
    tokens: int  # of text; branches of equal length share an evaluation


@dataclass(frozen=True)
class Evaluation:
    """One call of the network for several branches, whose contexts lie in one batch."""

    members: tuple[int, ...]  # positive branches first, then negative ones
    context: Context


class Predictor:
    """The raw prediction of each side at a step: the mean of its active conditions, weighted by strength."""

    def __init__(
        self,
        handle: Handle,
        room: int,
        modulation: Modulation,
        steps: Sequence[Active],
        positive: Sequence[Branch],
        negative: Sequence[Branch],
        images: int,
    ) -> None:
        """`room`: bytes that an evaluation takes; `modulation`: a row for each of the `steps`."""
        self.handle = handle
        self.network = cast(Network, handle.module)
        self.room = room
        self.modulation = modulation
        self.images = images
        self.branches = (*positive, *negative)
        self.sides = [(s.positive, tuple(len(positive) + k for k in s.negative)) for s in steps]
        self.evaluations = {sides: self._evaluations(*sides) for sides in set(self.sides)}

    def __call__(self, x: Tensor, index: int) -> tuple[Tensor, Tensor | None]:
        """x (N, C, h, w) -> conditional and, where guided, unconditional prediction."""
        sides = self.sides[index]
        modulation = slice_modulation(self.modulation, index)
        self.handle.acquire(self.room)  # the caller may have used another model since the last step
        predictions: dict[int, Tensor] = {}
        for evaluation in self.evaluations[sides]:
            count = len(evaluation.members)
            batch = x.to(self.handle.dtype).repeat(count, 1, 1, 1)
            predicted = self.network.evaluate(batch, modulation, evaluation.context).float()
            predictions.update(zip(evaluation.members, predicted.chunk(count), strict=True))
        cond, uncond = sides
        return self._mean(predictions, cond), self._mean(predictions, uncond) if uncond else None

    def _mean(self, predictions: dict[int, Tensor], members: Sequence[int]) -> Tensor:
        if len(members) == 1:
            return predictions[members[0]]
        total = sum(self.branches[k].strength for k in members)
        weighted = [self.branches[k].strength / total * predictions[k] for k in members]
        return sum(weighted[1:], start=weighted[0])

    def _evaluations(self, positive: Sequence[int], negative: Sequence[int]) -> list[Evaluation]:
        groups: dict[int, list[int]] = {}
        for k in (*positive, *negative):
            groups.setdefault(self.branches[k].tokens, []).append(k)
        return [Evaluation(tuple(members), self._join(members)) for members in groups.values()]

    def _join(self, members: Sequence[int]) -> Context:
        if len(members) == 1:
            return self.branches[members[0]].context  # a batch of one serves all images
        repeated = [[self.branches[k].context] * (self.images // self.branches[k].batch) for k in members]
        return Context.cat([context for contexts in repeated for context in contexts])


def make_denoise(predict: Predictor, guidance: Guidance, process: Process, times: Timesteps) -> Denoise:
    """What a sampler calls."""

    def denoise(x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        cond, uncond = predict(x, index)
        prediction = cond if uncond is None else guidance.combine(cond, uncond)
        return process.split(x, prediction, times.a[index], times.b[index])

    return denoise
