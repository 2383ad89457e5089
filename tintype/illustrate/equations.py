"""Each step as an equation with numbers: what x_next is made of, checked against what it is.

Every solver makes ``x_next`` of the same things, each times a number: x and the estimate of the picture, now and of
steps before, a second estimate within the step, fresh noise. Euler's family has its numbers from its formula; those
of the others are found by least squares over all values of the latents, with as few terms as explain them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tintype.diffusion import SolverNoise, sampler
from tintype.diffusion.solvers import ancestral, euler
from tintype.illustrate.recording import Equation, Term
from tintype.pipeline.settings import Settings

EXACT = 1e-6
"""A residual below this is rounding of fp32."""


@dataclass
class Look:
    """A step while it is recorded: all tensors (c h w) on the CPU."""

    index: int
    x: Tensor
    denoised: Tensor | None = None
    again: list[Tensor] = field(default_factory=list)  # the estimates of further evaluations in the step
    noise_cond: Tensor | None = None
    noise_uncond: Tensor | None = None


Of = Literal["x", "denoised", "denoised again", "noise"]
Part = tuple[Of, int]
"""What a term is of, and from how many steps ago."""


class Equations:
    """The equations of one picture's steps.

    Args:
        settings: of the run.
        sigmas: of its plan.
        seed: of the picture.
    """

    def __init__(self, settings: Settings, sigmas: Sequence[float], seed: int, shape: tuple[int, int, int]) -> None:
        self._sigmas, self._eta = sigmas, settings.eta or 0.0
        chosen = sampler(settings.sampler or "")
        self._by_formula = chosen.solve is euler
        self._noise = SolverNoise([seed], shape)

    def of(self, looks: Sequence[Look], x_next: Tensor) -> Equation:
        """The equation of the last of ``looks``."""
        step = len(looks) - 1
        if self._by_formula:
            return self._euler(looks[-1], x_next, self._sigmas[step], self._sigmas[step + 1])
        best: Equation | None = None
        for parts in self._candidates(looks):
            equation = fitted(parts, [self._tensor(part, looks) for part in parts], x_next)
            if best is None or equation.residual < best.residual / 2:
                best = equation
            if best.residual < EXACT:
                break
        assert best is not None
        return best

    def _euler(self, look: Look, x_next: Tensor, sigma: float, sigma_next: float) -> Equation:
        """x_next = (sigma_down / sigma) x + (1 - sigma_down / sigma) denoised + sigma_up noise."""
        assert look.denoised is not None
        down, up = ancestral(sigma, sigma_next, self._eta)
        terms = [Term("x", 0, down / sigma), Term("denoised", 0, 1 - down / sigma)]
        total = (down / sigma) * look.x.double() + (1 - down / sigma) * look.denoised.double()
        if up > 0:
            terms.append(Term("noise", 0, up))
            total = total + up * self._noise(sigma, sigma_next)[0].double()
        return Equation(tuple(terms), False, _residual(total, x_next))

    def _candidates(self, looks: Sequence[Look]) -> list[tuple[Part, ...]]:
        """Lists of terms, from the shortest to the longest; those that draw noise have it in every list."""
        here: list[Of] = ["x", "denoised"]
        if looks[-1].again:
            here.append("denoised again")
        if self._eta > 0 and self._sigmas[len(looks)] > 0:
            here.append("noise")
        now: tuple[Part, ...] = tuple((of, 0) for of in here)
        reach = min(len(looks), 4)
        found: list[tuple[Part, ...]] = [(("denoised", 0),), now]
        for last in range(1, min(reach, 3)):
            found.append(now + _back(last, "denoised"))
        for last in range(1, reach):
            found.append(now + _back(last, "denoised") + _back(last, "x"))
        return found

    def _tensor(self, part: Part, looks: Sequence[Look]) -> Tensor:
        of, back = part
        look = looks[-1 - back]
        if of == "noise":
            step = len(looks) - 1
            return self._noise(self._sigmas[step], self._sigmas[step + 1])[0]
        found = look.x if of == "x" else look.denoised if of == "denoised" else look.again[-1]
        assert found is not None
        return found


def _back(last: int, of: Of) -> tuple[Part, ...]:
    """What was, one step ago to ``last`` steps ago."""
    return tuple((of, back) for back in range(1, last + 1))


def fitted(parts: Sequence[Part], tensors: Sequence[Tensor], x_next: Tensor) -> Equation:
    """The sum of the tensors that is nearest to ``x_next``, in fp64."""
    columns = torch.stack([tensor.flatten() for tensor in tensors], dim=1).double()  # (chw terms)
    sizes = columns.norm(dim=0).clamp(min=1e-30)
    goal = x_next.flatten().double()
    weights = torch.linalg.lstsq(columns / sizes, goal[:, None], driver="gelsd").solution[:, 0] / sizes
    terms = tuple(Term(of, back, float(weight)) for (of, back), weight in zip(parts, weights, strict=True))
    return Equation(terms, True, _residual(columns @ weights, goal))


def _residual(total: Tensor, x_next: Tensor) -> float:
    goal = x_next.double()
    return float((goal - total.reshape(goal.shape)).norm() / goal.norm().clamp(min=1e-30))
