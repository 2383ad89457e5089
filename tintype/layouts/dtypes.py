"""The types of numbers that files hold, by torch's names, without torch: a header is read in no time, torch is not.

``torch`` gives torch's own type, ``numbers`` what a few bytes of it mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch as torch_


@dataclass(frozen=True)
class DType:
    """A type by its name in torch, and how many bytes a number takes."""

    name: str
    itemsize: int

    @property
    def torch(self) -> torch_.dtype:
        """torch's own."""
        import torch

        return getattr(torch, self.name)

    @property
    def is_floating_point(self) -> bool:
        """Whether its numbers have a fraction and are real, as weights are."""
        return "float" in self.name

    def numbers(self, content: bytes) -> NDArray[np.float64]:
        """What the bytes mean. ValueError for types that no adapter's numbers are of."""
        if self.name == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        if self.name.startswith(("float8", "complex")):
            raise ValueError(f"numbers of type {self.name} are not read here")
        return np.frombuffer(content, np.dtype(self.name).newbyteorder("<")).astype(np.float64)

    def __str__(self) -> str:
        return self.name


_BYTES = {
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "int8", "uint8", "bool"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}
DTYPES = {name: DType(name, size) for name, size in _BYTES.items()}
"""By name."""
