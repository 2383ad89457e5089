"""One load in a process of its own: ``python memory.py load FILE DTYPE``, ``draw FILE``, ``switch FILE ...``.

Tells, as JSON, how much anonymous memory (what the process itself holds, not what it has mapped from files) there was
at most while it worked, as the kernel counts it.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from pathlib import Path

import torch

import tintype


def anonymous() -> int:
    """Bytes of anonymous memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this system does not tell")


class Peak:
    """The most that is seen within the block, looked at each millisecond."""

    def __enter__(self) -> Peak:
        self.bytes, self._on = anonymous(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._on:
            self.bytes = max(self.bytes, anonymous())
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()
        self.bytes = max(self.bytes, anonymous())


def networks(sd):
    return sd.unet, sd.autoencoder, *(tower.encoder for tower in sd.conditioner.towers)


def touch(sd) -> int:
    """Reads every weight, so that nothing is put off; their bytes."""
    tensors = [tensor for network in networks(sd) for tensor in network.state_dict().values()]
    for tensor in tensors:
        tensor.view(torch.uint8).max()
    return sum(tensor.nbytes for tensor in tensors)


def load(path: str, dtype: str) -> dict[str, int]:
    tintype.load().close()  # what is imported late, and torch's own pools
    gc.collect()
    before = anonymous()
    with Peak() as peak:
        sd = tintype.load(path, dtype=getattr(torch, dtype), device="cpu")
        weights = touch(sd)
    return {"weights": weights, "peak": peak.bytes - before}


def draw(path: str) -> dict[str, int]:
    """A small picture in fp32 from weights that stay as they are stored."""
    small = {"steps": 1, "width": 64, "height": 64}
    assert tintype.load().text2img("", **small).images  # what is imported late, and torch's own pools
    gc.collect()
    before = anonymous()
    with Peak() as peak:
        assert tintype.load(path, dtype=torch.float32, device="cpu", lean=True).text2img("", **small).images
    return {"peak": peak.bytes - before}


def switch(*paths: str) -> dict[str, list[int]]:
    """After each model: closed although it is still referred to, or let go, by turns."""
    kept, after = None, []
    for index, path in enumerate(paths):
        sd = tintype.load(path, dtype=torch.float32, device="cpu")
        touch(sd)
        if index % 2:
            sd.close()
            kept = sd
        del sd
        gc.collect()
        after.append(anonymous())
    assert kept is not None
    return {"after": after}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"load": load, "draw": draw, "switch": switch}[sys.argv[1]](*sys.argv[2:])))
