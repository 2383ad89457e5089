"""What the network predicts, as three scalars of sigma.

    x0_hat = c_skip * x + c_out * F(c_in * x, t)          Karras et al. 2022 (arXiv 2206.00364), eq. 7

The same scalars give the training target, ``target = (x0 - c_skip * x) / c_out``, so that training and
sampling cannot drift apart. Each function takes sigma as a float or a tensor and returns three of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tintype.errors import SettingsError
from tintype.types import Sigma

Prediction = Literal["eps", "v", "x0"]
Parameterization = Callable[[Sigma], tuple[Sigma, Sigma, Sigma]]


def EPS(sigma: Sigma) -> tuple[Sigma, Sigma, Sigma]:
    """F predicts the noise (Ho et al. 2020, arXiv 2006.11239)."""
    return sigma**0, -sigma, (sigma**2 + 1) ** -0.5


def V(sigma: Sigma) -> tuple[Sigma, Sigma, Sigma]:
    """F predicts v = alpha * noise - sigma_vp * x0 (Salimans and Ho 2022, arXiv 2202.00512, section 4).

    There ``alpha = (sigma^2 + 1)^-1/2`` and ``sigma_vp = sigma * alpha``, as in the variance-preserving form.
    """
    return 1 / (sigma**2 + 1), -sigma * (sigma**2 + 1) ** -0.5, (sigma**2 + 1) ** -0.5


def X0(sigma: Sigma) -> tuple[Sigma, Sigma, Sigma]:
    """F predicts the picture itself."""
    return sigma * 0, sigma**0, (sigma**2 + 1) ** -0.5


PARAMETERIZATIONS: dict[str, Parameterization] = {"eps": EPS, "v": V, "x0": X0}


def parameterization(prediction: str) -> Parameterization:
    """The parameterization of that name: "eps", "v" or "x0"; SettingsError for another."""
    if prediction not in PARAMETERIZATIONS:
        raise SettingsError(f"unknown prediction {prediction!r}: expected {', '.join(PARAMETERIZATIONS)}")
    return PARAMETERIZATIONS[prediction]
