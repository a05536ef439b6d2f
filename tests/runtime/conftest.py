"""The small untrained parts and the new host of the nodes' tests."""

from ..nodes.conftest import models, new_host, part  # noqa: F401  (fixtures)
