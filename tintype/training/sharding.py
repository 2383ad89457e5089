"""One model's weights, gradients, averages and optimizer split over all processes: FSDP2.

Zhao et al. 2023 (arXiv 2304.11277), as torch's ``fully_shard`` has it. Each block is gathered when it computes and let
go after; between steps every process holds its part of every tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from tintype.models.attention import TransformerBlock
from tintype.models.clip import TransformerLayer
from tintype.models.layers import ResnetBlock
from tintype.training.processes import Processes

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

BLOCKS = (ResnetBlock, TransformerBlock, TransformerLayer)
"""What is gathered, computed and let go as one. What stands between them stays together through a step."""


def shard(module: nn.Module, group: Processes) -> None:
    """Split the weights of ``module``, in place. Single numbers, such as CLIP's temperature, stay whole everywhere."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    how: dict[str, Any] = {"mesh": init_device_mesh(group.device.type, (group.count,))}
    blocks = [each for each in module.modules() if isinstance(each, BLOCKS)]
    crossing = [each.cross_attention for each in blocks if isinstance(each, TransformerBlock) and each.has_text]
    if crossing:  # the UNet computes all keys and values of a text at once, before its blocks
        fully_shard([layer for each in crossing for layer in (each.to_k, each.to_v)], **how)
    for block in blocks:
        fully_shard(block, **how)
    fully_shard(module, **how, ignored_params={p for p in module.parameters() if p.ndim == 0})


def hold_back(module: nn.Module, wait: bool) -> None:
    """Of a sharded module: whether gradients wait for more of the batch before they are added up over processes."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(module, FSDPModule)
    module.set_requires_gradient_sync(not wait)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which this process may hold a part, put together. All processes must ask."""
    return {
        name: tensor.full_tensor().detach() if _is_split(tensor) else tensor.detach()
        for name, tensor in tensors.items()
    }


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, split as ``like`` is."""
    tensor = tensor.to(like.device)
    if not _is_split(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def average_whole_gradients(parameters: Iterable[nn.Parameter], group: Processes) -> None:
    """FSDP averages the gradients of what it splits; those of the rest are averaged here."""
    for parameter in parameters:
        if parameter.grad is not None and not _is_split(parameter.grad):
            parameter.grad = group.averaged(parameter.grad)


def clip_grad_norm(parameters: Iterable[nn.Parameter], limit: float, group: Processes) -> Tensor:
    """`torch.nn.utils.clip_grad_norm_` where some gradients are split over the processes and some are whole."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    split = [each.to_local() for each in gradients if _is_split(each)]
    rest = [each for each in gradients if not _is_split(each)]
    squares = group.summed(_norm(split, group).square()) + _norm(rest, group).square()
    norm = squares.sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for each in split + rest:
        each.mul_(factor)
    return norm


def _is_split(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this process holds a part. Who trains alone does not wait for that part of torch to be imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _norm(gradients: list[Tensor], group: Processes) -> Tensor:
    filled = [each for each in gradients if each.numel()]
    return nn.utils.get_total_norm(filled) if filled else torch.zeros((), device=group.device)
