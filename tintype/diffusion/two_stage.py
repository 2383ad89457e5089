"""Solvers that look twice in each step: at its beginning and halfway, in log sigma, to its end.

The same rules as in ``solvers.py``: a denoiser, a plan, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import expm1, log, sqrt
from typing import TYPE_CHECKING

from tintype.diffusion.plan import Plan
from tintype.diffusion.solvers import ancestral, drawn
from tintype.types import Denoise, Noise, Step

if TYPE_CHECKING:
    from torch import Tensor


def dpm2(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """DPM-Solver-2, order 2: the slope halfway through the step. Lu et al. 2022 (arXiv 2206.00927), algorithm 1.

    With eta it goes down to a lower level, and up again with fresh noise, as ``euler`` does (k-diffusion's DPM2 a).
    The step to sigma 0 is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        slope = (x - denoised) / sigma
        if sigma_down > 0:
            middle = sqrt(sigma * sigma_down)
            x_middle = x + (middle - sigma) * slope
            slope = (x_middle - denoise(x_middle, middle)) / middle
        x_next = x + (sigma_down - sigma) * slope
        if sigma_up > 0:
            x_next = x_next + sigma_up * drawn(noise, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def dpmpp_2s_a(
    denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None
) -> Iterator[Step]:
    """DPM-Solver++(2S), order 2 with eta 0: Lu et al. 2022 (arXiv 2211.01095), algorithm 1; then fresh noise.

    x_mid  = (sigma_mid / sigma) * x - (exp(-h / 2) - 1) * D(x, sigma)
    x_next = (sigma_down / sigma) * x - (exp(-h) - 1) * D(x_mid, sigma_mid)
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        if sigma_down == 0:
            x_next = denoised
        else:
            h, middle = log(sigma / sigma_down), sqrt(sigma * sigma_down)
            x_middle = (middle / sigma) * x - expm1(-h / 2) * denoised
            x_next = (sigma_down / sigma) * x - expm1(-h) * denoise(x_middle, middle)
        if sigma_up > 0:
            x_next = x_next + sigma_up * drawn(noise, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def dpmpp_sde(
    denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None
) -> Iterator[Step]:
    """DPM-Solver++ for the stochastic equation, two evaluations a step, order 2 with eta 0 (k-diffusion).

    Noise is added on the way to the middle too; that of the whole step is consistent with it.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x_next = denoised
        else:
            middle = sqrt(sigma * sigma_next)
            x_middle = _exponential(x, denoised, sigma, middle, eta, noise)
            x_next = _exponential(x, denoise(x_middle, middle), sigma, sigma_next, eta, noise)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def _exponential(
    x: Tensor, denoised: Tensor, sigma: float, sigma_next: float, eta: float, noise: Noise | None
) -> Tensor:
    """From sigma to sigma_next as if D stood still, with the share eta of fresh noise."""
    sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
    x_next = denoised + (sigma_down / sigma) * (x - denoised)
    return x_next + sigma_up * drawn(noise, sigma, sigma_next) if sigma_up > 0 else x_next
