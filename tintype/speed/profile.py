"""Profiles: how fast a model is made, by name.

    plain   the weights as they are
    fast    on a CPU, weights laid out once for oneDNN's kernels, feature maps channels-last

"fast" never changes what the networks compute in: that would lose bits of the weights. bf16, where a processor has it,
is chosen when a model is loaded. In fp32 only convolutions are packed; linear layers go to MKL as they are, which is
faster there than oneDNN with packed weights (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tintype.errors import SettingsError
from tintype.speed.prepack import pack, unavailable, unpack

PROFILES = ("plain", "fast")


def best_profile(device: torch.device, dtype: torch.dtype) -> str:
    """The fastest profile that a device can keep in this type."""
    return "plain" if _obstacle(device, dtype) else "fast"


def check_profile(name: str) -> None:
    """SettingsError for a name that is none."""
    if name not in PROFILES:
        raise SettingsError(f"speed is {name!r}; expected {' or '.join(PROFILES)}.")


def set_profile(networks: Iterable[nn.Module], name: str) -> tuple[str, ...]:
    """Bring networks into a profile, and give what stood in its way, in words, once each."""
    check_profile(name)
    told: dict[str, None] = {}
    for network in networks:
        if name == "plain":
            unpack(network)
            continue
        device, dtype = _place(network)
        obstacle = _obstacle(device, dtype)
        if obstacle is None:
            pack(network, linear=dtype != torch.float32)
        else:
            told[obstacle] = None
    return tuple(told)


def _obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why "fast" cannot be; None where it can."""
    if device.type != "cpu":
        return f"it packs weights for a CPU, and the model is on {device.type}"
    return unavailable(dtype)


def _place(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next(network.parameters())
    return parameter.device, parameter.dtype
