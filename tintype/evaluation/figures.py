"""What an evaluation is made of: figures, each beside its baselines."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tintype.evaluation.intervals import Interval, bootstrap_mean, wilson

PERCENT, DECIBEL, PLAIN = "%", "dB", ""


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        part: of the model: "Autoencoder", "CLIP", "Denoiser", "Fidelity", "Likeness".
        name: what is measured.
        value: a share (0 to 1) where ``unit`` is "%".
        interval: 95 %; None where the number is exact.
        beside: baselines by name, in the same unit.
        of: how many pictures.
        note: what must be known to read it.
    """

    part: str
    name: str
    value: float
    interval: Interval | None = None
    beside: dict[str, float] = field(default_factory=dict)
    unit: str = PLAIN
    of: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def said(self, value: float) -> str:
        """A number in this figure's unit."""
        if self.unit == PERCENT:
            return f"{value:.1%}".replace("%", " %")
        return f"{value:.1f} dB" if self.unit == DECIBEL else f"{value:.4g}"


@dataclass(frozen=True)
class Tick:
    """How far a piece of work is."""

    what: str
    done: int
    of: int


Work = Generator[Tick, None, list[Figure]]
"""Yields how far it is, returns its figures."""


@dataclass(frozen=True)
class Report:
    """All figures of a model, and what could not be measured and why."""

    model: str
    figures: tuple[Figure, ...]
    not_measured: tuple[str, ...]
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "model": self.model,
            "settings": self.settings,
            "figures": [figure.to_dict() for figure in self.figures],
            "not_measured": list(self.not_measured),
        }

    @property
    def parts(self) -> dict[str, list[Figure]]:
        """The figures of each part, in order."""
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            found.setdefault(figure.part, []).append(figure)
        return found


def share(part: str, name: str, right: Sequence[bool], beside: dict[str, float], note: str = "") -> Figure:
    """How many were right, with Wilson's interval."""
    count, of = sum(right), len(right)
    return Figure(part, name, count / of if of else 0.0, wilson(count, of), beside, PERCENT, of, note)


def average(
    part: str, name: str, values: Sequence[float], beside: dict[str, float], unit: str = PLAIN, note: str = ""
) -> Figure:
    """The mean, with the bootstrap's interval."""
    mean = sum(values) / len(values)
    return Figure(part, name, mean, bootstrap_mean(values), beside, unit, len(values), note)
