"""Profiles: how fast a model is made, by name.

    plain   the weights as they are
    fast    on a CPU, weights laid out once for oneDNN's kernels, feature maps channels-last, the autoencoder by strips,
            enlarging and smoothing at once; in bf16 attention and CLIP's activation by kernels of our own, where
            they were built and the processor has the instructions

"fast" never changes what the networks compute in: that would lose bits of the weights. bf16, where a processor has it,
is chosen when a model is loaded. In fp32 only convolutions are packed; linear layers go to MKL as they are, which is
faster there than oneDNN with packed weights (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tintype.errors import SettingsError
from tintype.models import Attention
from tintype.speed import native
from tintype.speed.by_strips import take_by_strips, take_whole
from tintype.speed.enlarge import enlarge_at_once, enlarge_first, has_kernel
from tintype.speed.prepack import pack, unavailable, unpack
from tintype.speed.quick_gelu import activate_by_kernel, activate_by_torch

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
            take_whole(network)
            enlarge_first(network)
            _attend(network, by_kernel=False)
            activate_by_torch(network)
            continue
        device, dtype = _place(network)
        obstacle = _obstacle(device, dtype)
        if obstacle is None:
            if has_kernel(dtype):
                enlarge_at_once(network, pack=True)  # before others take its layers
            pack(network, linear=dtype != torch.float32)
            take_by_strips(network)
            _attend(network, by_kernel=dtype == torch.bfloat16 and native.unavailable() is None)
            if dtype == torch.bfloat16:
                activate_by_kernel(network)
        else:
            told[obstacle] = None
    return tuple(told)


def attention_of(network: nn.Module) -> str:
    """What computes a network's attention: "torch", or "native", our kernel."""
    return "native" if any(vars(layer).get("attend") is native.attend for layer in network.modules()) else "torch"


def _attend(network: nn.Module, *, by_kernel: bool) -> None:
    """Let the kernel compute attention, or torch again. What somebody else has put into the seam stays."""
    for layer in network.modules():
        if isinstance(layer, Attention):
            found = vars(layer).get("attend")
            if by_kernel and found is None:
                layer.attend = native.attend
            elif not by_kernel and found is native.attend:
                del layer.attend


def _obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why "fast" cannot be; None where it can."""
    if device.type != "cpu":
        return f"it packs weights for a CPU, and the model is on {device.type}"
    return unavailable(dtype)


def _place(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next(network.parameters())
    return parameter.device, parameter.dtype
