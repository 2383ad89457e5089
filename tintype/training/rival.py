"""A network that learns against the model: it tells what the model makes from what is real."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tintype.training.optimizers import memory, remember
from tintype.training.processes import processes
from tintype.training.sharding import average_whole_gradients

BETAS = (0.5, 0.9)
"""Adam's, as latent diffusion's autoencoder is trained: two that learn against each other forget faster."""


class Rival:
    """The network and its optimizer, part of a training's state.

    The loop says before each step how far the training is and how fast it learns (`at`); the task computes a loss
    that ``network`` is to make small, and after the model's step gives it to `learn`. It ``plays`` after ``begins``
    pictures: before that the model makes nothing worth telling apart. Where several processes learn together, the
    means of this one count ``share`` in the mean over all.
    """

    share = 1.0

    def __init__(self, network: nn.Module, begins: int) -> None:
        self.network, self.begins = network, begins
        self.names = [name for name, _ in network.named_parameters()]
        self.optimizer = torch.optim.Adam(network.parameters(), lr=0.0, betas=BETAS, fused=True)
        self.seen = 0

    def at(self, seen: int, lr: float) -> None:
        """``seen`` pictures were seen; the next step is of ``lr``."""
        self.seen = seen
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    @property
    def plays(self) -> bool:
        """Whether it has begun."""
        return self.seen >= self.begins

    def learn(self, loss: Tensor) -> None:
        """One step. Where the gradient is not finite, none."""
        self.optimizer.zero_grad()
        (self.share * loss).backward()
        average_whole_gradients(self.network.parameters(), processes())
        if torch.isfinite(nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])):
            self.optimizer.step()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """For a state: its weights, and what its optimizer remembers."""
        return {"rival": dict(self.network.state_dict()), "rival_optimizer": memory(self.optimizer, self.names)}

    def restore(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Put back what `tensors` gave; of a training that had no rival so far it begins now."""
        if "rival" not in tensors:
            return
        self.network.load_state_dict(tensors["rival"])
        remember(self.optimizer, self.names, tensors["rival_optimizer"])
