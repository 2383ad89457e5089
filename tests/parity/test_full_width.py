"""Stable Diffusion 1.5 at its full width, random weights, one network at a time: the same outputs as the references."""

from __future__ import annotations

import json

import diffusers
import pytest
import torch
import transformers

from tintype.checkpoints import parts
from tintype.types import Conditioning

pytestmark = pytest.mark.proof


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, in standard deviations of the reference."""
    return ((ours - reference).abs().max() / reference.std()).item()


@torch.no_grad()
def test_unet(tmp_path):
    torch.manual_seed(0)
    reference = diffusers.UNet2DConditionModel(cross_attention_dim=768, sample_size=64).eval()
    assert sum(p.numel() for p in reference.parameters()) == 859_520_964
    reference.save_pretrained(tmp_path)
    ours = parts.load_unet(tmp_path)
    for size in ((64, 64), (25, 17)):
        x, t, context = torch.randn(2, 4, *size), torch.tensor([3.0, 801.0]), torch.randn(2, 77, 768)
        found = difference(ours(x, t, Conditioning(context)), reference(x, t, context).sample)
        print(json.dumps({"unet": size, "largest difference / std": found}))
        assert found <= 1e-4


@torch.no_grad()
def test_autoencoder(tmp_path):
    torch.manual_seed(0)
    reference = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()
    assert sum(p.numel() for p in reference.parameters()) == 83_653_863
    reference.save_pretrained(tmp_path)
    ours = parts.load_autoencoder(tmp_path)
    latents, pixels = torch.randn(1, 4, 64, 64), torch.rand(1, 3, 320, 200) * 2 - 1
    decoded = difference(ours.decode(latents), reference.decode(latents).sample)
    encoded = difference(ours.encode(pixels).mean, reference.encode(pixels).latent_dist.mean)
    print(json.dumps({"decode": decoded, "encode": encoded}))
    assert max(decoded, encoded) <= 1e-4


@torch.no_grad()
def test_text_encoder(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        eos_token_id=49407,
    )
    reference = transformers.CLIPTextModel(config).eval()
    reference.save_pretrained(tmp_path)
    ours = parts.load_text_encoder(tmp_path, end_id=49407)
    assert sum(p.numel() for p in ours.parameters()) == 123_060_480
    ids = torch.randint(0, 49406, (2, 77))
    ids[:, 20:] = 49407
    found = difference(ours(ids).final, reference(ids).last_hidden_state)
    print(json.dumps({"text": found}))
    assert found <= 1e-4
