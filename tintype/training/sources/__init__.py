"""Anybody's pictures: folders, tar shards, Hugging Face datasets, each read by number and in one fixed order."""

from tintype.training.sources.opening import open_source
from tintype.training.sources.source import Item, PictureSource, captions_in

__all__ = ["Item", "PictureSource", "captions_in", "open_source"]
