"""Solvers that reuse the estimates of the steps before: one evaluation a step.

Signature and coordinate are those of ``solvers.py``. Time is lambda = -log(sigma), h its stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, expm1, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from tintype.diffusion.plan import Plan
from tintype.diffusion.solvers import drawn, refuse_noise
from tintype.types import Denoise, Noise, Step

if TYPE_CHECKING:
    from torch import Tensor

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
FEW_STEPS = 15  # below that many steps diffusers ends multistep solvers with a step of order 1


def lms(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """Linear multistep, up to four slopes: Adams-Bashforth on uneven sigmas, order 4 (k-diffusion's ``sample_lms``).

    The first three steps, which have fewer slopes, are of order 1, 2 and 3.
    """
    refuse_noise("lms", eta)
    slopes: list[Tensor] = []  # the latest four, newest first
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[:3]]
        points = [plan.sigmas[i - k] for k in range(len(slopes))]
        at = (sigma_next - sigma) / 2 * NODES + (sigma_next + sigma) / 2
        weights = [(sigma_next - sigma) / 2 * float(WEIGHTS @ each) for each in _lagrange(points, at)]
        x_next = x + sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next


def deis(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """DEIS, log-rho, order 2: Zhang and Chen 2022 (arXiv 2204.13902), eq. 15; slopes are lines in log(sigma).

    The first step is of order 1, as are the step to sigma 0 and the last of fewer than 15.
    """
    refuse_noise("deis", eta)
    last: tuple[float, Tensor] | None = None  # sigma and slope of the step before
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        final = i == len(plan) - 1 and len(plan) < FEW_STEPS
        if last is None or sigma_next == 0 or final:
            x_next = x + (sigma_next - sigma) * slope
        else:
            low, high = log(sigma), log(sigma_next)
            at = (high - low) / 2 * NODES + (high + low) / 2
            basis = _lagrange([low, log(last[0])], at)
            now, before = ((high - low) / 2 * float(WEIGHTS @ (np.exp(at) * each)) for each in basis)
            x_next = x + now * slope + before * last[1]
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        last = sigma, slope
        x = x_next


def unipc(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 0.0, noise: Noise | None = None) -> Iterator[Step]:
    """UniPC, B2(h), order 2 with corrector: Zhao et al. 2023 (arXiv 2302.04867), algorithms 5 to 8.

    The estimate at a predicted x corrects that x before the next prediction, at no evaluation more.
    """
    refuse_noise("unipc", eta)
    known: list[tuple[float, Tensor]] = []  # sigma and D of the latest two steps, newest first
    before, order = x, 0
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        corrected = _unipc_step(before, sigma, known[:order], denoised) if known else x
        known = [(sigma, denoised), *known[:1]]
        order = min(2, len(plan) - i, len(known))
        x_next = denoised if sigma_next == 0 else _unipc_step(corrected, sigma_next, known[:order], None)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        before, x = corrected, x_next


def _unipc_step(x: Tensor, sigma_next: float, known: Sequence[tuple[float, Tensor]], at_end: Tensor | None) -> Tensor:
    """From known[0] to sigma_next; ``at_end``, the estimate there, makes a corrector of the predictor."""
    sigma, denoised = known[0]
    h = log(sigma / sigma_next)
    grown = expm1(-h)
    differences, places = [], []
    for sigma_before, before in known[1:]:
        places.append(log(sigma / sigma_before) / h)
        differences.append((before - denoised) / places[-1])
    if at_end is None:
        weights = [0.5] * len(differences)
    else:
        places, differences = [*places, 1.0], [*differences, at_end - denoised]
        phi = grown / -h - 1
        right = [phi / grown, 2 * (phi / -h - 1 / 2) / grown][: len(places)]
        weights = [0.5] if len(places) == 1 else np.linalg.solve(np.vander(places, increasing=True).T, right).tolist()
    residual = sum(weight * each for weight, each in zip(weights, differences, strict=True))
    return (sigma_next / sigma) * x - grown * (denoised + residual)


def dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 1.0, noise: Noise | None = None
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M), midpoint, order 2 at eta 0: Lu et al. 2022 (arXiv 2211.01095), section 5.2."""
    last: tuple[float, Tensor] | None = None
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x_next = denoised
        else:
            h = log(sigma / sigma_next)
            extrapolated = denoised
            if last is not None:
                extrapolated = denoised + (denoised - last[1]) * h / (2 * log(last[0] / sigma))
            x_next = exp(-(1 + eta) * h) * x - expm1(-(1 + eta) * h) * extrapolated
            x_next = _with_noise(x_next, sigma, sigma_next, eta, noise)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        last = sigma, denoised
        x = x_next


def dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 1.0, noise: Noise | None = None
) -> Iterator[Step]:
    """SDE-DPM-Solver++(3M): k-diffusion's ``sample_dpmpp_3m_sde``, after Lu et al. 2022 (arXiv 2211.01095).

    Of order 2 at eta 0, with a smaller error than the solvers of two points: its last term is half of the one that
    would make it order 3. So it is published, and so it is drawn with everywhere.
    """
    known: list[tuple[float, Tensor]] = []  # sigma and D of the steps before, newest first
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x_next = denoised
        else:
            h = log(sigma / sigma_next)
            stride = (1 + eta) * h
            phi_2 = expm1(-stride) / stride + 1
            x_next = exp(-stride) * x - expm1(-stride) * denoised
            if known:
                r0 = log(known[0][0] / sigma) / h
                slope = (denoised - known[0][1]) / r0
                if len(known) == 2:
                    r1 = log(known[1][0] / known[0][0]) / h
                    bend = (slope - (known[0][1] - known[1][1]) / r1) / (r0 + r1)
                    x_next = x_next + phi_2 * (slope + r0 * bend) - (phi_2 / stride - 1 / 2) * bend
                else:
                    x_next = x_next + phi_2 * slope
            x_next = _with_noise(x_next, sigma, sigma_next, eta, noise)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        known = [(sigma, denoised), *known[:1]]
        x = x_next


def _with_noise(x: Tensor, sigma: float, sigma_next: float, eta: float, noise: Noise | None) -> Tensor:
    if eta == 0:
        return x
    share = 1 - (sigma_next / sigma) ** (2 * eta)
    return x + sigma_next * sqrt(share) * drawn(noise, sigma, sigma_next)


def _lagrange(points: Sequence[float], at: np.ndarray) -> list[np.ndarray]:
    """The values at ``at`` of each polynomial that is 1 at its own point and 0 at the others."""
    others = [[other for other in points if other != point] for point in points]
    return [
        np.prod([(at - other) / (point - other) for other in rest], axis=0) * np.ones_like(at)
        for point, rest in zip(points, others, strict=True)
    ]
