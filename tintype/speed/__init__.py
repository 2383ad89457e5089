"""What makes a model faster or smaller from outside, and leaves ``models/`` as it is."""

from tintype.speed.profile import PROFILES, attention_of, best_profile, check_profile, set_profile
from tintype.speed.tile import Tiling, decode, encode

__all__ = ["PROFILES", "Tiling", "attention_of", "best_profile", "check_profile", "decode", "encode", "set_profile"]
