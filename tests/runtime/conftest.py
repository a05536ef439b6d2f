"""The small untrained parts and the new host of the nodes' tests."""

from ..nodes.conftest import models, on_the_processor, part  # noqa: F401  (fixtures)
