"""From a network to `denoise(x, time) -> (x0, eps)`: two sides of conditions, guidance, parameterisation, precision.

Knows no sampler, and of a network only how it evaluates one step. Latents and arithmetic are float32; the network gets
its own type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from ..errors import CascadeError
from ..models.blocks import Maps
from ..models.body import Inner, Modulation, Prepared, slice_modulation
from ..models.chunks import call_in_chunks
from ..models.compiling import evaluator
from ..models.handle import Handle
from .condition import Condition, controls_of
from .control import Control, blend
from .guidance import Guidance
from .process import Process
from .solvers.trace import Denoise
from .times import Time

Side = tuple[Condition, ...]


@dataclass(frozen=True)
class Sides:
    """The conditions and controls that act at a step; no negative ones: a single conditional pass.

    An entry of a CONDITIONING is a Condition of its own, told apart by identity.
    """

    positive: Side
    negative: Side
    controls: frozenset[Control]

    def weights(self, condition: Condition) -> dict[Control, float]:
        """Weight of each control on a condition; a negative one without its own has the positive ones' mean."""
        own = condition.controls
        if own or condition in self.positive:
            return {control: 1.0 for control in own if control in self.controls}
        weights: dict[Control, float] = {}
        for other, share in _shares(self.positive).items():
            for control in other.controls if other.shares_controls else ():
                if control in self.controls and control.on_unconditional:
                    weights[control] = weights.get(control, 0.0) + share
        return weights


def plan(
    r: Sequence[float], positive: Sequence[Condition], negative: Sequence[Condition], guidance: Guidance
) -> list[Sides]:
    """The two sides at each time of a run; CascadeError where nothing would act."""
    controls = controls_of((*positive, *negative))
    return [
        Sides(
            _active("positive", positive, time),
            _active("negative", negative, time) if guidance.active(time) else (),
            frozenset(control for control in controls if control.active(time)),
        )
        for time in r
    ]


def _active(name: str, conditions: Sequence[Condition], r: float) -> Side:
    found = tuple(condition for condition in conditions if condition.active(r))
    if not found:
        given = ", ".join(f"{c.start:g} to {c.end:g} at strength {c.strength:g}" for c in conditions) or "none"
        raise CascadeError(
            f"`{name}`: expected a condition for every step, found none for the one at {1 - r:.3g} of the way "
            f"(conditions: {given}): let one start earlier, end later or have a strength over 0"
        )
    return found


class Predictor:
    """The raw prediction of each side at a step: the mean of its conditions, weighted by strength."""

    def __init__(
        self,
        handle: Handle,
        room: int,
        chunked: bool,
        images: int,
        steps: Sequence[Sides],
        modulation: Modulation,
        prepared: Mapping[Condition, Prepared],
        maps: Mapping[Control, Maps],
        reuse_from: int,
    ) -> None:
        """room: bytes that an evaluation takes. chunked: it is made in chunks, for little memory, and not compiled.
        modulation: a row for each of the `steps`. prepared: of all conditions. maps: of all controls that act at some
        step. reuse_from: as in SamplerSettings; what reuses is not compiled."""
        self.handle = handle
        evaluate = evaluator(handle.module, "off" if chunked or reuse_from else handle.compile)
        self.evaluate = partial(evaluate, call=call_in_chunks) if chunked else evaluate
        self.room = room
        self.images = images
        self.steps = steps
        self.modulations = [slice_modulation(modulation, index) for index in range(len(steps))]
        self.prepared = prepared
        self.maps = maps
        self.reuse_from = reuse_from
        self.inner: dict[Side, Inner] = {}  # of the last evaluation's passes
        self.passes = {sides: self._passes(sides) for sides in set(steps)}

    def __call__(self, x: Tensor, index: int) -> tuple[Tensor, Tensor | None]:
        """x (N, C, h, w) -> conditional and, where guided, unconditional prediction."""
        sides = self.steps[index]
        self.handle.acquire(self.room)  # the caller may have used another model since the last step
        predictions: dict[Condition, Tensor] = {}
        passes = self.passes[sides]
        if self.reuse_from:  # a pass that the evaluation before did not have begins anew
            self.inner = {each: self.inner.get(each) or Inner(self.reuse_from) for each in passes}
        for conditions, prepared in passes.items():
            batch = x.to(self.handle.dtype).repeat(len(conditions), 1, 1, 1)
            reused = {"inner": self.inner[conditions]} if self.reuse_from else {}
            predicted = self.evaluate(batch, self.modulations[index], prepared, **reused)
            predictions.update(zip(conditions, predicted.float().chunk(len(conditions)), strict=True))
        unconditional = _mean(predictions, sides.negative) if sides.negative else None
        return _mean(predictions, sides.positive), unconditional

    def _passes(self, sides: Sides) -> dict[Side, Prepared]:
        """The calls of the network: conditions of equally much text share one, one after the other in its batch."""
        groups: dict[int, list[Condition]] = {}
        for condition in (*sides.positive, *sides.negative):
            groups.setdefault(self.prepared[condition].tokens, []).append(condition)
        return {tuple(group): self._join(group, sides) for group in groups.values()}

    def _join(self, conditions: Sequence[Condition], sides: Sides) -> Prepared:
        prepared = [self.prepared[condition] for condition in conditions]
        control = blend([sides.weights(condition) for condition in conditions], self.maps, self.images)
        if len(prepared) == 1:
            return replace(prepared[0], control=control)  # a batch of one serves all images
        each = [one for one in prepared for _ in range(self.images // one.batch)]
        return replace(Prepared.cat(each), control=control)


def _shares(side: Side) -> dict[Condition, float]:
    total = sum(condition.strength for condition in side)
    return {condition: condition.strength / total for condition in side}


def _mean(predictions: Mapping[Condition, Tensor], side: Side) -> Tensor:
    if len(side) == 1:
        return predictions[side[0]]
    weighted = [share * predictions[condition] for condition, share in _shares(side).items()]
    return sum(weighted[1:], start=weighted[0])


def make_denoise(predict: Predictor, guidance: Guidance, process: Process, times: Sequence[Time]) -> Denoise:
    """The function that a sampler calls. times: of every evaluation, in the order of `predict`'s steps."""
    rows = {time: index for index, time in enumerate(times)}

    def denoise(x: Tensor, time: Time) -> tuple[Tensor, Tensor]:
        cond, uncond = predict(x, rows[time])
        prediction = cond if uncond is None else guidance.combine(cond, uncond)
        return process.split(x, prediction, time.a, time.b)

    return denoise
