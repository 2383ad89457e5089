"""The autoencoder's halves by strips: what they give whole, and plain again whenever somebody asks for more."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.unit.speed.peak_memory import autoencoder
from tintype.models.autoencoder import Decoder, Encoder
from tintype.speed import by_strips
from tintype.speed.by_strips import DecoderByStrips, EncoderByStrips, take_by_strips, take_whole

SHAPES = [(2, 3), (5, 7), (9, 2), (4, 4)]  # of latents, of an eighth of the pixels


@pytest.fixture
def model(monkeypatch):
    """Narrow, and with strips of a few rows."""
    monkeypatch.setattr(by_strips, "SIZE", 16)
    model = autoencoder((8, 8, 16, 16), groups=4)
    take_by_strips(model)
    return model


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["as it is", "channels-last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_the_same_as_whole(model, shape, layout):
    model = model.to(memory_format=layout)
    latents = torch.randn(2, 4, *shape)
    pixels = torch.rand(2, 3, *(8 * side for side in shape)) * 2 - 1
    quick = model.decode(latents), model.encode(pixels).mean
    take_whole(model)
    for found, expected in zip(quick, (model.decode(latents), model.encode(pixels).mean), strict=True):
        assert not torch.equal(found, expected)  # or nothing was tried
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_plain_again_bit_for_bit(model):
    latents, plain = torch.randn(1, 4, 5, 6), autoencoder((8, 8, 16, 16), groups=4)
    plain.load_state_dict(model.state_dict())
    assert isinstance(model.decoder, DecoderByStrips) and isinstance(model.encoder, EncoderByStrips)
    take_whole(model)
    assert type(model.decoder) is Decoder and type(model.encoder) is Encoder
    assert torch.equal(model.decode(latents), plain.decode(latents))


@torch.no_grad()
def test_a_batch_is_its_pictures(model, set_threads):
    set_threads(1)  # more of them share a batch otherwise than a picture, and add up in another order
    latents = torch.randn(3, 4, 4, 4)
    assert torch.equal(model.decode(latents), torch.cat([model.decode(one) for one in latents.split(1)]))


@torch.no_grad()
def test_one_strip_is_taken_whole(model):
    latents, pixels = torch.randn(1, 4, 2, 2), torch.rand(1, 3, 16, 16)
    quick = model.decode(latents), model.encode(pixels).mean
    take_whole(model)
    assert torch.equal(quick[0], model.decode(latents)) and torch.equal(quick[1], model.encode(pixels).mean)


def test_gradients_ask_for_the_plain_one(model):
    latents = torch.randn(1, 4, 4, 4, requires_grad=True)
    (found,) = torch.autograd.grad(model.decode(latents).square().sum(), latents)
    take_whole(model)
    (expected,) = torch.autograd.grad(model.decode(latents).square().sum(), latents)
    assert torch.equal(found, expected)


@torch.no_grad()
def test_who_listens_to_the_decoder_hears_one_call(model):
    heard, latents = [], torch.randn(1, 4, 4, 5)
    model.decoder.register_forward_hook(lambda _, inputs, output: heard.append((inputs[0].shape, output.shape)))
    model.decode(latents)
    assert heard == [((1, 4, 4, 5), (1, 3, 32, 40))]


@torch.no_grad()
def test_a_copy_is_a_model_of_its_own(model):
    latents, other = torch.randn(1, 4, 4, 4), copy.deepcopy(model)
    before = model.decode(latents)
    for weight in other.parameters():
        weight.zero_()
    assert torch.equal(model.decode(latents), before) and not torch.equal(other.decode(latents), before)
