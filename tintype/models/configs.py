"""The shapes of the networks, as frozen records; none of them needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a UNet. The defaults are Stable Diffusion 1's (859,520,964 parameters).

    ``context_dim`` None is a network without text, as diffusion begins: its transformer blocks, where
    ``transformer_depth`` asks for any, only look at the picture.
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)  # of each level, from the finest
    layers_per_block: int = 2
    transformer_depth: tuple[int, ...] = (1, 1, 1, 0)  # transformer blocks after each ResNet block, by level
    mid_depth: int = 1
    num_heads: tuple[int, ...] = (8, 8, 8, 8)
    context_dim: int | None = 768
    vector_dim: int | None = None  # width of Conditioning.vector
    guidance_dim: int | None = None  # width of the embedding of Conditioning.guidance, which LCMs are told
    linear_projections: bool = False  # how files store proj_in and proj_out: as matrices, or as 1x1 convolutions
    norm_groups: int = 32
    norm_eps: float = 1e-5
    time_embedding_dim: int | None = None  # None: four times the finest level's width

    @property
    def time_dim(self) -> int:
        """The width of the time embedding."""
        return self.time_embedding_dim or 4 * self.channels[0]


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of an autoencoder. The defaults are Stable Diffusion 1's (83,653,863 parameters)."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    channels: tuple[int, ...] = (128, 256, 512, 512)  # of each level, from the finest
    layers_per_block: int = 2
    norm_groups: int = 32
    scaling_factor: float = 0.18215  # unit-variance latents = scaling_factor * raw latents
    force_upcast: bool = False  # its numbers pass what fp16 can hold: then it runs in fp32

    @property
    def factor(self) -> int:
        """Pixels to a latent, along each side."""
        return 2 ** (len(self.channels) - 1)


PIXELS = AutoencoderConfig(latent_channels=3, channels=(3,), layers_per_block=0, norm_groups=1, scaling_factor=1.0)
"""Of a model that works on pixels: a latent is a pixel, in [-1, 1]."""


@dataclass(frozen=True)
class TextEncoderConfig:
    """The shape of a text tower. The defaults are CLIP ViT-L/14's, Stable Diffusion 1's (123,060,480 parameters)."""

    vocab_size: int = 49408
    length: int = 77
    dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    activation: str = "quick_gelu"
    end_id: int = 49407  # where the whole text's feature is read
    projection_dim: int | None = None  # None: no projection, as in Stable Diffusion 1 and 2


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The shape of an image tower (ViT, arXiv 2010.11929). The defaults are CLIP ViT-L/14's."""

    image_size: int = 224
    patch_size: int = 14
    dim: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    mlp_dim: int = 4096
    activation: str = "quick_gelu"
    projection_dim: int | None = 768
