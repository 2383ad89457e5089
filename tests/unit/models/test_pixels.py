"""Pictures that are their own latents, and the discriminator that looks at pictures."""

import torch

from tintype.models import PIXELS, DiscriminatorConfig, PatchDiscriminator, Pixels


def test_there_and_back_is_the_same_picture():
    pixels = torch.rand(2, 3, 8, 16) * 2 - 1
    model = Pixels()
    posterior = model.encode(pixels)
    assert torch.equal(posterior.mean, pixels)
    assert torch.equal(model.decode(posterior.mean), pixels)
    assert (posterior.sample(torch.randn_like(pixels)) - pixels).abs().max() < 1e-5
    assert model.factor == 1
    assert PIXELS.latent_channels == 3


def test_it_has_a_place_and_a_type_but_no_weights():
    model = Pixels().to(torch.float64)
    assert model.weight.dtype == torch.float64
    assert not list(model.parameters())
    assert not model.state_dict()


def test_the_discriminator_scores_each_patch_and_each_picture_alone():
    torch.manual_seed(0)
    model = PatchDiscriminator(DiscriminatorConfig(channels=(8, 16), norm_groups=4)).requires_grad_(False)
    pixels = torch.randn(3, 3, 32, 48)
    scores = model(pixels)
    assert scores.shape[:2] == (3, 1)
    assert scores.shape[2] > 1
    assert scores.shape[3] > scores.shape[2]
    torch.testing.assert_close(model(pixels[:1]), scores[:1], rtol=1e-5, atol=1e-5)  # GroupNorm, not BatchNorm
