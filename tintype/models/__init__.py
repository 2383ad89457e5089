"""The three networks, in torch and nothing else: text and image towers, UNet, autoencoder and its discriminator.

Nothing here knows of noise levels, prompts, files or speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

if TYPE_CHECKING:
    from tintype.models.attention import Attention, attend_by_matmul, attend_with
    from tintype.models.autoencoder import Autoencoder, DiagonalGaussian
    from tintype.models.clip import CLIP, ImageEncoder, TextEncoder, TextFeatures, normalize_pixels
    from tintype.models.configs import PIXELS, AutoencoderConfig, ImageEncoderConfig, TextEncoderConfig, UNetConfig
    from tintype.models.discriminator import DiscriminatorConfig, PatchDiscriminator
    from tintype.models.pixels import Pixels
    from tintype.models.unet import Prepared, UNet, without_text

__all__ = [
    "CLIP",
    "PIXELS",
    "Attention",
    "Autoencoder",
    "AutoencoderConfig",
    "DiagonalGaussian",
    "DiscriminatorConfig",
    "ImageEncoder",
    "ImageEncoderConfig",
    "PatchDiscriminator",
    "Pixels",
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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.models.attention": ("Attention", "attend_by_matmul", "attend_with"),
        "tintype.models.autoencoder": ("Autoencoder", "DiagonalGaussian"),
        "tintype.models.clip": ("CLIP", "ImageEncoder", "TextEncoder", "TextFeatures", "normalize_pixels"),
        "tintype.models.configs": (
            "PIXELS",
            "AutoencoderConfig",
            "ImageEncoderConfig",
            "TextEncoderConfig",
            "UNetConfig",
        ),
        "tintype.models.discriminator": ("DiscriminatorConfig", "PatchDiscriminator"),
        "tintype.models.pixels": ("Pixels",),
        "tintype.models.unet": ("Prepared", "UNet", "without_text"),
    },
)
