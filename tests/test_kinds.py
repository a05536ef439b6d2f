"""The table of kinds: no other table may know a kind that it does not have, or forget one."""

import pytest

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.files.signatures import SIGNATURES
from stable_cascade_nodes.cascade_core.kinds import KINDS
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.nodes.loaders import Loader

NETWORKS = [kind for kind in KINDS.values() if kind.network]


def test_every_network_has_presets_a_signature_and_a_loader() -> None:
    ids = {kind.id for kind in NETWORKS}
    loaders = [node for node in NODE_CLASS_MAPPINGS.values() if issubclass(node, Loader)]
    assert set(PRESETS) == {row.kind for row in SIGNATURES} == {loader.KIND.id for loader in loaders} == ids
    assert len(loaders) == len(ids)


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.id)
def test_the_network_is_there(kind) -> None:
    assert kind.network_class().__name__ == kind.network.partition(":")[2]
