"""Every network of SD 1.5, SD 2.1 and SDXL at its full width, random weights: the same outputs as the references."""

from __future__ import annotations

import pytest

from tests.parity import full_width


@pytest.mark.proof
@pytest.mark.parametrize(("family", "network"), full_width.NETWORKS, ids=" ".join)
def test_as_the_reference(family, network):
    """Within 1e-4 of its standard deviation in fp32, in bf16 1.2 times its own error. ``-s`` shows the table."""
    assert full_width.compare(family, network)
