"""Encode or decode one large picture in a fresh process; print how long it took and how far its memory rose.

``python -m tests.unit.speed.peak_memory decode 2048 1024 --channels 64 128 256 256 --size 256``
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from tintype.models import Autoencoder, AutoencoderConfig
from tintype.speed import Tiling, decode, encode


def resident(name: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM the most since ``forget_peak``. Linux only."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"no {name} here"
    return int(found[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def picture(height: int, width: int) -> torch.Tensor:
    """A dark and a bright half with fine waves on both, (1 3 H W) in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = 0.2 * torch.sin(200 * x * y) + 0.1 * torch.sin(300 * y)
    return torch.stack([waves + (x > 0.5) * 1.2 - 0.6, waves + y - 0.5, waves * x])[None]


def autoencoder(channels: Sequence[int], groups: int, layers: int = 2) -> Autoencoder:
    """Random weights; biases too, which are 0 at birth."""
    torch.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(channels=tuple(channels), norm_groups=groups, layers_per_block=layers)).eval()
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    return model.requires_grad_(False)


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("way", choices=["encode", "decode"])
    parse.add_argument("height", type=int)
    parse.add_argument("width", type=int)
    parse.add_argument("--channels", type=int, nargs="+", default=[128, 256, 512, 512])
    parse.add_argument("--groups", type=int, default=32)
    parse.add_argument("--layers", type=int, default=2)
    parse.add_argument("--size", type=int, help="of the tiles; whole without")
    parse.add_argument("--dtype", default="float32")
    parse.add_argument("--out", type=Path)
    given = parse.parse_args()

    model = autoencoder(given.channels, given.groups, given.layers).to(getattr(torch, given.dtype))
    tiling = None if given.size is None else Tiling(given.size, above=0)
    if given.way == "encode":
        x = picture(given.height, given.width)
    else:
        noise = torch.randn(1, 4, given.height // 8, given.width // 8, generator=torch.Generator().manual_seed(1))
        x = picture(given.height // 8, given.width // 8)[:, [0, 1, 2, 0]] * 3 + noise
    x = x.to(getattr(torch, given.dtype))
    small = x[:, :, :64, :64] if given.way == "encode" else x[:, :, :8, :8]
    with torch.no_grad():  # what torch itself takes the first time
        (encode if given.way == "encode" else decode)(model, small, tiling)
        forget_peak()
        before, start, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
        out = encode(model, x, tiling).mean if given.way == "encode" else decode(model, x, tiling)
        rose = resident("VmHWM") - before
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if given.out is not None:
        safetensors.torch.save_file({"out": out.contiguous()}, given.out)
    print(json.dumps({"peak": rose, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}))


if __name__ == "__main__":
    main()
