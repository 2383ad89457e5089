from __future__ import annotations

import pytest
from PIL import Image

from tests.unit.illustrate.tiny import tiny


@pytest.fixture(scope="session")
def models():
    """One of each family, for tests that leave them as they were."""
    return {family: tiny(family) for family in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def sd(models):
    return models["sd1"]


@pytest.fixture
def picture() -> Image.Image:
    """72 x 64, every pixel another colour."""
    across = Image.linear_gradient("L").resize((72, 64))
    return Image.merge("RGB", [across, Image.radial_gradient("L").resize((72, 64)), across.rotate(180)])


@pytest.fixture
def mask() -> Image.Image:
    """72 x 64, a white square in its middle."""
    image = Image.new("L", (72, 64), 0)
    image.paste(255, (20, 16, 52, 48))
    return image
