"""A network that predicts noise, v or x0, seen as what a solver wants: (x, sigma) -> the estimate of x0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tintype.diffusion.parameterization import Parameterization, Prediction, parameterization
from tintype.diffusion.plan import Plan
from tintype.diffusion.schedule import Schedule
from tintype.errors import SettingsError
from tintype.types import Sigma

Network = Callable[[Tensor, Tensor, Any], Tensor]
"""(b c h w) of about unit variance, (b,) timesteps, conditioning -> F, (b c h w)."""


@dataclass(frozen=True)
class Denoiser:
    """``denoiser(x, sigma, cond)`` estimates x0 by one call of ``network`` (Karras et al. 2022, eq. 7).

    ``prediction`` is what the network was trained to predict; None takes the schedule's. ``dtype`` is the
    network's own: state is fp32, and the cast in ``raw`` is the only one in sampling. ``timestep`` maps sigma to
    the time that the network is told; None interpolates the schedule; ``for_plan`` puts a plan's in its place.
    """

    network: Network
    schedule: Schedule
    prediction: Prediction | None = None
    dtype: torch.dtype = torch.float32
    timestep: Callable[[Sigma], Sigma] | None = None

    def __post_init__(self) -> None:
        if self.prediction is not None:
            replace(self.schedule, prediction=self.prediction)  # a schedule refuses what does not go with it

    @property
    def parameterization(self) -> Parameterization:
        """The scalars (c_skip, c_out, c_in) of sigma."""
        return parameterization(self.prediction or self.schedule.prediction)

    def for_plan(self, plan: Plan) -> Denoiser:
        """The same denoiser, telling the network the plan's timesteps (rounded or not, by family)."""
        return replace(self, timestep=plan.timestep)

    def __call__(self, x: Tensor, sigma: Sigma, cond: Any = None) -> Tensor:
        """The estimate of x0, (b c h w) fp32, for x (b c h w) at noise level sigma (float or (b,))."""
        return self.x0_from(self.raw(x, sigma, cond), x, sigma)

    def raw(self, x: Tensor, sigma: Sigma, cond: Any = None) -> Tensor:
        """The network's own output F at (x, sigma), (b c h w) fp32."""
        times = (self.timestep or self.schedule.timestep)(sigma)
        t = torch.as_tensor(times, dtype=torch.float32, device=x.device).expand(len(x))  # () | (b,) -> (b,)
        _, _, c_in = self.parameterization(over_pixels(sigma))
        return self.network((c_in * x).to(self.dtype), t, cond).float()

    def x0_from(self, output: Tensor, x: Tensor, sigma: Sigma) -> Tensor:
        """The estimate of x0 that the network's output F means at (x, sigma)."""
        c_skip, c_out, _ = self.parameterization(over_pixels(sigma))
        return c_skip * x + c_out * output

    def loss(
        self,
        x0: Tensor,
        noise: Tensor,
        t: Tensor,
        cond: Any = None,
        *,
        weighting: str | None = None,
        gamma: float = 5.0,
    ) -> Tensor:
        """The mean squared error of each image, (b,) fp32, between F and ``(x0 - c_skip * x) / c_out``.

        x0, noise: (b c h w), latents of about unit variance and unit-normal noise. t: (b,) integers in [0, T).
        ``weighting="min_snr"`` is Hang et al. 2023 (arXiv 2303.09556) with ``gamma``. There the error of x0
        weighs min(snr, gamma); F's error is that of x0 over c_out^2, hence min(snr, gamma) * c_out^2, which is
        min(snr, gamma) / snr for eps and min(snr, gamma) / (snr + 1) for v.
        """
        if weighting not in (None, "min_snr"):
            raise SettingsError(f"unknown loss weighting {weighting!r}: expected None or 'min_snr'")
        x0, noise = x0.float(), noise.float()
        sigma = self.schedule.sigmas.float().to(x0.device)[t.to(x0.device)].reshape(-1, 1, 1, 1)  # (b,) -> (b 1 1 1)
        c_skip, c_out, c_in = self.parameterization(sigma)
        x = x0 + sigma * noise
        target = (x0 - c_skip * x) / c_out
        output = self.network((c_in * x).to(self.dtype), t.to(x0.device, torch.float32), cond).float()
        error = (output - target).square().flatten(1).mean(1)  # (b c h w) -> (b,)
        if weighting is None:
            return error
        snr = sigma**-2
        return error * (snr.clamp(max=gamma) * c_out**2).flatten()


def over_pixels(sigma: Sigma) -> Sigma:
    """A noise level for each image, shaped to multiply pixels; a float as it is."""
    return sigma.reshape(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma  # (b,) -> (b 1 1 1)
