"""NaN is an error that names its place, never a black picture."""

from __future__ import annotations

import torch
from torch import Tensor

from tintype.errors import NotFiniteError

ADVICE = (
    "The weights are damaged, or {dtype} cannot hold their values: try dtype=torch.float32 "
    "(--dtype float32 on the command line)."
)


def require_finite(tensor: Tensor, stage: str, dtype: torch.dtype) -> None:
    """Raise ``NotFiniteError`` if there is NaN or infinity in a tensor. Waits for the device.

    Args:
        tensor: the output of a stage.
        stage: "text encoder", "unet" or "autoencoder".
        dtype: what the stage computed in, for the advice.
    """
    if not torch.isfinite(tensor).all():
        raise NotFiniteError(stage, ADVICE.format(dtype=dtype))


class FiniteFlag:
    """Whether each of a row of tensors is finite, without waiting for the device: each is answered one later.

    The answer travels to the CPU while the device goes on; when the next tensor is looked at it is there.
    """

    def __init__(self, stage: str, dtype: torch.dtype) -> None:
        self.stage = stage
        self.dtype = dtype
        self._answer: Tensor | None = None  # (), bool
        self._arrived: torch.cuda.Event | None = None

    def look(self, tensor: Tensor) -> None:
        """Ask about this tensor, and raise ``NotFiniteError`` if the one before was not finite."""
        answer, arrived = torch.isfinite(tensor).all().to("cpu", non_blocking=True), None
        if tensor.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(tensor.device))
        self.settle()
        self._answer, self._arrived = answer, arrived

    def settle(self) -> None:
        """Wait for the last answer, and raise ``NotFiniteError`` if it is no."""
        answer, self._answer = self._answer, None
        if self._arrived is not None:
            self._arrived.synchronize()
        if answer is not None and not answer:
            raise NotFiniteError(self.stage, ADVICE.format(dtype=self.dtype))
