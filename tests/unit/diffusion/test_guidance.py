import pytest
import torch

from tintype.diffusion import Denoiser, Schedule, guided, masked, sampler
from tintype.errors import SettingsError
from tintype.types import Conditioning

SHAPE = (2, 4, 8, 8)


class Recorded:
    """A network that adds the mean of the context, and keeps the size of the batches that it saw."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, t, cond):
        self.batches.append(len(x))
        return torch.tanh(x) + cond.context.mean((1, 2)).reshape(-1, 1, 1, 1) * x.roll(1, -1)


def conditionings():
    return (Conditioning(torch.full((2, 3, 5), value)) for value in (1.0, -0.5))


def setting(prediction="eps"):
    network = Recorded()
    return network, Denoiser(network, Schedule.scaled_linear(prediction=prediction)), *conditionings()


X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_one_batch_and_two_calls_give_the_same(prediction, rescale):
    network, denoiser, cond, uncond = setting(prediction)
    together = guided(denoiser, cond, uncond, 7.5, rescale=rescale)(X, 2.0)
    apart = guided(denoiser, cond, uncond, 7.5, rescale=rescale, batched=False)(X, 2.0)
    assert torch.allclose(together, apart, atol=1e-5)
    assert network.batches == [4, 2, 2]


def test_guidance_moves_the_estimate_along_the_difference():
    _, denoiser, cond, uncond = setting()
    with_text, without = denoiser(X, 2.0, cond), denoiser(X, 2.0, uncond)
    expected = without + 3.0 * (with_text - without)
    assert torch.allclose(guided(denoiser, cond, uncond, 3.0)(X, 2.0), expected, atol=1e-5)


def test_scale_1_costs_no_unconditional_pass():
    network, denoiser, cond, uncond = setting()
    assert torch.equal(guided(denoiser, cond, None, 1.0)(X, 2.0), denoiser(X, 2.0, cond))
    assert torch.equal(guided(denoiser, cond, uncond, 1.0, rescale=0.7)(X, 2.0), denoiser(X, 2.0, cond))
    assert network.batches == [2] * 4


def test_outside_the_interval_there_is_no_unconditional_pass():
    network, denoiser, cond, uncond = setting()
    denoise = guided(denoiser, cond, uncond, 7.5, interval=(0.3, 5.0))
    for sigma in (14.0, 5.0, 0.31, 0.3, 0.1):
        denoise(X, sigma)
    assert network.batches == [2, 4, 4, 2, 2]


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_rescale_1_gives_the_raw_output_the_std_of_the_conditional_one(prediction):
    _, denoiser, cond, uncond = setting(prediction)
    sigma = 2.0
    denoised = guided(denoiser, cond, uncond, 7.5, rescale=1.0)(X, sigma)
    c_skip, c_out, _ = denoiser.parameterization(sigma)
    output = (denoised - c_skip * X) / c_out
    assert torch.allclose(output.std((1, 2, 3)), denoiser.raw(X, sigma, cond).std((1, 2, 3)), rtol=1e-4)


def test_guidance_without_an_unconditional_is_refused():
    _, denoiser, cond, _ = setting()
    with pytest.raises(SettingsError, match="unconditional"):
        guided(denoiser, cond, None, 7.5)


@pytest.mark.parametrize("name", ["euler", "euler_a", "heun", "dpmpp_2m", "ddim", "pndm"])
def test_outside_the_mask_the_original_comes_back(name):
    _, denoiser, cond, _ = setting()
    chosen = sampler(name)
    plan = denoiser.schedule.plan(chosen, None, 10)
    original, noise = torch.randn(2, *SHAPE)
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., :4] = 1
    seen = []

    def watched(x, sigma):
        seen.append((x, sigma))
        return denoiser.for_plan(plan)(x, sigma, cond)

    denoise = masked(watched, mask, original, noise)
    fresh = lambda *interval: torch.randn(SHAPE)  # noqa: E731
    *_, last = chosen.solve(denoise, original + plan.sigmas[0] * noise, plan, eta=chosen.eta, noise=fresh)
    outside = 4
    end = plan.sigmas[-1]
    assert torch.allclose(last.x_next[..., outside:], (original + end * noise)[..., outside:], atol=1e-3)
    assert torch.equal(last.denoised[..., outside:], original[..., outside:])
    assert not torch.allclose(last.x_next[..., :4], original[..., :4], atol=0.1)
    for x, sigma in seen:
        assert torch.equal(x[..., outside:], (original + sigma * noise)[..., outside:])


def test_a_mask_of_ones_changes_nothing():
    _, denoiser, cond, uncond = setting()
    denoise = guided(denoiser, cond, uncond, 4.0)
    everywhere = masked(denoise, torch.ones(1, 1, 8, 8), torch.randn(SHAPE), torch.randn(SHAPE))
    assert torch.equal(everywhere(X, 1.0), denoise(X, 1.0))
