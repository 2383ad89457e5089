from __future__ import annotations

import pytest
from PIL import Image

from tests.unit.pipeline.tiny import tiny_model


@pytest.fixture(scope="session")
def shared_model():
    """For tests that leave the model as it was."""
    return tiny_model()


@pytest.fixture
def sd(shared_model):
    return shared_model


@pytest.fixture
def own_sd():
    """For tests that change the model."""
    return tiny_model()


@pytest.fixture
def picture() -> Image.Image:
    """72 x 64, every pixel another colour."""
    return Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize((72, 64)),
            Image.radial_gradient("L").resize((72, 64)),
            Image.linear_gradient("L").rotate(90).resize((72, 64)),
        ],
    )


@pytest.fixture
def mask() -> Image.Image:
    """72 x 64, a white square in its middle."""
    image = Image.new("L", (72, 64), 0)
    image.paste(255, (20, 16, 52, 48))
    return image
