"""What attaches to a model from outside and comes off again without a trace."""

from tintype.adapters.learnt import LearntLora
from tintype.adapters.lora import Attached, Lora, applied, attach, load_lora, save_lora
from tintype.adapters.places import find_lora

__all__ = ["Attached", "LearntLora", "Lora", "applied", "attach", "find_lora", "load_lora", "save_lora"]
