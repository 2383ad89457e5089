"""The noise schedule that a network was trained with, and the plans that are made from it.

A schedule is a table: at training timestep t the noise level is ``sigmas[t] = sqrt((1 - abar) / abar)``, where abar is
the product of (1 - beta) up to t (Ho et al. 2020, arXiv 2006.11239, eq. 4). Beside the table it holds what a
scheduler's configuration states about sampling; None there means the sampler's own default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.diffusion.aliases import resolve
from tintype.diffusion.parameterization import Prediction, parameterization
from tintype.diffusion.plan import Plan
from tintype.diffusion.samplers import Family, Sampler, sampler
from tintype.diffusion.spacing import CURVES, TIMESTEP_SPACINGS, Array, by_hand
from tintype.errors import SettingsError
from tintype.types import Sigma

if TYPE_CHECKING:
    from torch import Tensor

LAST_ALPHA_BAR = 2.0**-24
"""In place of 0 under zero terminal SNR, so that the last sigma is finite (about 4096)."""


@dataclass(frozen=True)
class Schedule:
    """Betas and the conventions that go with them. The defaults are those of Stable Diffusion 1 and 2.

    ``spacing`` is the default for samplers ("leading", "trailing", "linspace"), ``curve`` what bends it ("karras");
    ``set_alpha_to_one`` says whether DDIM and PNDM end at sigma 0, or at ``sigmas[0]``. ``zero_terminal_snr`` rescales
    the table so that the last timestep is all noise (Lin et al. 2023, arXiv 2305.08891, algorithm 1).

    Raises SettingsError for unknown names, for betas outside (0, 1), and for eps prediction under zero terminal SNR:
    where x is all noise, predicting the noise says nothing of x0.
    """

    betas: tuple[float, ...] = field(repr=False)
    steps_offset: int = 1
    set_alpha_to_one: bool | None = False
    prediction: Prediction = "eps"
    spacing: str | None = None
    curve: str | None = None
    sampler: str | None = None
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        if len(self.betas) < 2 or not all(0 < beta < 1 for beta in self.betas):
            raise SettingsError("a schedule needs two or more betas, each above 0 and below 1")
        if not isinstance(self.steps_offset, int) or not 0 <= self.steps_offset < self.num_train_timesteps:
            raise SettingsError(f"steps_offset must be a timestep, not {self.steps_offset!r}")
        parameterization(self.prediction)
        _known("spacing", self.spacing, (None, *TIMESTEP_SPACINGS))
        _known("curve", self.curve, (None, *CURVES))
        if self.sampler is not None:
            sampler(self.sampler)
        if self.zero_terminal_snr and self.prediction == "eps":
            raise SettingsError("zero terminal SNR needs v or x0 prediction: at the last timestep eps says nothing")

    @classmethod
    def from_betas(cls, betas: Iterable[float], **conventions) -> Schedule:
        """A schedule of any betas, each in (0, 1); ``conventions`` are the other fields."""
        return cls(tuple(float(beta) for beta in betas), **conventions)

    @classmethod
    def scaled_linear(cls, start: float = 0.00085, end: float = 0.012, steps: int = 1000, **conventions) -> Schedule:
        """Square roots of the betas on a line: Stable Diffusion's (Rombach et al. 2022, arXiv 2112.10752)."""
        return cls.from_betas(np.linspace(start**0.5, end**0.5, steps) ** 2, **conventions)

    @classmethod
    def linear(cls, start: float = 0.0001, end: float = 0.02, steps: int = 1000, **conventions) -> Schedule:
        """Betas on a line: DDPM's (Ho et al. 2020, section 4)."""
        return cls.from_betas(np.linspace(start, end, steps), **conventions)

    @classmethod
    def cosine(cls, steps: int = 1000, **conventions) -> Schedule:
        """alpha-bar a squared cosine, betas at most 0.999 (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17)."""
        alpha_bar = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls.from_betas(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999), **conventions)

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule that a diffusers scheduler_config.json states; CheckpointError for what is not understood."""
        from tintype.diffusion.scheduler_config import from_diffusers

        return from_diffusers(config)

    def to_diffusers(self, sampler: str | None = None) -> dict[str, Any]:
        """The scheduler_config.json of this schedule, for ``sampler`` (None: the schedule's own, or else ddim)."""
        from tintype.diffusion.scheduler_config import to_diffusers

        return to_diffusers(self, sampler)

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of noise levels that the network was trained on."""
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """alpha-bar at each timestep, (T,) float64."""
        import torch  # only here and below: what a file says of its schedule is read without it

        alpha_bar = torch.cumprod(1 - torch.tensor(self.betas, dtype=torch.float64), 0)
        return _rescaled_to_zero_terminal_snr(alpha_bar) if self.zero_terminal_snr else alpha_bar

    @cached_property
    def sigmas(self) -> Tensor:
        """The noise level at each timestep, rising, (T,) float64."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @cached_property
    def _timesteps(self) -> Tensor:
        """0, 1, ... T - 1, (T,) float64."""
        return self.sigmas.new_tensor(range(self.num_train_timesteps))

    def sigma(self, t: Sigma) -> Sigma:
        """The noise level at a timestep in [0, T - 1], which may be fractional; beyond the table, its ends."""
        return _interpolated(t, self._timesteps, self.sigmas)

    def timestep(self, sigma: Sigma) -> Sigma:
        """The timestep of a noise level, fractional, interpolated in log sigma; beyond the table, its ends.

        On the table it is the inverse of ``sigma``, which between two timesteps is linear in sigma itself: the world
        interpolates the two ways differently, by up to 0.04 of a timestep at the clean end.
        """
        is_number = isinstance(sigma, (int, float))
        log_sigma = math.log(max(sigma, 1e-10)) if is_number else sigma.clamp(min=1e-10).log()
        return _interpolated(log_sigma, self.sigmas.log(), self._timesteps)

    def plan(self, sampler: str | Sampler, spacing: str | Sequence[float] | None = None, steps: int = 20) -> Plan:
        """The steps of a run: where they lie, how they start and end, by the conventions of the sampler's family.

        Names may be other programs' (``aliases.py``). ``spacing`` may be the sigmas themselves, one more than there are
        steps, falling, the last of which may be 0 (``steps`` is then not asked). None: the schedule's, or else the
        sampler's own. SettingsError for an unknown name and for steps that do not fit.
        """
        chosen, spacing = resolve(sampler, spacing)
        family = chosen.family
        points = self.spacing or chosen.default_spacing
        if spacing is not None and not isinstance(spacing, str):
            sigmas = by_hand(spacing)
            return self._plan(family, points, sigmas, family.round(self._times(sigmas[:-1])))

        if not 1 <= steps <= self.num_train_timesteps:
            raise SettingsError(f"steps must be from 1 to {self.num_train_timesteps}, not {steps}")
        points = spacing if spacing in TIMESTEP_SPACINGS else points
        curve = spacing if spacing in CURVES else self.curve if spacing is None else None
        timesteps = self._spaced(family, points, steps)
        sigmas = np.interp(timesteps, np.arange(self.num_train_timesteps), self.sigmas.numpy())
        end = self._end(family, timesteps, steps)
        if curve is not None:
            table = self.sigmas.numpy()
            ends = (table[-1], table[0]) if family.curve_ends == "table" else (sigmas[0], sigmas[-1])
            sigmas = CURVES[curve](*ends, steps)
            timesteps = family.rounded(self._times(sigmas), curve)
        return self._plan(family, points, [*sigmas, end], timesteps)

    def _plan(self, family: Family, points: str, sigmas: Sequence[float], timesteps: Array) -> Plan:
        def between(sigma: Sigma) -> Sigma:
            t = self.timestep(sigma)
            return float(family.round(np.array([t]))[0]) if isinstance(t, (int, float)) else t

        start_scale = family.start(float(sigmas[0]), points)
        return Plan(tuple(map(float, sigmas)), tuple(map(float, timesteps)), start_scale, between)

    def _times(self, sigmas: Sequence[float] | Array) -> Array:
        return np.array([self.timestep(float(sigma)) for sigma in sigmas])

    def _spaced(self, family: Family, points: str, steps: int) -> Array:
        """The timesteps of a named spacing; SettingsError where they would leave the table or stand still."""
        timesteps = family.round(family.spacings[points](steps, self.num_train_timesteps, self.steps_offset))
        if timesteps[0] > self.num_train_timesteps - 1 or np.any(np.diff(timesteps) >= 0):
            raise SettingsError(
                f"{steps} steps do not fit into {self.num_train_timesteps} timesteps with {points} spacing and "
                f"steps_offset {self.steps_offset}: ask for fewer steps, or for spacing='trailing'"
            )
        return timesteps

    def _end(self, family: Family, timesteps: Array, steps: int) -> float:
        """The last sigma. DDIM and PNDM step down by T // N to the end, and below timestep 0 stands the final alpha."""
        if family.end == "zero":
            return 0.0
        if family.end == "lowest":
            return float(self.sigmas[0])
        below = int(timesteps[-1]) - self.num_train_timesteps // steps
        if below >= 0:
            return float(self.sigmas[below])
        to_one = family.end == "alpha_to_one" if self.set_alpha_to_one is None else self.set_alpha_to_one
        return 0.0 if to_one else float(self.sigmas[0])


def _known(what: str, name: str | None, names: Sequence[str | None]) -> None:
    if name not in names:
        raise SettingsError(f"unknown {what} {name!r}: expected one of {', '.join(filter(None, names))}")


def _interpolated(x: Sigma, xs: Tensor, ys: Tensor) -> Sigma:
    """The value at x of the line through (xs, ys), xs rising; beyond them, the ends. A float gives a float."""
    if isinstance(x, (int, float)):
        return float(np.interp(x, xs.numpy(), ys.numpy()))
    import torch

    xs, ys = (table.to(torch.float32).to(x.device) for table in (xs, ys))
    x = x.float()
    above = torch.searchsorted(xs, x.contiguous()).clamp(1, len(xs) - 1)
    weight = ((x - xs[above - 1]) / (xs[above] - xs[above - 1])).clamp(0, 1)
    return torch.lerp(ys[above - 1], ys[above], weight)


def _rescaled_to_zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Lin et al. 2023, algorithm 1: sqrt(alpha-bar), (T,), shifted to end at 0 and scaled to start where it did."""
    root = alpha_bar.sqrt()
    rescaled = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    rescaled[-1] = LAST_ALPHA_BAR
    return rescaled
