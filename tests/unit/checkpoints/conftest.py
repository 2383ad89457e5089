"""A tiny model of our own, as a bundle and as a folder."""

from __future__ import annotations

import pytest
import torch

from tintype.checkpoints.folder import save_folder
from tintype.diffusion import Schedule
from tintype.models import Autoencoder, AutoencoderConfig, TextEncoder, TextEncoderConfig, UNet, UNetConfig
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def tiny() -> StableDiffusion:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["red boat", "blue moon", "red moon", "blue boat"])
    text = TextEncoderConfig(
        vocab_size=len(tokenizer),
        dim=16,
        num_layers=2,
        num_heads=2,
        mlp_dim=32,
        end_id=tokenizer.end,
        projection_dim=8,
    )
    unet = UNetConfig(
        channels=(16, 32),
        layers_per_block=1,
        transformer_depth=(0, 1),
        num_heads=(2, 2),
        context_dim=16,
        norm_groups=8,
    )
    autoencoder = AutoencoderConfig(channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=8, scaling_factor=0.7)
    return StableDiffusion(
        UNet(unet),
        Autoencoder(autoencoder),
        Conditioner(Tower(tokenizer, TextEncoder(text)), vocabulary=Vocabulary(("blue", "boat", "moon", "red"))),
        Schedule.scaled_linear(prediction="v", sampler="ddim"),
        defaults=Defaults(width=128, height=128, steps=12, guidance_scale=4.0),
    )


@pytest.fixture
def folder(tiny, tmp_path):
    save_folder(tiny, tmp_path / "model")
    return tmp_path / "model"
