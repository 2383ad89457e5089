"""The shapes of well-known networks, and of our own."""

from __future__ import annotations

from tintype.models.configs import AutoencoderConfig, ImageEncoderConfig, TextEncoderConfig, UNetConfig

SD1_UNET = UNetConfig()
SD1_AUTOENCODER = AutoencoderConfig()
SD1_TEXT = TextEncoderConfig()

SD2_UNET = UNetConfig(num_heads=(5, 10, 20, 20), context_dim=1024, linear_projections=True)  # 865,910,724 parameters
SD2_TEXT = TextEncoderConfig(dim=1024, num_layers=23, num_heads=16, mlp_dim=4096, activation="gelu")
"""OpenCLIP ViT-H/14 without its last layer: 340,387,840 parameters."""

SDXL_UNET = UNetConfig(  # 2,567,463,684 parameters
    channels=(320, 640, 1280),
    transformer_depth=(0, 2, 10),
    mid_depth=10,
    num_heads=(5, 10, 20),
    context_dim=2048,
    vector_dim=2816,
    linear_projections=True,
)
SDXL_AUTOENCODER = AutoencoderConfig(scaling_factor=0.13025, force_upcast=True)
SDXL_TEXT_1 = SD1_TEXT
SDXL_TEXT_2 = TextEncoderConfig(
    dim=1280, num_layers=32, num_heads=20, mlp_dim=5120, activation="gelu", projection_dim=1280
)
"""OpenCLIP ViT-bigG/14: 694,659,840 parameters."""

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
