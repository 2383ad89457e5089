import itertools
from math import sqrt

import pytest
import torch

from tintype.diffusion import Schedule, SolverNoise, posterior_noise, start_noise

SHAPE = (4, 32, 32)
SIGMAS = Schedule.scaled_linear().plan("euler_a", "karras", 20).sigmas


def tau(sigma):
    return sigma**-2


@pytest.mark.parametrize("seed", [0, 7, 2**16, 2**32 + 5, 2**63, 2**64 - 1])
def test_start_noise_is_that_of_a_generator_with_the_seed(seed):
    expected = torch.randn((1, *SHAPE), generator=torch.Generator("cpu").manual_seed(seed))
    assert torch.equal(start_noise([seed], SHAPE), expected)


def test_streams_of_one_seed_are_different():
    seeds = [5]
    solver = SolverNoise(seeds, SHAPE)(3.0, 1.0)
    streams = torch.stack([start_noise(seeds, SHAPE), posterior_noise(seeds, SHAPE), solver]).flatten(1)
    assert float((torch.corrcoef(streams) - torch.eye(3)).abs().max()) < 0.06
    assert not torch.equal(posterior_noise([5], SHAPE), posterior_noise([6], SHAPE))


def test_an_image_does_not_depend_on_its_batch():
    seeds = [11, 12, 13]
    assert torch.equal(start_noise(seeds, SHAPE)[1:2], start_noise([12], SHAPE))
    assert torch.equal(posterior_noise(seeds, SHAPE)[1:2], posterior_noise([12], SHAPE))
    together, alone = SolverNoise(seeds, SHAPE), SolverNoise([12], SHAPE)
    for sigma, sigma_next in itertools.pairwise(SIGMAS):
        assert torch.equal(together(sigma, sigma_next)[1:2], alone(sigma, sigma_next))


def test_solver_noise_is_unit_normal_and_disjoint_intervals_are_independent():
    noise = SolverNoise([1, 2], SHAPE)
    drawn = torch.stack([noise(a, b).flatten() for a, b in itertools.pairwise(SIGMAS)])
    assert drawn.mean(1).abs().max() < 5 / sqrt(drawn.shape[1])
    assert (drawn.std(1) - 1).abs().max() < 4 / sqrt(2 * drawn.shape[1])
    off = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert off.abs().max() < 5 / sqrt(drawn.shape[1])


@pytest.mark.parametrize(("a", "b", "c"), [(14.6, 3.0, 0.03), (3.0, 2.9, 2.8), (4096.0, 100.0, 0.5), (0.1, 0.05, 0.04)])
def test_the_noise_of_an_interval_is_that_of_its_parts(a, b, c):
    noise = SolverNoise([9], SHAPE)
    whole = sqrt(tau(c) - tau(a)) * noise(a, c)
    parts = sqrt(tau(b) - tau(a)) * noise(a, b) + sqrt(tau(c) - tau(b)) * noise(b, c)
    assert (whole - parts).abs().max() < 2e-3 * whole.std()


def test_solver_noise_does_not_depend_on_what_was_asked_before():
    forward, backward = SolverNoise([4], SHAPE), SolverNoise([4], SHAPE)
    intervals = list(itertools.pairwise(SIGMAS))
    first = [forward(*interval) for interval in intervals]
    second = [backward(*interval) for interval in reversed(intervals)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_interval_without_length_is_refused():
    with pytest.raises(ValueError, match="too short"):
        SolverNoise([0], SHAPE)(1.0, 1.0)


def test_the_last_interval_may_reach_zero():
    assert torch.isfinite(SolverNoise([0], SHAPE)(0.03, 0.0)).all()
