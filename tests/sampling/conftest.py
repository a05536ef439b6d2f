"""Stand-ins for the networks: three-line functions of their inputs that record how they are called."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.body import Prepared
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.sampling.condition import Condition

WIDTH, IMAGE_WIDTH = 8, 6
CONFIGS = {
    "stage_c": replace(PRESETS["stage_c"]["tiny"], c_clip_text=WIDTH, c_clip_text_pooled=WIDTH, c_clip_img=IMAGE_WIDTH),
    "stage_b": replace(PRESETS["stage_b"]["tiny"], c_clip=WIDTH, patch_size=4),
}


class StandIn(nn.Module):
    """Its prediction depends on the latent, the noise condition and, linearly, on one number per prompt."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.inputs = []  # x of each evaluation
        self.conditions = None  # the noise conditions of the run
        self.prepared = []  # arguments of each prepare

    @staticmethod
    def predict(x, r, number):
        return 0.6 * x + 0.3 * r * x.flip(-1) - number * (1 + x.roll(1, -2))

    def prepare(self, *tensors):
        self.prepared.append(tensors)
        numbers = sum(t.float().mean(dim=tuple(range(1, t.ndim))) for t in tensors if isinstance(t, torch.Tensor))
        text = tensors[0] if tensors[0].ndim == 3 else tensors[1][:, None]
        return Prepared((numbers.view(-1, 1, 1, 1).repeat(1, 1, text.shape[1], 1),))

    def modulate(self, r):
        self.conditions = r
        return (r[:, None].repeat(1, 2),)

    def evaluate(self, x, modulation, prepared):
        assert torch.is_inference_mode_enabled()
        self.inputs.append(x.clone())
        number = prepared.kv[0][:, 0, 0].view(-1, 1, 1, 1)
        return self.predict(x, modulation[0][0, 0], number).to(x.dtype)


@pytest.fixture
def handle():
    """A handle on a stand-in, or on the module given."""

    def make(kind="stage_c", module=None, **changes):
        fields = {
            "module": module or StandIn(),
            "kind": kind,
            "name": "tiny (built-in)",
            "family": "tiny",
            "config": CONFIGS.get(kind),
            "target": "epsilon",
            "x0_clamp": None,
            "dtype": torch.float32,
            "placement": StayPut(),
        }
        return Handle(**(fields | changes))

    return make


@pytest.fixture
def condition():
    """A condition whose number, in the stand-in, is twice `value`."""

    def make(value, tokens=3, batch=1, image_count=0, **changes):
        fields = {
            "sequence": torch.full((batch, tokens, WIDTH), float(value)),
            "pooled": torch.full((batch, WIDTH), float(value)),
            "images": torch.full((batch, image_count, IMAGE_WIDTH), float(value)) if image_count else None,
        }
        return Condition(**(fields | changes))

    return make
