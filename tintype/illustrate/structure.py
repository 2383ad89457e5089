"""The UNet as a list: its layers in the order of the forward pass, its text attentions, its skip connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from tintype.illustrate.recording import LayerKind, PartOfUNet
from tintype.models import Attention, UNet
from tintype.models.attention import SpatialTransformer, TransformerBlock
from tintype.models.unet import DownLevel, Level, UpLevel


@dataclass(frozen=True)
class Place:
    """A layer and where it stands. ``norm``: what sees the stream that the layer adds to, where it has such a norm."""

    name: str
    module: nn.Module
    kind: LayerKind
    part: PartOfUNet
    level: int
    norm: nn.Module | None = None


def places(unet: UNet) -> list[Place]:
    """Every layer, in the order in which the forward pass begins with them."""
    deepest = len(unet.config.channels) - 1
    found = [
        Place("time_embedding", unet.time_embedding, "time", "time", 0),
        Place("conv_in", unet.conv_in, "conv", "in", 0),
    ]
    for level, block in enumerate(down_levels(unet)):
        found += _level(block, f"down.{level}", "down", level)
        if block.downsample is not None:
            found.append(Place(f"down.{level}.downsample", block.downsample, "down", "down", level))
    mid = unet.mid
    found.append(Place("mid.resnets.0", mid.resnets[0], "resnet", "mid", deepest))
    for index, attention in enumerate(mid.attentions):
        found += _transformer(attention, f"mid.attentions.{index}", "mid", deepest)
    found.append(Place("mid.resnets.1", mid.resnets[1], "resnet", "mid", deepest))
    for number, block in enumerate(up_levels(unet)):
        level = deepest - number
        found += _level(block, f"up.{number}", "up", level)
        if block.upsample is not None:
            found.append(Place(f"up.{number}.upsample", block.upsample, "up", "up", level))
    return [*found, Place("conv_out", unet.conv_out, "conv", "out", 0)]


def down_levels(unet: UNet) -> list[DownLevel]:
    """From the finest to the deepest."""
    return [level for level in unet.down if isinstance(level, DownLevel)]


def up_levels(unet: UNet) -> list[UpLevel]:
    """From the deepest to the finest."""
    return [level for level in unet.up if isinstance(level, UpLevel)]


def _level(block: Level, name: str, part: PartOfUNet, level: int) -> Iterator[Place]:
    for index, resnet in enumerate(block.resnets):
        yield Place(f"{name}.resnets.{index}", resnet, "resnet", part, level)
        if len(block.attentions):
            yield from _transformer(block.attentions[index], f"{name}.attentions.{index}", part, level)


def _transformer(transformer: nn.Module, name: str, part: PartOfUNet, level: int) -> Iterator[Place]:
    assert isinstance(transformer, SpatialTransformer)
    yield Place(name, transformer, "transformer", part, level)
    for index, block in enumerate(transformer.blocks):
        assert isinstance(block, TransformerBlock)
        inside = f"{name}.blocks.{index}"
        yield Place(f"{inside}.self_attention", block.self_attention, "self-attention", part, level, block.norm1)
        if block.has_text:
            yield Place(f"{inside}.cross_attention", block.cross_attention, "cross-attention", part, level, block.norm2)
        yield Place(f"{inside}.feed_forward", block.feed_forward, "feed-forward", part, level, block.norm3)


def text_attentions(unet: UNet) -> Iterator[tuple[str, Attention, str, int]]:
    """Name, layer, part ("down", "mid", "up") and level of each cross-attention, in the order of the forward pass."""
    for place in places(unet):
        if place.kind == "cross-attention":
            assert isinstance(place.module, Attention)
            yield place.name, place.module, place.part, place.level


def skip_connections(unet: UNet) -> tuple[tuple[str, str], ...]:
    """Names (from, to): the ResNet block ``to`` on the way up sees the output of ``from`` beside its input."""
    sources = ["conv_in"]
    for level, block in enumerate(down_levels(unet)):
        kind = "attentions" if len(block.attentions) else "resnets"
        sources += [f"down.{level}.{kind}.{index}" for index in range(len(block.resnets))]
        if block.downsample is not None:
            sources.append(f"down.{level}.downsample")
    targets = [
        f"up.{number}.resnets.{i}" for number, block in enumerate(up_levels(unet)) for i in range(len(block.resnets))
    ]
    return tuple(zip(reversed(sources), targets, strict=True))


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """(h, w) of the features at each level; halves are rounded up."""
    sizes = [size]
    for _ in range(levels - 1):
        h, w = sizes[-1]
        sizes.append(((h + 1) // 2, (w + 1) // 2))
    return sizes
