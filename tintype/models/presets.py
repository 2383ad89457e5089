"""The shapes of well-known networks, and of our own."""

from __future__ import annotations

from tintype.models.autoencoder import AutoencoderConfig
from tintype.models.clip import ImageEncoderConfig, TextEncoderConfig
from tintype.models.unet import UNetConfig

SD1_UNET = UNetConfig()
SD1_AUTOENCODER = AutoencoderConfig()
SD1_TEXT = TextEncoderConfig()

SMALL_UNET = UNetConfig(
    channels=(128, 256),
    layers_per_block=1,
    transformer_depth=(0, 1),
    mid_depth=1,
    num_heads=(4, 4),
    context_dim=256,
)
SMALL_AUTOENCODER = AutoencoderConfig(channels=(32, 64, 64, 128), layers_per_block=1, norm_groups=16)
SMALL_TEXT = TextEncoderConfig(
    vocab_size=1024, dim=256, num_layers=4, num_heads=4, mlp_dim=1024, end_id=1023, projection_dim=256
)
SMALL_IMAGE = ImageEncoderConfig(
    image_size=128, patch_size=16, dim=256, num_layers=4, num_heads=4, mlp_dim=1024, projection_dim=256
)
