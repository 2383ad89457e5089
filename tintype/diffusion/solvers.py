"""The solvers: each a generator that walks a plan from noise to a picture, one ``Step`` at a time.

A solver sees a denoiser and a list of sigmas and nothing else. In the coordinate x = x0 + sigma * noise the
probability-flow equation is dx/dsigma = (x - D(x, sigma)) / sigma (Karras et al. 2022, arXiv 2206.00364, eq. 1
and 3). Sigmas are Python floats, x is (b c h w) fp32. All take ``eta``, the share of fresh noise, and ``noise``,
where it comes from; a solver of an ordinary differential equation refuses an eta other than 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import expm1, log, sqrt
from typing import TYPE_CHECKING

from tintype.diffusion.plan import Plan
from tintype.errors import SettingsError
from tintype.types import Denoise, Noise, Step

if TYPE_CHECKING:
    from torch import Tensor


def euler(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """Euler's method, order 1; with eta = 1 the ancestral sampler of DDPM.

    eta = 0 is DDIM and k-diffusion's Euler; eta = 1 is DDPM and Euler ancestral; between them DDIM's family:
    Song et al. 2021 (arXiv 2010.02502), eq. 12 and 16, which in this coordinate is

        sigma_up^2   = eta^2 * sigma_next^2 * (sigma^2 - sigma_next^2) / sigma^2
        sigma_down^2 = sigma_next^2 - sigma_up^2
        x_next       = D + (sigma_down / sigma) * (x - D) + sigma_up * noise
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x_next = denoised + (sigma_down / sigma) * (x - denoised)
        if sigma_up > 0:
            x_next = x_next + sigma_up * drawn(noise, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def heun(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """Heun's method, order 2, two evaluations a step: Karras et al. 2022, algorithm 1.

    The step to sigma 0 is Euler's, since the slope has no value there.
    """
    refuse_noise("heun", eta)
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        x_next = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
            x_next = x + (sigma_next - sigma) * (slope + slope_next) / 2
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def pndm(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """Pseudo linear multistep, up to four slopes: Liu et al. 2022 (arXiv 2202.09778), eq. 9, 12 and 13.

    The paper's transfer from one noise level to the next, eq. 9, is a straight line in this coordinate. The slopes
    are weighed for equal strides in t (Adams-Bashforth, order 4) but carried along sigma, which leaves order 2. The
    first step is corrected by a second evaluation, as in Heun's method, in place of the paper's Runge-Kutta start.
    """
    refuse_noise("pndm", eta)
    slopes: list[Tensor] = []  # the latest four, newest first
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[:3]]
        if len(slopes) == 1 and len(plan) > 1:
            guess = x + (sigma_next - sigma) * slopes[0]
            slope = (slopes[0] + (guess - denoise(guess, sigma_next)) / sigma_next) / 2
        else:
            weights = ADAMS_BASHFORTH[len(slopes) - 1]
            slope = sum(weight * each for weight, each in zip(weights, slopes, strict=True))
        x_next = x + (sigma_next - sigma) * slope
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def dpmpp_2m(
    denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None
) -> Iterator[Step]:
    """DPM-Solver++(2M), order 2, one evaluation a step: Lu et al. 2022 (arXiv 2211.01095), algorithm 2.

    Time is lambda = -log(sigma), h its stride and r = h_last / h:

        D' = (1 + 1 / 2r) * D - 1 / 2r * D_last
        x_next = (sigma_next / sigma) * x - (exp(-h) - 1) * D'

    The first step, and the step to sigma 0, where h is infinite, are of order 1.
    """
    refuse_noise("dpmpp_2m", eta)
    last: tuple[float, Tensor] | None = None  # sigma and D of the step before
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x_next = denoised
        else:
            h = log(sigma / sigma_next)
            extrapolated = denoised
            if last is not None:
                sigma_last, denoised_last = last
                r = log(sigma_last / sigma) / h
                extrapolated = denoised + (denoised - denoised_last) / (2 * r)
            x_next = (sigma_next / sigma) * x - expm1(-h) * extrapolated
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        last = sigma, denoised
        x = x_next


def ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """The noise level to go down to, and the std of the fresh noise that brings it back up to sigma_next."""
    sigma_up = min(sigma_next, eta * sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2))
    return sqrt(sigma_next**2 - sigma_up**2), sigma_up


def drawn(noise: Noise | None, sigma: float, sigma_next: float) -> Tensor:
    """Unit-variance noise of the interval; SettingsError where there is no source of it."""
    if noise is None:
        raise SettingsError("eta above 0 draws fresh noise: pass noise=SolverNoise(seeds, shape)")
    return noise(sigma, sigma_next)


def refuse_noise(name: str, eta: float) -> None:
    """SettingsError for an eta that a deterministic solver would ignore."""
    if eta != 0:
        raise SettingsError(f"{name} draws no noise: eta must be 0, not {eta}; euler and ddim take any")
