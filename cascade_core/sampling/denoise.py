"""From a network to `denoise(x, index) -> (x0, eps)`: conditions, guidance, parameterisation, precision.

Knows no sampler, and of a network only how it evaluates one step. Latents and arithmetic are float32; the network gets
its own type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from torch import Tensor

from ..errors import CascadeError
from ..models.body import Context, Modulation, slice_modulation
from ..models.handle import Handle
from .condition import Condition
from .control import Control, Maps, blend
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
    """What a step averages, by index of the conditions; no negative ones: a single conditional pass."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]
    controls: frozenset[Control] = frozenset()  # of those in all the conditions


def plan(
    r: Sequence[float], positive: Sequence[Condition], negative: Sequence[Condition], guidance: Guidance
) -> list[Active]:
    """What acts at each time of a run; CascadeError where nothing would."""
    controls = controls_of((*positive, *negative))
    return [
        Active(
            _active("positive", positive, time),
            _active("negative", negative, time) if guidance.active(time) else (),
            frozenset(control for control in controls if control.active(time)),
        )
        for time in r
    ]


def controls_of(conditions: Sequence[Condition]) -> list[Control]:
    """Each control once, as several conditions may share it."""
    return list(dict.fromkeys(control for condition in conditions for control in condition.controls))


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
    controls: tuple[Control, ...] = ()


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
        maps: Mapping[Control, Maps],
    ) -> None:
        """`room`: bytes that an evaluation takes; `modulation`: a row for each of the `steps`; `maps`: of all that
        steers at some step."""
        self.handle = handle
        self.network = cast(Network, handle.module)
        self.room = room
        self.modulation = modulation
        self.images = images
        self.branches = (*positive, *negative)
        self.maps = maps
        self.steps = [replace(s, negative=tuple(len(positive) + k for k in s.negative)) for s in steps]
        self.evaluations = {active: self._evaluations(active) for active in set(self.steps)}

    def __call__(self, x: Tensor, index: int) -> tuple[Tensor, Tensor | None]:
        """x (N, C, h, w) -> conditional and, where guided, unconditional prediction."""
        active = self.steps[index]
        modulation = slice_modulation(self.modulation, index)
        self.handle.acquire(self.room)  # the caller may have used another model since the last step
        predictions: dict[int, Tensor] = {}
        for evaluation in self.evaluations[active]:
            count = len(evaluation.members)
            batch = x.to(self.handle.dtype).repeat(count, 1, 1, 1)
            predicted = self.network.evaluate(batch, modulation, evaluation.context).float()
            predictions.update(zip(evaluation.members, predicted.chunk(count), strict=True))
        cond, uncond = active.positive, active.negative
        return self._mean(predictions, cond), self._mean(predictions, uncond) if uncond else None

    def _mean(self, predictions: dict[int, Tensor], members: Sequence[int]) -> Tensor:
        if len(members) == 1:
            return predictions[members[0]]
        weighted = [share * predictions[k] for k, share in self._shares(members).items()]
        return sum(weighted[1:], start=weighted[0])

    def _shares(self, members: Sequence[int]) -> dict[int, float]:
        total = sum(self.branches[k].strength for k in members)
        return {k: self.branches[k].strength / total for k in members}

    def _evaluations(self, active: Active) -> list[Evaluation]:
        groups: dict[int, list[int]] = {}
        for k in (*active.positive, *active.negative):
            groups.setdefault(self.branches[k].tokens, []).append(k)
        return [
            Evaluation(
                tuple(members),
                replace(
                    self._join(members),
                    control=blend([self._weights(k, active) for k in members], self.maps, self.images),
                ),
            )
            for members in groups.values()
        ]

    def _weights(self, member: int, active: Active) -> dict[Control, float]:
        """How much each control acts on a branch; a negative one without its own has the mean of the positive ones."""
        own = self.branches[member].controls
        if own or member in active.positive:
            return {control: 1.0 for control in own if control in active.controls}
        weights: dict[Control, float] = {}
        for k, share in self._shares(active.positive).items():
            for control in self.branches[k].controls:
                if control in active.controls:
                    weights[control] = weights.get(control, 0.0) + share
        return weights

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
