"""Solvers on Gaussian data, where the exact answer is known.

For x0 ~ N(0, s^2) the best denoiser is D(x, sigma) = s^2 / (s^2 + sigma^2) * x, and the probability-flow equation
carries x at sigma to x * sqrt((s^2 + sigma_next^2) / (s^2 + sigma^2)).
"""

import itertools
from math import log2, sqrt

import numpy as np
import pytest
import torch

from tintype.diffusion import SAMPLERS, Plan, Schedule, SolverNoise, sampler
from tintype.diffusion.solvers import dpmpp_2m, euler, heun, pndm
from tintype.errors import SettingsError

S = 0.5
X = torch.linspace(-2, 2, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
NAMES = list(SAMPLERS)


def gaussian(x, sigma):
    return S**2 / (S**2 + sigma**2) * x


def curved(steps, high=10.0, low=0.05):
    """Sigmas on a smooth curve, equal strides of which are equal strides of a time; 2n steps refine n."""
    sigmas = np.linspace(high ** (1 / 3), low ** (1 / 3), steps + 1) ** 3
    return Plan(tuple(sigmas.tolist()), tuple(range(steps, 0, -1)), high, lambda sigma: sigma)


def error(solve, steps):
    plan = curved(steps)
    high, low = plan.sigmas[0], plan.sigmas[-1]
    *_, last = solve(gaussian, high * X, plan)
    exact = high * X * sqrt((S**2 + low**2) / (S**2 + high**2))
    return float((last.x_next - exact).abs().max())


@pytest.mark.parametrize(("solve", "order"), [(euler, 1), (heun, 2), (dpmpp_2m, 2), (pndm, 2)])
def test_order_of_convergence(solve, order):
    slope = log2(error(solve, 160) / error(solve, 320))
    assert slope == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_euler_with_fresh_noise_keeps_the_variance_of_the_data(eta):
    plan = curved(400, low=0.01)
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, 200, 200)
    x = sqrt(S**2 + plan.sigmas[0] ** 2) * torch.randn(shape, generator=generator)
    *_, last = euler(gaussian, x, plan, eta=eta, noise=lambda *interval: torch.randn(shape, generator=generator))
    assert float(last.x_next.std()) == pytest.approx(sqrt(S**2 + 0.01**2), rel=0.03)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_noise_of_a_step_has_the_variance_of_ddim_equation_16(eta):
    schedule = Schedule.scaled_linear()
    t, t_next = 801, 401
    abar, abar_next = (float(schedule.alphas_cumprod[i]) for i in (t, t_next))
    std = eta * sqrt((1 - abar_next) / (1 - abar) * (1 - abar / abar_next))  # of the variance-preserving x
    plan = Plan((schedule.sigma(t), schedule.sigma(t_next)), (t,), 1.0, lambda sigma: sigma)
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    (step,) = euler(lambda x, sigma: zero, zero, plan, eta=eta, noise=lambda *interval: one)
    assert float(step.x_next) * sqrt(abar_next) == pytest.approx(std, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_ddim_is_the_step_of_its_paper(steps):
    """Song et al. 2021, eq. 12 with eta = 0, in the variance-preserving form."""
    schedule = Schedule.scaled_linear()
    plan = schedule.plan("ddim", None, steps)
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    y = x.clone()
    *_, last = euler(gaussian, x * plan.start_scale, plan)
    abars = [1 / (1 + sigma**2) for sigma in plan.sigmas]
    for abar, abar_next, sigma in zip(abars, abars[1:], plan.sigmas, strict=False):
        x0 = gaussian(y / sqrt(abar), sigma)
        eps = (y - sqrt(abar) * x0) / sqrt(1 - abar)
        y = sqrt(abar_next) * x0 + sqrt(1 - abar_next) * eps
    assert torch.allclose(last.x_next * sqrt(abars[-1]), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_every_step_of_the_plan_is_yielded_once_and_in_order(name, steps):
    schedule = Schedule.scaled_linear()
    chosen = sampler(name)
    plan = schedule.plan(chosen, None, steps)
    noise = SolverNoise([1], (4, 8, 8))
    taken = list(chosen.solve(gaussian, torch.randn(1, 4, 8, 8), plan, eta=chosen.eta, noise=noise))
    assert [step.index for step in taken] == list(range(len(plan)))
    assert [step.sigma for step in taken] == list(plan.sigmas[:-1])
    assert [step.sigma_next for step in taken] == list(plan.sigmas[1:])
    for step, following in itertools.pairwise(taken):
        assert step.x_next is following.x


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_in_place(name):
    chosen = sampler(name)
    plan = Schedule.scaled_linear().plan(chosen, None, 8)
    noise = SolverNoise([1], (4, 8, 8))
    kept = []
    for step in chosen.solve(gaussian, torch.randn(1, 4, 8, 8), plan, eta=chosen.eta, noise=noise):
        tensors = (step.x, step.denoised, step.x_next)
        kept.append((tensors, [tensor.clone() for tensor in tensors]))
    assert all(torch.equal(a, b) for now, then in kept for a, b in zip(now, then, strict=True))


@pytest.mark.parametrize("solve", [heun, pndm, dpmpp_2m])
def test_a_deterministic_solver_refuses_eta(solve):
    with pytest.raises(SettingsError, match="eta must be 0"):
        list(solve(gaussian, X, curved(2), eta=1.0))


def test_a_stochastic_solver_without_noise_says_what_is_missing():
    with pytest.raises(SettingsError, match="SolverNoise"):
        list(euler(gaussian, X, curved(2), eta=1.0))


def test_an_unknown_sampler_is_answered_with_near_names():
    with pytest.raises(SettingsError, match="close: euler"):
        sampler("Eulr")


def test_the_same_seed_with_more_ancestral_steps_nears_one_picture():
    """Solver noise is one Brownian motion of the image, so that refining the steps refines the result."""
    schedule = Schedule.scaled_linear()
    start = torch.randn(1, 1, 32, 32)

    def drawn(steps, seed=3):
        plan = schedule.plan("euler_a", "karras", steps)
        *_, last = euler(gaussian, start * plan.start_scale, plan, eta=1.0, noise=SolverNoise([seed], (1, 32, 32)))
        return last.x_next

    finest = drawn(640)
    distances = [float((drawn(steps) - finest).square().mean().sqrt()) for steps in (20, 80, 320)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2]
    assert float((drawn(320, seed=4) - finest).square().mean().sqrt()) > 5 * distances[2]
