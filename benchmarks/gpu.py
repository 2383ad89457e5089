"""Stable Diffusion 1.5's size on an NVIDIA GPU: eager, compiled region by region, and with CUDA graphs.

    python benchmarks/gpu.py [--batch 1 16] [--steps 20] [--rounds 3] [--peers]

Random weights in bf16, channels-last, torch's own choice of attention (flash or cuDNN). "compiled" compiles each ResNet
block and each transformer block by itself, which takes seconds instead of minutes, since blocks of one shape share
their code, and keeps what was compiled in torch's cache on the disk. "graphs" is torch's ``reduce-overhead`` mode over
the whole UNet. ``--peers``: diffusers' UNet, eager and compiled, in the same run (needs ``make dev``). The floor is the
work (34.7 TFLOP for 20 steps with guidance and decoding, at batch 1) over the rate that this card reaches in bf16
matrix products of 8,192 squared. Without a GPU it says so and does nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
TFLOP_STEP, TFLOP_DECODE = 1.607, 2.515
"""Of the UNet at batch 2, and of the decoder, at 512 x 512."""


def clock(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each call, to the end of the work; two calls before do not count."""
    seconds = []
    for number in range(rounds + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number >= 2:
            seconds.append(time.perf_counter() - start)
    return seconds


def matrix_rate() -> float:
    """TFLOP/s of bf16 matrix products."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / statistics.median(clock(lambda: a @ b, 20)) / 1e12


def compile_regions(network: torch.nn.Module) -> None:
    """Each block is compiled where it stands; those of one class and shape share what was compiled."""
    from tintype.models.attention import TransformerBlock
    from tintype.models.layers import ResnetBlock

    for module in network.modules():
        if isinstance(module, ResnetBlock | TransformerBlock):
            module.compile(dynamic=False)


def ways(peers: bool) -> dict[str, Callable[[], Callable[[Tensor, Tensor, Tensor], Tensor]]]:
    """By name: what makes a UNet that is called with latents, times and text."""
    from tintype.models import UNet
    from tintype.models.presets import SD1_UNET
    from tintype.types import Conditioning

    def ours(kind: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        unet = UNet(SD1_UNET).to("cuda", torch.bfloat16, memory_format=torch.channels_last).eval()
        if kind == "compiled":
            compile_regions(unet)
        if kind == "graphs":
            unet = torch.compile(unet, mode="reduce-overhead")
        prepared: dict[int, Conditioning] = {}
        return lambda x, t, context: unet(x, t, prepared.setdefault(len(x), Conditioning(context)))

    def theirs(compiled: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        from diffusers import UNet2DConditionModel

        from tintype.checkpoints.configs import write_unet

        unet = UNet2DConditionModel.from_config(write_unet(SD1_UNET))
        unet = unet.to("cuda", torch.bfloat16, memory_format=torch.channels_last).eval()
        if compiled:
            unet = torch.compile(unet, mode="reduce-overhead")
        return lambda x, t, context: unet(x, t, encoder_hidden_states=context, return_dict=False)[0]

    found = {f"Tintype, {kind}": lambda kind=kind: ours(kind) for kind in ("eager", "compiled", "graphs")}
    if peers:
        found |= {"diffusers, eager": lambda: theirs(False), "diffusers, compiled": lambda: theirs(True)}
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here, so nothing was measured. On a machine that has one, this is the command.")
        return
    from tintype.models import Autoencoder
    from tintype.models.presets import SD1_AUTOENCODER

    torch.manual_seed(0)
    rate = matrix_rate()
    decoder = Autoencoder(SD1_AUTOENCODER).to("cuda", torch.bfloat16, memory_format=torch.channels_last).eval()
    lines = [
        f"SD 1.5's size, random weights, bf16, {arguments.steps} steps with guidance, 512 x 512, "
        f"{time.strftime('%Y-%m-%d')}: {torch.cuda.get_device_name()}, torch {torch.__version__}, "
        f"{rate:.0f} TFLOP/s in matrix products",
        "",
        "| | batch | seconds | least to most | share of the floor | first call |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, make in ways(arguments.peers).items():
        torch.compiler.reset()
        unet = make()
        for batch in arguments.batch:
            x = torch.randn(2 * batch, 4, 64, 64, device="cuda", dtype=torch.bfloat16)
            x = x.contiguous(memory_format=torch.channels_last)
            t, context = torch.full((2 * batch,), 500.0, device="cuda"), torch.randn(2 * batch, 77, 768, device="cuda")
            context = context.bfloat16()
            start = time.perf_counter()
            unet(x, t, context)
            torch.cuda.synchronize()
            first = time.perf_counter() - start

            def picture(unet=unet, x=x, t=t, context=context, batch=batch) -> None:
                for _ in range(arguments.steps):
                    unet(x, t, context)
                for one in x[:batch].split(1):
                    decoder.decode(one)

            seconds = clock(picture, arguments.rounds)
            floor = batch * (arguments.steps * TFLOP_STEP + TFLOP_DECODE) / rate
            middle = statistics.median(seconds)
            lines.append(
                f"| {name} | {batch} | {middle:.3f} | {min(seconds):.3f} to {max(seconds):.3f} | {floor / middle:.0%} "
                f"| {first:.1f} s |"
            )
            print(lines[-1], flush=True)
        del unet
        torch.cuda.empty_cache()
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    card = torch.cuda.get_device_name().lower().replace(" ", "-")
    place = RESULTS / f"{time.strftime('%Y-%m-%d')}-gpu-{card}.md"
    place.write_text("\n".join(lines) + "\n")
    print(place)


if __name__ == "__main__":
    main()
