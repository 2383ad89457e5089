from dataclasses import replace

import pytest
import torch

from tintype.models import (
    Autoencoder,
    Prepared,
    TextEncoder,
    TextEncoderConfig,
    UNet,
    UNetConfig,
    presets,
    without_text,
)
from tintype.models.autoencoder import AutoencoderConfig, DiagonalGaussian
from tintype.models.layers import sinusoidal_embedding
from tintype.types import Conditioning

CONFIG = UNetConfig(
    channels=(16, 32), layers_per_block=1, transformer_depth=(0, 1), num_heads=(2, 2), context_dim=24, norm_groups=8
)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet(CONFIG).requires_grad_(False)


def conditioning(images=3):
    return Conditioning(torch.randn(images, 77, 24, generator=torch.Generator().manual_seed(1)))


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_of_stable_diffusion_1():
    with torch.device("meta"):
        assert count(UNet(presets.SD1_UNET)) == 859_520_964
        assert count(Autoencoder(presets.SD1_AUTOENCODER)) == 83_653_863
        assert count(TextEncoder(presets.SD1_TEXT)) == 123_060_480


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (8, 8), (25, 17)])
def test_any_size_goes_through_the_u(unet, size):
    x = torch.randn(3, 4, *size)
    assert unet(x, torch.tensor([1.0, 500.0, 999.0]), conditioning()).shape == x.shape


def test_prepared_equals_conditioning_whole_sliced_and_joined(unet):
    x, t, cond = torch.randn(3, 4, 8, 8), torch.full((3,), 7.0), conditioning()
    direct = unet(x, t, cond)
    prepared = unet.prepare(cond)
    assert torch.equal(unet(x, t, prepared), direct)
    assert len(prepared.keys_values) == len(list(unet.cross_attentions())) == 4
    joined = Prepared.join([prepared[:1], prepared[1:]])
    assert torch.equal(unet(x, t, joined), direct)
    torch.testing.assert_close(unet(x[1:2], t[1:2], prepared[1:2]), direct[1:2])


def test_text_changes_the_prediction_and_only_through_attention(unet):
    x, t = torch.randn(3, 4, 8, 8), torch.full((3,), 7.0)
    one, other = unet(x, t, conditioning()), unet(x, t, conditioning().map(torch.neg))
    assert not torch.allclose(one, other)
    for attention in unet.cross_attentions():
        attention.to_out.weight.zero_()
    assert torch.equal(unet(x, t, conditioning()), unet(x, t, conditioning().map(torch.neg)))


def test_without_text_there_is_nothing_to_be_told():
    plain = UNet(without_text(CONFIG))
    assert not list(plain.cross_attentions())
    assert plain(torch.randn(2, 4, 8, 8), torch.ones(2), Conditioning(None)).shape == (2, 4, 8, 8)


def test_missing_parts_of_a_conditioning_are_named(unet):
    with pytest.raises(ValueError, match="context"):
        unet(torch.randn(1, 4, 8, 8), torch.ones(1), Conditioning(None))
    with pytest.raises(ValueError, match="vector"):
        UNet(replace(CONFIG, vector_dim=6)).prepare(conditioning())


def test_concat_and_vector_have_their_places():
    torch.manual_seed(0)
    unet = UNet(replace(CONFIG, in_channels=9, vector_dim=6)).requires_grad_(False)
    cond = replace(conditioning(2), vector=torch.randn(2, 6), concat=torch.randn(2, 5, 8, 8))
    x, t = torch.randn(2, 4, 8, 8), torch.ones(2)
    out = unet(x, t, cond)
    assert out.shape == (2, 4, 8, 8)
    assert not torch.allclose(out, unet(x, t, replace(cond, vector=-cond.vector)))
    assert not torch.allclose(out, unet(x, t, replace(cond, concat=-cond.concat)))
    torch.testing.assert_close(unet(x[:1], t[:1], unet.prepare(cond)[:1]), out[:1])


def test_residuals_are_added_where_skips_arise(unet):
    x, t, cond = torch.randn(1, 4, 8, 8), torch.ones(1), conditioning(1)
    plain = unet(x, t, cond)
    shapes = [(16, 8), (16, 8), (16, 4), (32, 4), (32, 4)]  # conv_in, level 0, its half, level 1, middle
    zeros = tuple(torch.zeros(1, c, s, s) for c, s in shapes)
    assert torch.equal(unet(x, t, cond, residuals=zeros), plain)
    for place in range(len(shapes)):
        added = tuple(torch.ones_like(zero) if i == place else zero for i, zero in enumerate(zeros))
        assert not torch.allclose(unet(x, t, cond, residuals=added), plain)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (72, 40)])
def test_autoencoder_divides_by_its_factor(size):
    autoencoder = Autoencoder(AutoencoderConfig(channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=4))
    pixels = torch.randn(2, 3, *size)
    latents = autoencoder.encode(pixels)
    assert latents.mean.shape == (2, 4, size[0] // 8, size[1] // 8)
    assert autoencoder.decode(latents.mean).shape == pixels.shape


def test_gaussian_agrees_with_torch():
    gaussian = DiagonalGaussian(torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3))
    theirs = torch.distributions.Normal(gaussian.mean, gaussian.std)
    unit = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = torch.distributions.kl_divergence(theirs, unit).sum(dim=(1, 2, 3))
    torch.testing.assert_close(gaussian.kl(), expected)
    noise = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(gaussian.sample(noise), gaussian.mean + gaussian.std * noise)


def test_time_embedding_has_its_cosines_first():
    embedding = sinusoidal_embedding(torch.tensor([0.0, 3.0]), 8)
    assert torch.equal(embedding[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    torch.testing.assert_close(embedding[1, 0], torch.tensor(3.0).cos())
    torch.testing.assert_close(embedding[1, 5], torch.tensor(3.0 * 10_000 ** (-1 / 4)).sin())


def test_pooled_text_is_read_at_the_first_end_token():
    torch.manual_seed(0)
    config = TextEncoderConfig(vocab_size=50, dim=16, num_layers=1, num_heads=2, mlp_dim=32, end_id=49)
    tower = TextEncoder(config)
    ids = torch.full((1, 77), 49)
    ids[0, :3] = torch.tensor([48, 5, 6])
    features = tower(ids)
    assert torch.equal(features.pooled, features.final[:, 3])
    assert len(features.hidden) == 2
