"""Solvers against their published formulas, written anew in float64, and orders of convergence on Gaussian data.

For what diffusers has no scheduler for (2S a, 3M SDE), these are the oracle. The formulas are in k-diffusion's terms:
t = -log(sigma), h a stride of t.
"""

import itertools
from math import exp, expm1, log, log2, sqrt

import numpy as np
import pytest
import torch

from tintype.diffusion import SAMPLERS, SolverNoise, sampler
from tintype.diffusion.multistep import deis, dpmpp_2m_sde, dpmpp_3m_sde, lms, unipc
from tintype.diffusion.plan import Plan
from tintype.diffusion.solvers import dpmpp_2m, euler, heun, pndm
from tintype.diffusion.two_stage import dpm2, dpmpp_2s_a, dpmpp_sde
from tintype.errors import SettingsError

S = 0.5
X = torch.linspace(-2, 2, 64, dtype=torch.float64).reshape(1, 1, 8, 8)


def gaussian(x, sigma):
    """The exact denoiser of N(0, S^2)."""
    return S**2 / (S**2 + sigma**2) * x


def bent(x, sigma):
    """A denoiser of no data in particular, without a closed solution."""
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * sigma * torch.ones_like(x))


def curved(steps, high=10.0, low=0.05):
    sigmas = np.linspace(high ** (1 / 3), low ** (1 / 3), steps + 1) ** 3
    return Plan(tuple(sigmas.tolist()), tuple(range(steps, 0, -1)), high, lambda sigma: sigma)


def solved(solve, denoise, steps, **how):
    *_, last = solve(denoise, 10 * X, curved(steps), **how)
    return last.x_next


def error(solve, steps):
    exact = 10 * X * sqrt((S**2 + 0.05**2) / (S**2 + 10**2))
    return float((solved(solve, gaussian, steps, eta=0.0) - exact).abs().max())


ORDERS = {
    euler: 1,
    heun: 2,
    pndm: 2,
    dpm2: 2,
    dpmpp_2s_a: 2,
    dpmpp_sde: 2,
    dpmpp_2m: 2,
    dpmpp_2m_sde: 2,
    deis: 2,
}


@pytest.mark.parametrize("solve", ORDERS, ids=lambda solve: solve.__name__)
def test_order_of_convergence_at_eta_0(solve):
    assert log2(error(solve, 160) / error(solve, 320)) == pytest.approx(ORDERS[solve], abs=0.2)


def test_lms_is_of_order_4_until_its_first_steps_show():
    assert log2(error(lms, 40) / error(lms, 80)) == pytest.approx(4, abs=0.4)


def test_dpmpp_3m_is_of_order_2_as_published_and_would_be_of_3_with_its_last_term_doubled():
    assert log2(error(dpmpp_3m_sde, 320) / error(dpmpp_3m_sde, 640)) == pytest.approx(2, abs=0.2)
    doubled = [float((published_3m(gaussian, steps, eta=0.0, last=2.0) - exact()).abs().max()) for steps in (160, 320)]
    assert log2(doubled[0] / doubled[1]) > 2.6


def test_unipc_is_of_order_2():
    """Not on Gaussian data, where its error changes sign on the way."""
    reference = solved(dpm2, bent, 3000, eta=0.0)
    errors = [float((solved(unipc, bent, steps, eta=0.0) - reference).abs().max()) for steps in (80, 160)]
    assert log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


def exact():
    return 10 * X * sqrt((S**2 + 0.05**2) / (S**2 + 10**2))


def published_3m(denoise, steps, eta, noise=None, last=1.0):
    """k-diffusion's ``sample_dpmpp_3m_sde``; ``last`` multiplies its last term."""
    sigmas = curved(steps).sigmas
    x, seen = 10 * X, []
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = denoise(x, sigma)
        t, s = -log(sigma), -log(sigma_next)
        h = s - t
        h_eta = h * (eta + 1)
        x = exp(-h_eta) * x - expm1(-h_eta) * denoised
        if len(seen) >= 2:
            (h_1, denoised_1), (h_2, denoised_2) = seen[-1], seen[-2]
            r0, r1 = h_1 / h, h_2 / h
            d1_0 = (denoised - denoised_1) / r0
            d1_1 = (denoised_1 - denoised_2) / r1
            d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1)
            d2 = (d1_0 - d1_1) / (r0 + r1)
            phi_2 = expm1(-h_eta) / h_eta + 1
            phi_3 = phi_2 / h_eta - 0.5
            x = x + phi_2 * d1 - last * phi_3 * d2
        elif seen:
            h_1, denoised_1 = seen[-1]
            d = (denoised - denoised_1) / (h_1 / h)
            x = x + (expm1(-h_eta) / h_eta + 1) * d
        if eta:
            x = x + noise(sigma, sigma_next) * sigma_next * sqrt(-expm1(-2 * h * eta))
        seen.append((h, denoised))
    return x


def published_2s_a(denoise, steps, eta, noise):
    """k-diffusion's ``sample_dpmpp_2s_ancestral``."""
    x = 10 * X
    for sigma, sigma_next in itertools.pairwise(curved(steps).sigmas):
        up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
        down = (sigma_next**2 - up**2) ** 0.5
        denoised = denoise(x, sigma)
        t, t_next = -log(sigma), -log(down)
        h = t_next - t
        s = t + h / 2
        middle = (exp(-s) / exp(-t)) * x - expm1(-h / 2) * denoised
        x = (exp(-t_next) / exp(-t)) * x - expm1(-h) * denoise(middle, exp(-s))
        x = x + noise(sigma, sigma_next) * up
    return x


def published_sde(denoise, steps, eta, noise):
    """k-diffusion's ``sample_dpmpp_sde`` with r = 1/2."""
    x, fac = 10 * X, 1 / (2 * 0.5)

    def ancestral(sigma, sigma_next):
        up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
        return (sigma_next**2 - up**2) ** 0.5, up

    for sigma, sigma_next in itertools.pairwise(curved(steps).sigmas):
        denoised = denoise(x, sigma)
        middle = exp((log(sigma) + log(sigma_next)) / 2)
        down, up = ancestral(sigma, middle)
        x_2 = (down / sigma) * x - expm1(log(down) - log(sigma)) * denoised + noise(sigma, middle) * up
        denoised_2 = denoise(x_2, middle)
        down, up = ancestral(sigma, sigma_next)
        mixed = (1 - fac) * denoised + fac * denoised_2
        x = (down / sigma) * x - expm1(log(down) - log(sigma)) * mixed + noise(sigma, sigma_next) * up
    return x


def noises():
    generator = torch.Generator().manual_seed(5)
    return lambda sigma, sigma_next: torch.randn(X.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize(
    ("solve", "published"),
    [(dpmpp_3m_sde, published_3m), (dpmpp_2s_a, published_2s_a), (dpmpp_sde, published_sde)],
)
def test_solvers_are_their_published_formulas(solve, published, eta):
    got = solved(solve, bent, 12, eta=eta, noise=noises())
    assert torch.allclose(got, published(bent, 12, eta, noises()), rtol=1e-9, atol=1e-9)


def test_the_weights_of_lms_are_integrals_of_lagrange_polynomials():
    sigmas = (10.0, 6.0, 3.5, 1.0, 0.2)
    slopes = {sigma: float(i + 1) ** 2 for i, sigma in enumerate(sigmas)}
    plan = Plan(sigmas, (4, 3, 2, 1), 10.0, lambda sigma: sigma)
    steps = list(lms(lambda x, sigma: x - sigma * slopes[sigma], torch.zeros(1, dtype=torch.float64), plan))
    through = np.polynomial.Polynomial.fit(sigmas[:4], [slopes[sigma] for sigma in sigmas[:4]], 3).integ()
    moved = float(steps[-1].x_next - steps[-1].x)
    assert moved == pytest.approx(through(0.2) - through(1.0), rel=1e-9)


STOCHASTIC = [euler, dpm2, dpmpp_2s_a, dpmpp_sde, dpmpp_2m_sde, dpmpp_3m_sde]


@pytest.mark.parametrize("solve", STOCHASTIC, ids=lambda solve: solve.__name__)
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_keeps_the_variance_of_gaussian_data(solve, eta):
    plan = curved(100, low=0.02)
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, 128, 128)
    x = sqrt(S**2 + plan.sigmas[0] ** 2) * torch.randn(shape, generator=generator)
    *_, last = solve(gaussian, x, plan, eta=eta, noise=lambda *interval: torch.randn(shape, generator=generator))
    assert float(last.x_next.std()) == pytest.approx(sqrt(S**2 + 0.02**2), rel=0.05)


@pytest.mark.parametrize("solve", STOCHASTIC, ids=lambda solve: solve.__name__)
def test_the_same_seed_with_more_steps_nears_one_picture(solve):
    """The noise of an interval is the sum of its parts', so that finer steps follow the same path more closely."""
    start = 10 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    def drawn(steps, seed=3):
        noise = SolverNoise([seed], (1, 16, 16))
        *_, last = solve(gaussian, start, curved(steps), eta=1.0, noise=noise)
        return last.x_next

    finest = drawn(160)
    distances = [float((drawn(steps) - finest).square().mean().sqrt()) for steps in (5, 20, 80)]
    other = float((drawn(80, seed=4) - finest).square().mean().sqrt())
    assert distances[0] > 1.5 * distances[1] > 2 * distances[2]
    assert other > 4 * distances[2]


@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.eta == 0])
def test_a_sampler_without_noise_refuses_eta_or_takes_it_as_fresh_noise(name):
    solve = sampler(name).solve
    if solve in (euler, dpm2):
        with pytest.raises(SettingsError, match="SolverNoise"):
            list(solve(gaussian, X, curved(2), eta=1.0))
    else:
        with pytest.raises(SettingsError, match="eta must be 0"):
            list(solve(gaussian, X, curved(2), eta=1.0))


def test_every_solver_says_its_source_and_order():
    for each in {chosen.solve for chosen in SAMPLERS.values()}:
        text = each.__doc__ or ""
        assert "20" in text or "k-diffusion" in text, each.__name__
        assert "order" in text or each.__name__ == "lcm", each.__name__
