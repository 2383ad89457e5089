"""What makes a model faster or smaller from outside, and leaves ``models/`` as it is."""

from tintype.speed.tile import Tiling, decode, encode

__all__ = ["Tiling", "decode", "encode"]
