"""A whole Stable Diffusion of random weights, small enough for tests: real parts at tiny size."""

from __future__ import annotations

import torch

from tintype.diffusion import Schedule
from tintype.models import Autoencoder, AutoencoderConfig, TextEncoder, TextEncoderConfig, UNet, UNetConfig
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import Tokenizer

CAPTIONS = [
    "a red boat on a blue sea",
    "a paradise cosmic beach",
    "a lighthouse under the moon",
    "two green birds above a house",
]


def tiny_model(**schedule) -> StableDiffusion:
    """The same weights at every call; ``schedule`` are fields of ``Schedule``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = Tokenizer.train(CAPTIONS * 2, vocab_size=600)
        text = TextEncoder(
            TextEncoderConfig(
                vocab_size=len(tokenizer), dim=32, num_layers=2, num_heads=2, mlp_dim=64, end_id=tokenizer.end
            )
        )
        unet = UNet(
            UNetConfig(
                channels=(16, 32),
                layers_per_block=1,
                transformer_depth=(1, 0),
                num_heads=(2, 2),
                context_dim=32,
                norm_groups=8,
            )
        )
        autoencoder = Autoencoder(AutoencoderConfig(channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=4))
    conditioner = Conditioner(Tower(tokenizer, text))
    return StableDiffusion(
        unet,
        autoencoder,
        conditioner,
        Schedule.scaled_linear(**schedule),
        name="tiny",
        defaults=Defaults(width=64, height=64, steps=4, guidance_scale=5.0),
    )
