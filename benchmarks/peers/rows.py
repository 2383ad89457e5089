"""One row of the table, measured in a process of its own: ``python benchmarks/peers/rows.py ROW FOLDER``.

Prints one line of JSON: the seconds of every call, and the most memory that the process took. Each row is the same work
in another program: two prompts through the text encoder, the UNet at batch 2 (guidance), one picture through the
decoder, and a picture of 4 steps without guidance.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

PROMPT = "a lighthouse on a cliff above the sea at sunset"
ENOUGH = 25.0  # seconds; after so many a part is not measured again


@dataclass
class Row:
    """The parts of a program, each to be called as often as wanted."""

    text: Callable[[], object]
    unet: Callable[[], object]
    decode: Callable[[], object]
    picture: Callable[[int, float], object]  # steps, guidance scale


def noise(batch: int, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(batch, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def tintype(folder: Path, size: int, speed: str) -> Row:
    """As the command line has it: freed memory is kept."""
    import tintype
    from tintype.speed.memory import keep_freed_memory

    keep_freed_memory()

    sd = tintype.load(folder).speed(speed)
    with sd.turn():
        cond = sd.unet.prepare(sd.conditioner([PROMPT, ""]))
    x, t, latents = noise(2, size, sd.dtype), torch.full((2,), 500.0), noise(1, size)

    def text() -> None:
        with sd.turn():
            sd.conditioner([PROMPT, ""])

    return Row(
        text,
        lambda: sd.predict(x, t, cond),
        lambda: sd.decode(latents),
        lambda steps, scale: (
            sd.text2img(PROMPT, seed=0, steps=steps, guidance_scale=scale, width=size, height=size).images
        ),
    )


def diffusers(
    folder: Path, size: int, dtype: torch.dtype, *, channels_last: bool = False, compiled: bool = False
) -> Row:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    if channels_last:
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        pipe.unet = torch.compile(pipe.unet)
        pipe.vae.decode = torch.compile(pipe.vae.decode)
    x, t, latents = noise(2, size, dtype), torch.tensor(500), noise(1, size, dtype)

    @torch.no_grad()
    def text() -> torch.Tensor:
        return torch.cat(pipe.encode_prompt(PROMPT, "cpu", 1, True))

    context = text()

    @torch.no_grad()
    def unet() -> None:
        pipe.unet(x, t, encoder_hidden_states=context)

    @torch.no_grad()
    def decode() -> None:
        pipe.vae.decode(latents / pipe.vae.config.scaling_factor)

    def picture(steps: int, scale: float) -> object:
        generator = torch.Generator().manual_seed(0)
        how = {"num_inference_steps": steps, "guidance_scale": scale, "width": size, "height": size}
        return pipe(PROMPT, generator=generator, **how).images

    return Row(text, unet, decode, picture)


def openvino(folder: Path, size: int) -> Row:
    """OpenVINO's own precision: bf16 where the processor has it. The networks were converted by ``convert``."""
    import openvino as ov
    from diffusers import DDIMScheduler
    from transformers import CLIPTokenizer

    core, place = ov.Core(), converted(folder)
    text_encoder, network, decoder = (
        core.compile_model(place / f"{name}.xml", "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        for name in ("text_encoder", "unet", "decoder")
    )
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")

    def text() -> torch.Tensor:
        ids = tokenizer([PROMPT, ""], padding="max_length", max_length=77, return_tensors="pt").input_ids
        return torch.from_numpy(text_encoder(ids.numpy())[0])

    def unet(x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(network((x.numpy(), t.numpy(), context.numpy()))[0])

    def decode(latents: torch.Tensor) -> object:
        return decoder((latents / 0.18215).numpy())[0]

    def picture(steps: int, scale: float) -> object:
        context, x = text(), noise(1, size)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            if scale > 1:
                cond, uncond = unet(torch.cat([x, x]), t, context).chunk(2)
                out = uncond + scale * (cond - uncond)
            else:
                out = unet(x, t, context[:1])
            x = scheduler.step(out, t, x).prev_sample
        return decode(x)

    context = text()
    return Row(text, lambda: unet(noise(2, size), torch.tensor(500), context), lambda: decode(noise(1, size)), picture)


def converted(folder: Path) -> Path:
    return folder.parent / f"{folder.name}-openvino"


def convert(folder: Path) -> None:
    """The three networks in OpenVINO's format beside the folder, for the row of OpenVINO.

    Their examples are small: a network is traced by running it several times, and what is traced knows no size.
    """
    import openvino as ov
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    class First(torch.nn.Module):
        def __init__(self, call: Callable[..., object], owner: torch.nn.Module) -> None:
            super().__init__()
            self.call, self.owner = call, owner

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.call(*inputs, return_dict=False)[0]

    place = converted(folder)
    place.mkdir(exist_ok=True)
    parts = {
        "text_encoder": (CLIPTextModel, lambda m: m.forward, (torch.zeros(2, 77, dtype=torch.long),)),
        "unet": (
            UNet2DConditionModel,
            lambda m: m.forward,
            (noise(2, 128), torch.tensor(500), torch.randn(2, 77, 768)),
        ),
        "decoder": (AutoencoderKL, lambda m: m.decode, (noise(1, 128),)),
    }
    for name, (kind, call, example) in parts.items():
        owner = kind.from_pretrained(folder / ("vae" if name == "decoder" else name), torch_dtype=torch.float32).eval()
        with torch.no_grad():
            model = ov.convert_model(First(call(owner), owner), example_input=example)
        ov.save_model(model, place / f"{name}.xml", compress_to_fp16=False)


ROWS: dict[str, Callable[[Path, int], Row]] = {
    "tintype": lambda folder, size: tintype(folder, size, "fast"),
    "tintype plain": lambda folder, size: tintype(folder, size, "plain"),
    "diffusers": lambda folder, size: diffusers(folder, size, torch.float32),
    "diffusers channels-last": lambda folder, size: diffusers(folder, size, torch.float32, channels_last=True),
    "diffusers bf16": lambda folder, size: diffusers(folder, size, torch.bfloat16),
    "diffusers bf16 channels-last": lambda folder, size: diffusers(folder, size, torch.bfloat16, channels_last=True),
    "diffusers bf16 compiled": lambda folder, size: diffusers(
        folder, size, torch.bfloat16, channels_last=True, compiled=True
    ),
    "openvino": openvino,
}


def measured(call: Callable[[], object], most: int) -> list[float]:
    """The seconds of one to ``most`` calls after a first that does not count; with 0, of the first alone."""
    seconds: list[float] = []
    while len(seconds) < min(most + 1, 2) or (len(seconds) <= most and sum(seconds) < ENOUGH):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds


def anonymous_bytes() -> int:
    """What this process has in memory beside files that are mapped, at the end; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=[*ROWS, "convert"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="also a picture of so many steps with guidance")
    parser.add_argument("--whole", action="store_true", help="draw one picture and save it, nothing else")
    arguments = parser.parse_args()
    if arguments.row == "convert":
        return convert(arguments.folder)
    start = time.perf_counter()
    row = ROWS[arguments.row](arguments.folder, arguments.size)
    if arguments.whole:
        row.picture(arguments.steps or 4, 7.5 if arguments.steps else 1.0)
        return None
    seconds = {"load": [time.perf_counter() - start]}
    for part in ("text", "unet", "decode"):
        seconds[part] = measured(getattr(row, part), arguments.calls)
    row.picture(1, 1.0)  # for batch 1, what is laid out or compiled for a size is so now
    seconds["few"] = measured(lambda: row.picture(4, 1.0), 0)
    if arguments.steps:
        row.picture(1, 7.5)
        seconds["picture"] = measured(lambda: row.picture(arguments.steps, 7.5), 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {"seconds": seconds, "peak": peak, "anonymous": anonymous_bytes(), "threads": torch.get_num_threads()}
    print(json.dumps(found | {"torch": torch.__version__}))
    return None


if __name__ == "__main__":
    main()
