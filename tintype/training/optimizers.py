"""What an optimizer remembers, as named tensors of a state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def memory(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """``{"layer.weight/exp_avg": ...}``, by the names of its parameters."""
    states = optimizer.state_dict()["state"]
    return {f"{names[i]}/{key}": value for i, state in states.items() for key, value in state.items()}


def remember(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
    """Put back what `memory` gave."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, key = name.rsplit("/", 1)
        states.setdefault(names.index(parameter), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
