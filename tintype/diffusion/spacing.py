"""Where the steps of a plan lie.

Two kinds of function. A *timestep spacing* chooses N of the training timesteps (Lin et al. 2023, arXiv
2305.08891, table 2). A *curve* keeps only the two ends of such a list and draws its own sigmas between them. All
return float64 arrays that fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tintype.errors import SettingsError

Array = NDArray[np.float64]
TimestepSpacing = Callable[[int, int, int], Array]
"""steps, num_train_timesteps, steps_offset -> (steps,) timesteps, not yet rounded."""
Curve = Callable[[float, float, int], Array]
"""sigma_max, sigma_min, steps -> (steps,) sigmas, both ends included."""


def leading(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """Every (T // N)-th timestep from ``steps_offset`` up; it never reaches the last one."""
    stride = num_train_timesteps // steps
    return np.arange(steps - 1, -1, -1, dtype=np.float64) * stride + steps_offset


def trailing(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """From the last timestep down, in equal strides of T / N, rounded; ``steps_offset`` does not matter."""
    strides = np.arange(num_train_timesteps, 0, -num_train_timesteps / steps)
    return strides[:steps].round() - 1  # the slice: where T / N is inexact, arange may give one more


def linspace(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """From the last timestep to 0, both included, not rounded; ``steps_offset`` does not matter."""
    return np.linspace(num_train_timesteps - 1, 0, steps)


def sgm_uniform(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """One point more than steps from the last timestep to 0, the smallest left out (Stability's own sampler)."""
    return np.linspace(num_train_timesteps - 1, 0, steps + 1)[:-1]


def simple(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """From the last timestep down in strides of T / N, cut and not rounded (ComfyUI's "simple")."""
    return num_train_timesteps - 1 - np.floor(np.arange(steps) * (num_train_timesteps / steps))


def consistency(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
    """Of the 50 timesteps that consistency models are distilled at, so many in equal strides, from the last down."""
    distilled = (np.arange(1, 51) * (num_train_timesteps // 50) - 1)[::-1].astype(np.float64)
    return distilled[np.floor(np.linspace(0, 50, steps, endpoint=False)).astype(int)]


def without_last(spacing: TimestepSpacing) -> TimestepSpacing:
    """One point more than steps, the smallest left out: DPM-Solver's count, in which the end is a point."""

    def spaced(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
        return spacing(steps + 1, num_train_timesteps, steps_offset)[:-1]

    return spaced


def karras(sigma_max: float, sigma_min: float, steps: int, rho: float = 7.0) -> Array:
    """Sigmas equally spaced in sigma^(1/rho) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    ramp = np.linspace(0, 1, steps)
    return (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


def exponential(sigma_max: float, sigma_min: float, steps: int) -> Array:
    """Sigmas equally spaced in log sigma (k-diffusion's ``get_sigmas_exponential``)."""
    return np.exp(np.linspace(np.log(sigma_max), np.log(sigma_min), steps))


def beta(sigma_max: float, sigma_min: float, steps: int, shape: float = 0.6) -> Array:
    """Sigmas at the quantiles of a Beta(0.6, 0.6) distribution: dense at both ends (arXiv 2407.12173)."""
    return sigma_min + (sigma_max - sigma_min) * _beta_quantiles(1 - np.linspace(0, 1, steps), shape)


def _beta_quantiles(p: Array, shape: float) -> Array:
    """Where the symmetric beta distribution reaches each p in [0, 1].

    With t = y^(1 / shape) its density, which has no bound at 0, becomes smooth; its integral to 1/2 is a table, from
    which the quantiles are read; the upper half is the mirror image.
    """
    y = np.linspace(0, 0.5**shape, 20_001)
    density = (1 - y ** (1 / shape)) ** (shape - 1)
    area = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    lower = np.interp(np.minimum(p, 1 - p), area / area[-1] / 2, y) ** (1 / shape)
    return np.where(p <= 0.5, lower, 1 - lower)


AYS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""The ten steps of "Align Your Steps" (Sabour et al. 2024, arXiv 2404.14507), as published for SD 1.5 and SDXL."""


def ays(sigma_max: float, sigma_min: float, steps: int, levels: tuple[float, ...] = AYS) -> Array:
    """The levels of "Align Your Steps" for SD 1.5, interpolated in log sigma. Its ends are its own."""
    places = np.linspace(0, len(levels) - 1, steps + 1)[:-1]
    return np.exp(np.interp(places, np.arange(len(levels)), np.log(levels)))


def ays_sdxl(sigma_max: float, sigma_min: float, steps: int) -> Array:
    """The same for SDXL."""
    return ays(sigma_max, sigma_min, steps, AYS_SDXL)


def by_hand(sigmas: Sequence[float]) -> list[float]:
    """Sigmas that were given; SettingsError unless there are two or more, finite, falling and none below 0."""
    levels = [float(sigma) for sigma in sigmas]
    falling = all(high > low for high, low in pairwise(levels))
    if len(levels) < 2 or not falling or levels[-1] < 0 or not math.isfinite(levels[0]):
        raise SettingsError(f"a list of sigmas needs two or more, falling, to 0 or above; got {levels}")
    return levels


TIMESTEP_SPACINGS: dict[str, TimestepSpacing] = {
    "leading": leading,
    "trailing": trailing,
    "linspace": linspace,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
}
CURVES: dict[str, Curve] = {
    "karras": karras,
    "exponential": exponential,
    "beta": beta,
    "ays": ays,
    "ays_sdxl": ays_sdxl,
}
SPACINGS: tuple[str, ...] = (*TIMESTEP_SPACINGS, *CURVES)
