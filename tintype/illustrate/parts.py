"""The parts of a model: what they are, and how long a run spent in each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tintype.illustrate.recording import PartFacts
from tintype.models import TextFeatures
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.speed.held import bytes_of


class Clock:
    """The time that recording takes, ``seconds`` so far; to be taken off where it falls into another measurement."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the block, and computes without gradients in it."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                yield
        finally:
            self.seconds += time.perf_counter() - started


class Stopwatch:
    """Counts the calls of a network and their time while it is ``running``, without what ``clock`` counts meanwhile."""

    def __init__(self, network: nn.Module, clock: Clock | None = None) -> None:
        self.network = network
        self.clock = clock or Clock()
        self.calls = 0
        self.seconds = 0.0
        self.shape_in: tuple[int, ...] = ()
        self.shape_out: tuple[int, ...] = ()
        self._started = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block, for which the model's lock is held, calls are counted."""
        before = self.network.register_forward_pre_hook(self._begin)
        after = self.network.register_forward_hook(self._end, prepend=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        wait(inputs[0].device)
        self.shape_in = tuple(inputs[0].shape[1:])
        self._started = time.perf_counter() - self.clock.seconds

    def _end(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        first = output.final if isinstance(output, TextFeatures) else output
        assert isinstance(first, Tensor)
        wait(first.device)
        self.seconds += time.perf_counter() - self.clock.seconds - self._started
        self.calls += 1
        self.shape_out = tuple(first.shape[1:])


def wait(device: torch.device) -> None:
    """Until the device has done what it was told: time is measured there, not here."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def part_facts(
    model: StableDiffusion, towers: Sequence[Stopwatch], unet: Stopwatch, decoder: Stopwatch
) -> tuple[PartFacts, ...]:
    """The parts in the order in which a picture passes them; a picture to start from passes the encoder first."""
    names = ["text encoder", *(f"text encoder {number}" for number in range(2, len(towers) + 1))]
    watches = [*zip(names, towers, strict=True), ("unet", unet), ("decoder", decoder)]
    return tuple(_facts(role, watch) for role, watch in watches)


def _facts(role: str, watch: Stopwatch) -> PartFacts:
    weights = list(watch.network.parameters())
    return PartFacts(
        role=role,
        class_name=type(watch.network).__name__,
        parameters=sum(weight.numel() for weight in weights),
        bytes=bytes_of(watch.network),
        dtype=str(weights[0].dtype).removeprefix("torch."),
        device=weights[0].device.type,
        calls=watch.calls,
        milliseconds=1000 * watch.seconds,
        shape_in=watch.shape_in,
        shape_out=watch.shape_out,
    )
