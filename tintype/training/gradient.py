"""How a batch becomes a gradient: shared by the processes, piece by piece, in the precision that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tintype.checkpoints.load import has_bf16
from tintype.errors import SettingsError
from tintype.models import attend_by_matmul, attend_with
from tintype.speed.enlarge import enlarging_at_once
from tintype.speed.geglu import gating_at_once
from tintype.speed.normalize import normalizing_at_once
from tintype.training.draws import Draw
from tintype.training.memory import checkpointed
from tintype.training.processes import Cell, Processes
from tintype.training.recipes import Recipe
from tintype.training.sharding import average_whole_gradients, clip_grad_norm, hold_back, shard

if TYPE_CHECKING:
    from tintype.training.loop import Task

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class LossModule(nn.Module):
    """A task's loss as a module that holds what is learnt: a wrapper sees every call, whichever networks take part."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """What the task says of a batch."""
        return self._task.loss(batch)


class Gradient:
    """Computes the gradient of a task's loss over a batch, the same in every process, into the model's parameters.

    The model is wrapped when this is made; with ``shard="fsdp"`` its parameters are others from then on.
    """

    def __init__(self, task: Task, recipe: Recipe, group: Processes) -> None:
        if recipe.shard is not None and group.alone:
            raise SettingsError(
                f"shard={recipe.shard} is for several processes, and this is one. Start it with "
                "`torchrun --nproc-per-node N -m tintype train ...`, or leave shard out."
            )
        self.task, self.recipe, self.group = task, recipe, group
        self.sharded = recipe.shard == "fsdp"
        name = recipe.precision or ("bf16" if has_bf16(group.device) else "fp32")
        self.dtype = DTYPES[name]
        self.scale = LossScale() if name == "fp16" else None
        group.begin_alike(task.model.state_dict())
        if task.rival is not None:
            group.begin_alike(task.rival.network.state_dict())
        self.module = self._wrapped()

    def _wrapped(self) -> nn.Module:
        module, accelerator = LossModule(self.task), self.group.accelerator
        if self.sharded:  # accelerate does this on GPUs only
            shard(module, self.group)
            return module
        if not self.group.alone:
            self._tell_ddp(accelerator)
        accelerator.free_memory()  # it keeps what it wrapped before
        return accelerator.prepare_model(module)

    def _tell_ddp(self, accelerator: Any) -> None:
        from accelerate.utils import DistributedDataParallelKwargs

        some_may_rest = self.task.network is not self.task.model  # an adapter, on layers that are not always reached
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=some_may_rest)

    def __call__(self, draws: Sequence[Draw]) -> tuple[float, dict[str, float], float]:
        """(loss, metrics, norm of the gradient before it was clipped), each of the whole batch."""
        cells = self.group.cells(draws, self.recipe.accumulate)
        totals, names = torch.zeros(()), list[str]()
        with self._computing():
            for cell in cells:
                loss, metrics = self._piece(cell, last=cell is cells[-1])
                names = list(metrics)
                values = torch.stack([loss.detach(), *(value.to(loss.device) for value in metrics.values())])
                totals = totals.to(values.device) + cell.weight * values.float()
        told: list[float] = self.group.summed(totals).tolist()
        return told[0], dict(zip(names, told[1:], strict=True)), self._clip().item()

    def _piece(self, cell: Cell, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        share = cell.weight * self.group.count  # gradients are averaged over processes: 1 where all have as many
        if self.task.rival is not None:
            self.task.rival.share = share
        batch = self.task.batch(cell.draws)
        with self._adding_up(last):
            loss, metrics = self.module(batch)
            (loss * (share * (self.scale.value if self.scale else 1.0))).backward()
        return loss, metrics

    @contextmanager
    def _computing(self) -> Iterator[None]:
        network, rival, device = self.task.network, self.task.rival, self.group.device
        with ExitStack() as stack:
            stack.enter_context(attend_with(network, attend_by_matmul))
            stack.enter_context(enlarging_at_once(network))
            if self.recipe.checkpointing:
                stack.enter_context(checkpointed(network))
            half = self.dtype is not torch.float32
            if self.dtype is torch.bfloat16 and device.type == "cpu":
                stack.enter_context(gating_at_once(network))
                for each in (network, *((rival.network,) if rival else ())):
                    stack.enter_context(normalizing_at_once(each))
            stack.enter_context(torch.autocast(device.type, self.dtype if half else torch.bfloat16, half))
            yield

    @contextmanager
    def _adding_up(self, last: bool) -> Iterator[None]:
        """Gradients of a batch's pieces are added up over processes once, with the last."""
        if self.sharded:
            hold_back(self.module, not last)
            yield
        elif last:
            yield
        else:
            with self.group.accelerator.no_sync(self.module):
                yield

    def _clip(self) -> Tensor:
        parameters = [p for p in self.task.model.parameters() if p.grad is not None]
        if self.scale:
            for p in parameters:
                p.grad.div_(self.scale.value)  # pyright: ignore[reportOptionalMemberAccess]
        if self.sharded:
            average_whole_gradients(parameters, self.group)
            norm = clip_grad_norm(parameters, self.recipe.clip_norm, self.group)
        else:
            norm = nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
            if not norm <= self.recipe.clip_norm:  # what is shorter, as nearly always, is not written again
                nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip_norm, norm)
        if self.scale:
            self.scale.heard(math.isfinite(norm.item()))
        return norm


class LossScale:
    """What a loss is multiplied by so that small gradients do not vanish in fp16 (arXiv 1710.03740, section 3.2).

    Halved when a gradient overflows (that step is skipped), doubled after 2,000 in a row that did not. Powers of two,
    so that they change no digit.
    """

    def __init__(self) -> None:
        self.value, self.good = 2.0**16, 0

    def restore(self, numbers: Mapping[str, Any]) -> None:
        """Put back what ``vars`` gave."""
        self.value, self.good = float(numbers["value"]), int(numbers["good"])

    def heard(self, finite: bool) -> None:
        """What became of this step's gradient."""
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good == 2_000:
            self.value, self.good = 2 * self.value, 0
