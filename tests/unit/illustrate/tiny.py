"""Models of random weights with the topology of each family: attention at several levels and in the middle."""

from __future__ import annotations

from dataclasses import replace

import torch

from tintype.diffusion import Schedule
from tintype.models import Autoencoder, AutoencoderConfig, TextEncoder, TextEncoderConfig, UNet, UNetConfig
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import SpecialTokens, Tokenizer

CAPTIONS = ["a red boat on a blue sea", "a paradise cosmic beach", "a lighthouse under the moon", "two green birds"]

SD1 = UNetConfig(
    channels=(8, 16, 16),
    layers_per_block=1,
    transformer_depth=(1, 1, 0),
    num_heads=(2, 2, 4),
    context_dim=32,
    norm_groups=4,
)
SD2 = replace(SD1, num_heads=(1, 2, 4), linear_projections=True)
SDXL = replace(SD1, transformer_depth=(0, 2, 2), mid_depth=2, context_dim=64, vector_dim=32 + 6 * 256)


def text_encoder(tokenizer: Tokenizer, **config) -> TextEncoder:
    shape = {"dim": 32, "num_layers": 2, "num_heads": 2, "mlp_dim": 64} | config
    return TextEncoder(TextEncoderConfig(vocab_size=len(tokenizer), end_id=tokenizer.end, **shape))


def tiny(family: str = "sd1") -> StableDiffusion:
    """The same weights at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = Tokenizer.train(CAPTIONS * 2, vocab_size=600)
        schedule = Schedule.scaled_linear()
        if family == "sd1":
            config, towers = SD1, [Tower(tokenizer, text_encoder(tokenizer))]
        elif family == "sd2":
            padded = Tokenizer(tokenizer.vocabulary, tokenizer.merges, specials=SpecialTokens.clip("!"))
            config, towers = SD2, [Tower(padded, text_encoder(padded))]
            schedule = Schedule.scaled_linear(prediction="v")
        else:
            second = text_encoder(tokenizer, projection_dim=32)
            towers = [Tower(tokenizer, text_encoder(tokenizer), 2, False), Tower(tokenizer, second, 2, False, True)]
            config = SDXL
        autoencoder = Autoencoder(AutoencoderConfig(channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=4))
        unet = UNet(config)
    defaults = Defaults(width=64, height=64, steps=4, guidance_scale=5.0)
    conditioner = Conditioner(*towers, zeros_for_none=family == "sdxl")
    return StableDiffusion(unet, autoencoder, conditioner, schedule, name=family, defaults=defaults)
