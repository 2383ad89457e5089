"""CLIP's activation by the kernel in ``quick_gelu.c``: in the place of what it is of, for drawing in bf16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tintype.models.clip import MLP, quick_gelu
from tintype.speed import kernels
from tintype.speed.held import become


class MLPAtOnce(MLP):
    """Where the kernel can; elsewhere plain."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        wide = self.up(x)
        seen = torch.is_grad_enabled() or self.up._forward_hooks  # somebody will look at it as it was
        if seen or self.activation is not quick_gelu or not _fits(wide):
            return self.down(self.activation(wide))
        kernels.library().tintype_quick_gelu(kernels.place(wide), wide.numel(), torch.get_num_threads())
        return self.down(wide)


def _fits(x: Tensor) -> bool:
    """Whether the kernel is for this. It reads memory as it lies, so everything that it relies on is asked here."""
    return kernels.can_read(x) and x.is_contiguous() and x.numel() % kernels.LANES == 0


def activate_by_kernel(network: nn.Module) -> None:
    """Every `MLP` of a network from now on, where the kernel can run."""
    if kernels.unavailable() is None:
        become(network, {MLP: MLPAtOnce})


def activate_by_torch(network: nn.Module) -> None:
    """Every `MLP` plain again."""
    become(network, {MLPAtOnce: MLP})
