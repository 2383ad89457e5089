"""Every network of SD 1.5, SD 2.1 and SDXL at its full width, random weights, against its reference: a table.

``make parity-full`` runs it. One network is in memory at a time: a process of its own builds the reference, saves it
and stores its outputs; another loads the files with our loader and compares. ``--tiny`` keeps the topology and
shrinks the widths, which shows in a minute that everything works. The configurations are those of the released
models; the pictures are small, since widths and not sizes are what is proved, and smaller still in bf16, so that a
processor that has to emulate it (about 1 GFLOP/s in convolutions) takes minutes and not hours.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # of the reference's standard deviation, in fp32
BF16_TOLERANCE = 1.2  # our RMS error in bf16 against the fp32 reference, over theirs
END = 49407

SD_LEVELS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT = {"vocab_size": END + 1, "bos_token_id": END - 1, "eos_token_id": END}
CLIP_L = TEXT | {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_H = TEXT | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
CLIP_G = TEXT | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}

NETWORKS: dict[tuple[str, str], tuple[int, dict]] = {  # parameters at full width, and the reference's configuration
    ("SD 1.5", "text encoder"): (123_060_480, CLIP_L | {"projection_dim": 768}),
    ("SD 1.5", "unet"): (859_520_964, SD_LEVELS | {"cross_attention_dim": 768, "attention_head_dim": 8}),
    ("SD 1.5", "autoencoder"): (83_653_863, VAE),
    ("SD 2.1", "text encoder"): (340_387_840, CLIP_H | {"hidden_act": "gelu", "projection_dim": 512}),
    ("SD 2.1", "unet"): (
        865_910_724,
        SD_LEVELS
        | {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
        | {"upcast_attention": True},
    ),
    ("SD 2.1", "autoencoder"): (83_653_863, VAE),
    ("SDXL", "text encoder"): (123_060_480, CLIP_L | {"projection_dim": 768}),
    ("SDXL", "text encoder 2"): (694_659_840, CLIP_G | {"hidden_act": "gelu", "projection_dim": 1280}),
    ("SDXL", "unet"): (
        2_567_463_684,
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    ),
    ("SDXL", "autoencoder"): (83_653_863, VAE | {"scaling_factor": 0.13025, "force_upcast": True}),
}


def shrunk(network: str, config: dict) -> dict:
    """The same topology, a tenth of the width and less."""
    if network.startswith("text"):
        return config | {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "projection_dim": 64}
    small = {"block_out_channels": tuple(c // 10 // 8 * 8 for c in config["block_out_channels"]), "norm_num_groups": 8}
    if network == "unet":
        heads = config["attention_head_dim"]
        small["attention_head_dim"] = heads if heads == 8 else (2, 4, 8, 8)[: len(heads)]
    return config | small


def build(network: str, config: dict) -> nn.Module:
    """The reference, with random weights: norms and biases too."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    if network == "unet":
        reference = diffusers.UNet2DConditionModel(**config)
    elif network == "autoencoder":
        reference = diffusers.AutoencoderKL(**config)
    elif network == "text encoder":
        reference = transformers.CLIPTextModel(transformers.CLIPTextConfig(**config))
    else:
        reference = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**config))
    for parameter in reference.parameters():
        if parameter.ndim < 2:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return reference.eval().requires_grad_(False)


def inputs(network: str, config: dict, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Small inputs of odd and even sizes, the same for both; times, sizes and ids are facts and keep their type."""
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    fp32 = dtype == torch.float32
    if network == "autoencoder":
        latents, pixels = ((1, 4, 32, 24), (1, 3, 256, 136)) if fp32 else ((1, 4, 8, 6), (1, 3, 64, 40))
        return {"latents": randn(*latents).to(dtype), "pixels": randn(*pixels).clamp(-1, 1).to(dtype)}
    if network.startswith("text"):
        ids = torch.randint(0, END - 1, (2, 77), generator=generator)
        ids[:, 20:] = END
        return {"ids": ids}
    shape = (2, 4, 32, 24) if fp32 else (2, 4, 16, 8)
    given = {"x": randn(*shape).to(dtype), "t": torch.tensor([3.0, 801.0])}
    given["context"] = randn(2, 77, config["cross_attention_dim"]).to(dtype)
    if "addition_embed_type" in config:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * 256
        given |= {"pooled": randn(2, pooled).to(dtype), "sizes": torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]] * 2)}
    return given


def run_reference(network: str, reference: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    if network == "autoencoder":
        encoded = reference.encode(given["pixels"]).latent_dist.mean
        return {"decode": reference.decode(given["latents"]).sample, "encode": encoded}
    if network.startswith("text"):
        out = reference(given["ids"], output_hidden_states=True)
        last = {"embeds": out.text_embeds} if network.endswith("2") else {"final": out.last_hidden_state}
        return {"penultimate": out.hidden_states[-2]} | last
    added = {"text_embeds": given["pooled"], "time_ids": given["sizes"]} if "sizes" in given else None
    return {"noise": reference(given["x"], given["t"], given["context"], added_cond_kwargs=added).sample}


def load_ours(network: str, folder: Path, dtype: torch.dtype) -> nn.Module:
    from tintype.checkpoints import parts

    if network == "unet":
        return parts.load_unet(folder, dtype=dtype)
    if network == "autoencoder":
        return parts.load_autoencoder(folder, dtype=dtype)
    return parts.load_text_encoder(folder, END, dtype=dtype)


def run_ours(network: str, ours: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    from tintype.models.layers import sinusoidal_embedding
    from tintype.types import Conditioning

    if network == "autoencoder":
        return {"decode": ours.decode(given["latents"]), "encode": ours.encode(given["pixels"]).mean}
    if network.startswith("text"):
        out = ours(given["ids"])
        last = {"embeds": out.pooled} if network.endswith("2") else {"final": out.final}
        return {"penultimate": out.hidden[-2]} | last
    vector = None
    if "sizes" in given:
        waves = sinusoidal_embedding(given["sizes"].flatten(), 256).reshape(2, -1)  # (b 6) -> (b 6*256)
        vector = torch.cat([given["pooled"], waves.to(given["pooled"].dtype)], dim=-1)
    return {"noise": ours(given["x"], given["t"], Conditioning(given["context"], vector))}


def rms(found: Tensor, expected: Tensor) -> float:
    return (found.float() - expected).square().mean().sqrt().item()


@torch.no_grad()
def reference_process(family: str, network: str, folder: Path, tiny: bool, bf16: bool) -> dict:
    """Builds the reference, saves it and its outputs; in bf16 its error against itself in fp32."""
    parameters, config = NETWORKS[family, network]
    config = shrunk(network, config) if tiny else config
    reference = build(network, config)
    count = sum(parameter.numel() for parameter in reference.parameters())
    assert tiny or count == parameters, f"the reference has {count} parameters, expected {parameters}"
    reference.save_pretrained(folder / "model", max_shard_size="2GB")
    given, start = inputs(network, config), time.perf_counter()
    outputs = run_reference(network, reference, given)
    result = {"parameters": count, "seconds": time.perf_counter() - start}
    save(folder / "given.safetensors", given)
    save(folder / "outputs.safetensors", outputs)
    if bf16:
        halves = inputs(network, config, torch.bfloat16)
        exact = run_reference(network, reference, {name: promoted(tensor) for name, tensor in halves.items()})
        save(folder / "given-bf16.safetensors", halves)
        save(folder / "outputs-bf16.safetensors", exact)
        found = run_reference(network, reference.to(torch.bfloat16), halves)
        result["bf16"] = {name: rms(half, exact[name]) for name, half in found.items()}
    return result


@torch.no_grad()
def our_process(network: str, folder: Path, bf16: bool) -> dict:
    """Loads what the reference saved; the largest difference of the outputs, and in bf16 the error against its fp32."""
    given, outputs = read(folder / "given.safetensors"), read(folder / "outputs.safetensors")
    ours = load_ours(network, folder / "model", torch.float32)
    start = time.perf_counter()
    found = run_ours(network, ours, given)
    result: dict = {"seconds": time.perf_counter() - start}
    assert all(found[name].shape == expected.shape for name, expected in outputs.items())
    result["difference"] = {n: ((found[n] - e).abs().max() / e.std()).item() for n, e in outputs.items()}
    del ours
    if bf16:
        exact = read(folder / "outputs-bf16.safetensors")
        ours = load_ours(network, folder / "model", torch.bfloat16)
        halves = run_ours(network, ours, read(folder / "given-bf16.safetensors"))
        result["bf16"] = {name: rms(half, exact[name]) for name, half in halves.items()}
    return result


def promoted(tensor: Tensor) -> Tensor:
    """bf16 to fp32, exactly; everything else as it is."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def save(file: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def read(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


def in_process(*arguments: str) -> dict:
    """A part of the work in a process of its own, which gives all memory back; its result and peak memory."""
    command = [sys.executable, "-m", "tests.parity.full_width", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(family: str, network: str, tiny: bool = False, bf16: bool = True) -> bool:
    """Prints a row of the table; whether it holds."""
    with tempfile.TemporaryDirectory() as folder:
        common = (
            ["--work", folder, "--family", family, "--network", network] + ["--tiny"] * tiny + ["--fp32"] * (not bf16)
        )
        theirs = in_process("--side", "reference", *common)
        ours = in_process("--side", "ours", *common)
    difference = max(ours["difference"].values())
    ratios = [ours["bf16"][name] / theirs["bf16"][name] for name in ours["bf16"]] if bf16 else []
    holds = difference <= TOLERANCE and all(ratio <= BF16_TOLERANCE for ratio in ratios)
    ratio = f"{max(ratios):.2f}" if ratios else "not run"
    cells = [family, network, f"{theirs['parameters']:,}", f"{difference:.1e}", ratio]
    cells += [f"{theirs['seconds']:.1f} / {ours['seconds']:.1f}", f"{theirs['peak']:.1f} / {ours['peak']:.1f}"]
    print("| " + " | ".join([*cells, "yes" if holds else "**no**"]) + " |", flush=True)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=["SD 1.5", "SD 2.1", "SDXL"])
    parser.add_argument("--network")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--fp32", action="store_true", help="without bf16")
    parser.add_argument("--side", choices=["reference", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        if given.side == "reference":
            result = reference_process(given.family, given.network, given.work, given.tiny, not given.fp32)
        else:
            result = our_process(given.network, given.work, not given.fp32)
        result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB; mapped files count
        print(json.dumps(result))
        return 0
    chosen = [
        key for key in NETWORKS if given.family in (None, key[0]) and given.network in (None, key[1])
    ]  # by family, then in the order of drawing
    print("| family | network | parameters | largest difference / std, fp32 | bf16 error, ours / reference's ", end="")
    print("| seconds, reference / ours | peak GiB, reference / ours | holds |\n" + "|---" * 8 + "|", flush=True)
    return 0 if all([compare(*key, given.tiny, not given.fp32) for key in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())
