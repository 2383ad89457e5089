"""Noise that belongs to an image: drawn on the CPU from that image's own seed, whatever its batch or device.

Three streams of a seed never share a number: the start noise is drawn from the seed itself, as diffusers does with a
generator of that seed; the posterior's and the solver's from seeds derived by a hash of the seed and a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import cosh, exp, log, sqrt, tanh
from typing import Literal

import torch
from torch import Tensor

from tintype.diffusion.philox import philox_normal

Shape = tuple[int, int, int]
"""(c, h, w)"""


def start_noise(seeds: Sequence[int], shape: Shape, source: Literal["cpu", "philox"] = "cpu") -> Tensor:
    """The unit noise that each image starts from, (b c h w) fp32 on the CPU; seeds from 0 to 2^64 - 1.

    ``source`` is whose generator: torch's of the CPU, or as an NVIDIA GPU's would have drawn it.
    """
    draw = {"cpu": _normal, "philox": philox_normal}[source]
    return torch.stack([draw(seed, shape) for seed in seeds])  # (c h w) each -> (b c h w)


def posterior_noise(seeds: Sequence[int], shape: Shape) -> Tensor:
    """The unit noise by which each image's latents are drawn from the autoencoder's posterior, (b c h w)."""
    return torch.stack([_normal(_derived(seed, "posterior"), shape) for seed in seeds])


class SolverNoise:
    """The fresh noise of stochastic solvers: ``noise(sigma, sigma_next)`` is (b c h w) of unit variance.

    It is consistent: the noise of an interval is what that of its parts adds up to, so that the same seed draws the
    same picture, more finely, with more steps. What "adds up" means is set by the equation that ancestral samplers
    solve. With D held still, x / sigma^2 moves as a Brownian motion B in the time tau = 1 / sigma^2, and a step is

        noise(sigma, sigma_next) = (B(tau_next) - B(tau)) / sqrt(tau_next - tau)

    B is kept as V(s) = B(tau) / sqrt(tau) over s = -log(sigma), which is a stationary Ornstein-Uhlenbeck process:
    unit variance everywhere, correlation exp(-|s - s'|). Its values hang on a virtual tree (Li et al. 2020, arXiv
    2001.01328, section 4): the value in the middle of two known points, 2 delta apart, is

        V(middle) = (V(left) + V(right)) / (2 cosh(delta)) + sqrt(tanh(delta)) * Z

    with Z from a generator seeded by a hash of the image's seed and the middle's place. So a value depends on the
    seed and on sigma, never on what was asked before; the branch that was walked last is kept, which makes a falling
    walk through the sigmas cost about a dozen draws a step. Sigmas are told apart to one part in 2^15.
    """

    REACH = 16  # s runs from -16 to 16: sigma from 8.9e6 to 1.1e-7, beyond which the ends stand
    LEVELS = 20  # halvings of that range: leaves 2^-15 wide

    def __init__(self, seeds: Sequence[int], shape: Shape, device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.shape = shape
        self.device = device
        left = self._draw(0)
        correlation = exp(-2.0 * self.REACH)
        right = correlation * left + sqrt(1 - correlation**2) * self._draw(2**self.LEVELS)
        self._branch = [(0, 2**self.LEVELS, left, right)]  # known intervals, each the half of the one before

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Unit-variance noise of the interval from ``sigma`` down to ``sigma_next``, (b c h w) fp32."""
        place, place_next = self._place(sigma), self._place(sigma_next)
        if place_next <= place:
            raise ValueError(f"noise of the interval from {sigma} to {sigma_next}: too short, or rising")
        shrink = exp((place - place_next) * 2 * self.REACH / 2**self.LEVELS)  # sigma_next / sigma
        value, value_next = self._value(place), self._value(place_next)
        return ((value_next - shrink * value) / sqrt(1 - shrink**2)).to(self.device)

    def _place(self, sigma: float) -> int:
        """The leaf nearest to -log(sigma), counted from the left end."""
        s = self.REACH if sigma <= 0 else min(max(-log(sigma), -self.REACH), self.REACH)
        return round((s + self.REACH) / (2 * self.REACH) * 2**self.LEVELS)

    def _value(self, place: int) -> Tensor:
        """V at a leaf, (b c h w): down the tree from the smallest known interval that holds it."""
        while not self._branch[-1][0] <= place <= self._branch[-1][1]:
            self._branch.pop()
        left, right, value_left, value_right = self._branch[-1]
        while left < place < right:
            middle = (left + right) // 2
            delta = (right - left) * self.REACH / 2**self.LEVELS
            value = (value_left + value_right) / (2 * cosh(delta)) + sqrt(tanh(delta)) * self._draw(middle)
            if place < middle:
                right, value_right = middle, value
            else:
                left, value_left = middle, value
            self._branch.append((left, right, value_left, value_right))
        return value_left if place == left else value_right

    def _draw(self, place: int) -> Tensor:
        return torch.stack([_normal(_derived(seed, f"solver {place}"), self.shape) for seed in self.seeds])


def _normal(seed: int, shape: Shape) -> Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def _derived(seed: int, stream: str) -> int:
    """The seed of a named stream: 64 bits of a hash, in which no stream of one seed meets another's."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {stream}".encode(), digest_size=8).digest(), "little")
