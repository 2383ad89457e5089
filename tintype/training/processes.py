"""The processes that learn together: which of them this is, and what they tell each other.

``torchrun`` or ``accelerate launch`` starts them, on one machine or on many; each computes the gradient of its share of
every batch. A program that was started by itself is a group of one, where nothing below changes a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from tintype.errors import MissingExtraError, SettingsError
from tintype.training.draws import Draw
from tintype.training.state import State

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(hours=12)
"""How long a process waits for work that the others do alone: drawing pictures, encoding them, writing a model."""


@dataclass(frozen=True)
class Cell:
    """What one process computes at once: some visits of a batch, and how much their mean counts in the batch's."""

    draws: list[Draw]
    weight: float


class Processes:
    """This process, the ``index``-th of ``count``, and the device that it computes on."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.index, self.count = accelerator.process_index, accelerator.num_processes
        cuda = accelerator.device.type == "cuda"
        self.device = accelerator.device if cuda else torch.device("cpu")

    @property
    def alone(self) -> bool:
        """Whether there is nobody else."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.index == 0

    def cells(self, draws: Sequence[Draw], accumulate: int) -> list[Cell]:
        """This process's share of a batch, in ``accumulate`` pieces that are computed one after the other.

        SettingsError where there are fewer visits than pieces, so that somebody would have nothing to do.
        """
        pieces = self.count * accumulate
        if len(draws) < pieces:
            raise SettingsError(
                f"A batch of {len(draws)} cannot be shared by {self.count} processes with accumulate={accumulate}: "
                f"expected batch_size of at least {pieces}, and as many pictures left at the end; "
                "make pictures a multiple of batch_size."
            )
        edges = [len(draws) * piece // pieces for piece in range(pieces + 1)]
        mine = range(self.index * accumulate, (self.index + 1) * accumulate)
        shares = [list(draws[edges[piece] : edges[piece + 1]]) for piece in mine]
        return [Cell(share, len(share) / len(draws)) for share in shares]

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes, without a gradient."""
        if self.alone:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def averaged(self, value: Tensor) -> Tensor:
        """The mean over all processes, without a gradient."""
        return value if self.alone else self.summed(value) / self.count

    def gathered(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all processes, (b d) -> (all d), and the number at which this one's begin.

        Gradients flow back: what all processes ask of a row reaches the one that it came from.
        """
        if self.alone:
            return rows, 0
        counts = torch.zeros(self.count, dtype=torch.int64)
        counts[self.index] = len(rows)
        dist.all_reduce(counts, group=self._talk)
        everyone: list[int] = counts.tolist()
        return _Gather.apply(rows, everyone, self.index), sum(everyone[: self.index])

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process. All must ask."""
        if self.alone:
            return flag
        told = torch.tensor(int(flag))
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self._talk)
        return bool(told)

    def wait(self) -> None:
        """Return when all processes are here."""
        if not self.alone:
            dist.barrier(group=self._talk)

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The block is run by the first process, then by the others, which find what it made."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def first_to_all(self, state: State | None) -> State | None:
        """The state that the first process has read: others may not see its disk, or not yet."""
        if self.alone:
            return state
        said: dict[str, Any] = {} if state is None else _outline(state)
        told = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
        length = self._heard(torch.tensor(len(told)))
        said = json.loads(bytes(self._heard(told if self.is_first else torch.empty(int(length), dtype=torch.uint8))))
        if not said:
            return None
        tensors: dict[str, dict[str, Tensor]] = {}
        for group, name, shape, dtype in said["tensors"]:
            theirs = torch.empty(shape, dtype=getattr(torch, dtype)) if state is None else state.tensors[group][name]
            tensors.setdefault(group, {})[name] = self._heard(theirs)
        return State(said["seen"], tensors, said["numbers"])

    def begin_alike(self, tensors: Mapping[str, Tensor]) -> None:
        """Every process takes the first one's values: the same seed may not give the same on other hardware."""
        if not self.alone:
            for tensor in tensors.values():
                tensor.copy_(self._heard(tensor.detach().cpu()))

    def _heard(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        dist.broadcast(tensor, 0, group=self._talk)
        return tensor

    @cached_property
    def _talk(self) -> dist.ProcessGroup:
        """Small things on CPUs, whatever gradients travel by; and long waits."""
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)
        return group


@cache
def processes() -> Processes:
    """Those that this program was started with; the group is joined at the first call.

    MissingExtraError without accelerate. SettingsError where accelerate is configured to split models its own way.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import GradientAccumulationPlugin
    except ImportError as error:
        raise MissingExtraError('Training needs accelerate: pip install "tintype[training]"') from error
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",  # one for the whole program; here each recipe has its own
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # batches are divided by `cells`
    )
    kind = accelerator.distributed_type.value
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise SettingsError(f"accelerate is configured for {kind}. Leave that out; say shard=fsdp or shard=ddp here.")
    return Processes(accelerator)


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, each gets the sum of what all ask of its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], index: int) -> Tensor:
        ctx.counts, ctx.index = counts, index
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *asked: Tensor) -> tuple[Tensor, None, None]:
        total = asked[0].contiguous().clone()
        dist.all_reduce(total)
        return total.split(ctx.counts)[ctx.index], None, None


def _outline(state: State) -> dict[str, Any]:
    """All of a state but the values."""
    tensors = [
        (group, name, list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for group, part in state.tensors.items()
        for name, tensor in part.items()
    ]
    return {"seen": state.seen, "tensors": tensors, "numbers": state.numbers}
