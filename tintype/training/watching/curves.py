"""The log of a training as curves of few points."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POINTS = 200


@dataclass(frozen=True)
class Curve:
    """Means over equal runs of steps: ``seen`` pictures at the end of each, and the value."""

    name: str
    seen: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Log:
    """What a training has told of itself."""

    steps: int
    seen: int
    skipped: int
    seconds: float
    curves: dict[str, Curve]


def read_log(folder: Path, points: int = POINTS) -> Log | None:
    """The log of a training's folder; None where it has none, or an empty one. A line half written is left out."""
    path = folder / "log.jsonl"
    if not path.exists():
        return None
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    if not lines:
        return None
    pictures = [
        after["seen"] - before for before, after in zip([0, *(line["seen"] for line in lines)], lines, strict=False)
    ]
    seconds = sum(
        n / line["pictures_per_second"] for n, line in zip(pictures, lines, strict=True) if line["pictures_per_second"]
    )
    values = {"loss": [line["loss"] for line in lines]}
    for name in dict.fromkeys(name for line in lines for name in line["metrics"]):  # some begin late, or end
        values[name] = [line["metrics"].get(name, float("nan")) for line in lines]
    values |= {"gradient": [line["grad_norm"] for line in lines], "lr": [line["lr"] for line in lines]}
    seen = [line["seen"] for line in lines]
    curves = {name: thinned(name, seen, each, points) for name, each in values.items()}
    return Log(len(lines), seen[-1], lines[-1]["skipped"], seconds, curves)


def thinned(name: str, seen: list[int], values: list[float], points: int = POINTS) -> Curve:
    """At most about ``points`` means; what is not finite is left out of them."""
    size = max(1, -(-len(values) // points))
    where, means = [], []
    for start in range(0, len(values), size):
        part = [value for value in values[start : start + size] if abs(value) < float("inf")]  # NaN is not
        if part:
            where.append(seen[min(start + size, len(seen)) - 1])
            means.append(sum(part) / len(part))
    return Curve(name, tuple(where), tuple(means))
