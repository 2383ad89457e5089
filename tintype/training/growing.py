"""A UNet grows a level: what it learnt on small latents is where one for larger begins.

Most of a noise predictor is in its deep levels, and these see the same pictures, smaller. So they are taught where
pictures are cheap, and a finer level is put around them (in the manner of progressive growing, arXiv 1710.10196).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from tintype.errors import SettingsError
from tintype.models import Autoencoder, UNet, UNetConfig
from tintype.models.layers import sinusoidal_embedding

NUM_TIMES = 1_000
RIDGE = 1.0  # the sum of a wave's square over all times, beside which it stands, is about 500


def grown_config(small: UNetConfig, width: int) -> UNetConfig:
    """The shape with one level more, ``width`` channels wide and without transformers, around the others."""
    return replace(
        small,
        channels=(width, *small.channels),
        transformer_depth=(0, *small.transformer_depth),
        num_heads=(small.num_heads[0], *small.num_heads),
        time_embedding_dim=small.time_dim,
    )


N = TypeVar("N", UNet, Autoencoder)


@torch.no_grad()
def begin_as(network: N, taught: N) -> N:
    """``network`` with the weights of one that was taught: of the same shape, or a UNet with the finest level less.

    What meets a new level is new with it, where the widths differ; everything below is as it was taught.

    Raises:
        SettingsError: the shapes differ in more than the finest level.
    """
    if isinstance(network, UNet) and isinstance(taught, UNet) and network.config != taught.config:
        network.load_state_dict(_grown(network, taught))
        return network
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    if shapes != {name: tuple(each.shape) for name, each in taught.state_dict().items()}:
        raise SettingsError(f"A network of the shape {network.config} cannot begin as one of {taught.config}.")
    network.load_state_dict(taught.state_dict())
    return network


def _grown(unet: UNet, taught: UNet) -> dict[str, Tensor]:
    """The weights of ``unet`` with those of the smaller one inside."""
    width = unet.config.channels[0]
    expected = grown_config(taught.config, width)
    if unet.config != expected:
        raise SettingsError(
            f"A UNet of the shape {unet.config} cannot begin as one of {taught.config}: expected the same, or a "
            f"level more, {expected}."
        )
    weights = unet.state_dict()
    for name, old in taught.state_dict().items():
        place = _place(name)
        if place is not None:
            weights[place] = _within(weights[place], old)
    old = taught.time_embedding.linear_1.weight
    return weights | {"time_embedding.linear_1.weight": _of_fewer_waves(old, width)}


def _place(name: str) -> str | None:
    """The name that a weight has with one level more before it; None for those that only the finest level has."""
    part, *rest = name.split(".")
    if part in ("conv_in", "norm_out", "conv_out") or name == "time_embedding.linear_1.weight":
        return None
    if part == "down":
        return ".".join([part, str(int(rest[0]) + 1), *rest[1:]])
    return name  # the way up is counted from the deepest


def _within(new: Tensor, old: Tensor) -> Tensor:
    """``old`` where it fits. A layer that sees the new level's skip beside its input begins with the input's part."""
    if new.shape == old.shape:
        return old
    out, *_ = old.shape
    if new.ndim != old.ndim or (new.ndim > 1 and new.shape[0] != out):
        return new
    result, axis = new.clone(), 1 if new.ndim > 1 else 0
    same = min(new.shape[axis], old.shape[axis])
    result.narrow(axis, 0, same).copy_(old.narrow(axis, 0, same))
    return result


def _of_fewer_waves(weight: Tensor, width: int) -> Tensor:
    """The matrix on ``width`` waves that comes near, over all times, to what ``weight`` makes of its own.

    The nearest of all, plain least squares, would be of numbers ten million times as large: slow waves are nearly
    alike, and it adds and subtracts huge multiples of them. In half precision only rounding is left of that. A small
    price on large weights (ridge regression) costs next to nothing and keeps them as they were.
    """
    times = torch.arange(NUM_TIMES)
    waves, own = (sinusoidal_embedding(times, dim).double() for dim in (width, weight.shape[1]))
    wanted = own @ weight.double().T
    solution = torch.linalg.solve(waves.T @ waves + RIDGE * torch.eye(width, dtype=waves.dtype), waves.T @ wanted)
    return solution.T.to(weight.dtype)
