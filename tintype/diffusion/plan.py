"""The plan of a run: the noise levels it visits, what the network is told there, how strong it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from tintype.errors import SettingsError
from tintype.types import Sigma


@dataclass(frozen=True)
class Plan:
    """N steps through N + 1 noise levels.

    A run from nothing starts with ``x = start_scale * noise``, unit-normal; a run from a picture takes
    ``tail(n)`` and starts with ``x = x0 + sigmas[0] * noise``. It ends at ``sigmas[-1]``, which is not always 0:
    the latents are ``x / sqrt(1 + sigmas[-1]**2)``.
    """

    sigmas: tuple[float, ...]  # N + 1, falling
    timesteps: tuple[float, ...]  # N: the time that the network is told at each sigma but the last
    start_scale: float
    between: Callable[[Sigma], Sigma] = field(repr=False, compare=False)  # sigma -> time elsewhere

    def __len__(self) -> int:
        """The number of steps, which is the number of ``Step`` that every solver yields."""
        return len(self.timesteps)

    @cached_property
    def _times(self) -> dict[float, float]:
        return dict(zip(self.sigmas, self.timesteps, strict=False))

    def timestep(self, sigma: Sigma) -> Sigma:
        """The time that the network is told at ``sigma``: the plan's own, or interpolated between them."""
        if isinstance(sigma, float) and sigma in self._times:
            return self._times[sigma]
        return self.between(sigma)

    def tail(self, steps: int) -> Plan:
        """The last ``steps`` steps, for a run from a picture; SettingsError unless 1 <= steps <= N."""
        if not 1 <= steps <= len(self):
            raise SettingsError(f"cannot run the last {steps} of {len(self)} steps: change strength or steps")
        sigmas = self.sigmas[-steps - 1 :]
        return replace(self, sigmas=sigmas, timesteps=self.timesteps[-steps:], start_scale=sigmas[0])
