"""How errors count at different noise, by the logarithm of signal over noise.

All weights are for the error of what the network predicts, epsilon or v.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

MOST_SNR = 5.0  # of min_snr, as in its paper
RANGE, BUCKETS = (-10.0, 10.0), 300  # of adaptive, as officially
BETA, LEAST, MOST = 0.99, 1e-7, 1e7


class LossWeight:
    """A weight that is a function of the noise alone."""

    def __init__(self, weight: Callable[[Tensor], Tensor]) -> None:
        self.of = weight  # logarithms of signal over noise (B,) -> weights (B,), float32

    @property
    def learned(self) -> Mapping[str, Tensor]:
        """What it knows of the steps so far, which a state keeps."""
        return {}

    def learn(self, log_snr: Tensor, errors: Tensor) -> None:
        """Told the unweighted errors (B,) after each batch."""


class AdaptiveWeight(LossWeight):
    """One over the error that is usual at such noise, so that all noise counts alike: the official fine-tuning's."""

    def __init__(self) -> None:
        super().__init__(self._usual)
        self.ends = torch.linspace(*RANGE, BUCKETS - 1)
        self.errors = torch.ones(BUCKETS)

    @property
    def learned(self) -> Mapping[str, Tensor]:
        return {"usual_errors": self.errors}

    def learn(self, log_snr: Tensor, errors: Tensor) -> None:
        """The usual errors move by a hundredth; of two errors of one bucket the later counts, as officially."""
        before = self.errors.clone()
        for bucket, error in zip(self._buckets(log_snr), errors.detach().float().cpu(), strict=True):
            self.errors[bucket] = before[bucket] * BETA + error * (1 - BETA)

    def _usual(self, log_snr: Tensor) -> Tensor:
        return (1 / self.errors[self._buckets(log_snr)]).clamp(LEAST, MOST)

    def _buckets(self, log_snr: Tensor) -> Tensor:
        return torch.searchsorted(self.ends, log_snr.float().cpu())


def loss_weight(name: str, target: str) -> LossWeight:
    """The weight of this name for a network that predicts `target`.

    p2: one over one plus signal over noise (Choi et al. 2022, with both of its constants 1). min_snr: no time counts
    more than MOST_SNR times as much as pure noise (Hang et al. 2023). auto: p2 for networks that predict the noise, as
    officially, and no weight for others.
    """
    if name == "adaptive":
        return AdaptiveWeight()
    if name == "min_snr":
        signal = 1.0 if target == "v" else 0.0
        return LossWeight(lambda log_snr: log_snr.exp().clamp(max=MOST_SNR) / (log_snr.exp() + signal))
    if name == "p2" or (name == "auto" and target == "epsilon"):
        return LossWeight(lambda log_snr: torch.sigmoid(-log_snr.double()).float())
    return LossWeight(torch.ones_like)
