"""The three networks, in torch and nothing else: text and image towers, UNet, autoencoder.

Nothing here knows of noise levels, prompts, files or speed.
"""

from tintype.models.attention import Attention, attend_by_matmul, attend_with
from tintype.models.autoencoder import Autoencoder, AutoencoderConfig, DiagonalGaussian
from tintype.models.clip import (
    CLIP,
    ImageEncoder,
    ImageEncoderConfig,
    TextEncoder,
    TextEncoderConfig,
    TextFeatures,
    normalize_pixels,
)
from tintype.models.unet import Prepared, UNet, UNetConfig, without_text

__all__ = [
    "CLIP",
    "Attention",
    "Autoencoder",
    "AutoencoderConfig",
    "DiagonalGaussian",
    "ImageEncoder",
    "ImageEncoderConfig",
    "Prepared",
    "TextEncoder",
    "TextEncoderConfig",
    "TextFeatures",
    "UNet",
    "UNetConfig",
    "attend_by_matmul",
    "attend_with",
    "normalize_pixels",
    "without_text",
]
