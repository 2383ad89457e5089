"""The painter: endless captioned pictures with exact labels, drawn by program."""

from tintype.scenes.captions import caption, complete
from tintype.scenes.paint import draw
from tintype.scenes.scene import Scene, is_held_out, moved, sample
from tintype.scenes.vocabulary import FULL, SMALL, Vocabulary, known_words

__all__ = [
    "FULL",
    "SMALL",
    "Scene",
    "Vocabulary",
    "caption",
    "complete",
    "draw",
    "is_held_out",
    "known_words",
    "moved",
    "sample",
]
