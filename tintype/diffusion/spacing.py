"""Where the steps of a plan lie.

Two kinds of function. A *timestep spacing* chooses N of the training timesteps (Lin et al. 2023, arXiv
2305.08891, table 2). A *curve* keeps only the two ends of such a list and draws its own sigmas between them. All
return float64 arrays that fall.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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


def without_last(spacing: TimestepSpacing) -> TimestepSpacing:
    """One point more than steps, the smallest left out: DPM-Solver's count, in which the end is a point."""

    def spaced(steps: int, num_train_timesteps: int, steps_offset: int) -> Array:
        return spacing(steps + 1, num_train_timesteps, steps_offset)[:-1]

    return spaced


def karras(sigma_max: float, sigma_min: float, steps: int, rho: float = 7.0) -> Array:
    """Sigmas equally spaced in sigma^(1/rho) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    ramp = np.linspace(0, 1, steps)
    return (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


TIMESTEP_SPACINGS: dict[str, TimestepSpacing] = {
    "leading": leading,
    "trailing": trailing,
    "linspace": linspace,
}
CURVES: dict[str, Curve] = {"karras": karras}
SPACINGS: tuple[str, ...] = (*TIMESTEP_SPACINGS, *CURVES)
