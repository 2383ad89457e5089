"""Our networks against diffusers and transformers: random weights, saved in their layout, read by our loader.

In fp32 the largest difference is at most 1e-4 of the output's standard deviation; in bf16 our error against the
fp32 reference is at most 1.2 times theirs.
"""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
import transformers

from tintype.checkpoints import parts
from tintype.models import normalize_pixels
from tintype.text.tokenizer import Tokenizer
from tintype.types import Conditioning

SIZES = [(64, 64), (72, 40), (25, 17)]  # of latents
END = 99


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, in standard deviations of the reference."""
    assert ours.shape == reference.shape
    return ((ours.float() - reference).abs().max() / reference.std()).item()


def rms(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return (ours.float() - reference).square().mean().sqrt().item()


def randomized(network: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Gives every weight a random value, norms and biases too, and saves the network."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim < 2:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    network.save_pretrained(folder)
    return network.eval().requires_grad_(False)


def make_unet(folder: Path, **changes):
    torch.manual_seed(0)
    config = {
        "block_out_channels": (32, 64, 128, 128),
        "norm_num_groups": 8,
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
    }
    return randomized(diffusers.UNet2DConditionModel(**config | changes), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def unet(folder):
    reference = make_unet(folder / "unet")
    return reference, parts.load_unet(folder / "unet")


@pytest.fixture(scope="module")
def autoencoder(folder):
    torch.manual_seed(1)
    reference = diffusers.AutoencoderKL(
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    reference = randomized(reference, folder / "vae")
    return reference, parts.load_autoencoder(folder / "vae")


def unet_inputs(size, batch):
    torch.manual_seed(2)
    return torch.randn(batch, 4, *size), torch.rand(batch) * 999, torch.randn(batch, 77, 64)


@pytest.mark.parametrize(("size", "batch"), [((64, 64), 1), ((72, 40), 1), ((72, 40), 3), ((25, 17), 1), ((25, 17), 3)])
def test_unet(unet, size, batch):
    reference, ours = unet
    x, t, context = unet_inputs(size, batch)
    expected = reference(x, t, context).sample
    assert difference(ours(x, t, Conditioning(context)), expected) <= 1e-4


def test_unet_with_prepared_text(unet):
    reference, ours = unet
    x, t, context = unet_inputs((24, 16), 3)
    prepared = ours.prepare(Conditioning(context))
    assert difference(ours(x, t, prepared), reference(x, t, context).sample) <= 1e-4


def test_unet_with_longer_text(unet):
    reference, ours = unet
    x, t, _ = unet_inputs((16, 16), 2)
    context = torch.randn(2, 231, 64)
    assert difference(ours(x, t, Conditioning(context)), reference(x, t, context).sample) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_head_dim": (2, 4, 8, 8), "use_linear_projection": True},  # as SD 2
        {"time_embedding_dim": 256},  # as one that has grown
        {"layers_per_block": 1, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "small": True},  # the box
        {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "block_out_channels": (32, 64, 128),
            "attention_head_dim": (2, 4, 8),
            "transformer_layers_per_block": (1, 2, 3),
            "use_linear_projection": True,
        },  # as SDXL, without its vector
    ],
    ids=["sd2", "grown", "small", "sdxl"],
)
def test_unet_of_other_topologies(tmp_path, changes):
    if changes.pop("small", False):
        changes["block_out_channels"] = (32, 64)
    if "down_block_types" in changes:
        changes["up_block_types"] = tuple(kind.replace("Down", "Up") for kind in reversed(changes["down_block_types"]))
    reference = make_unet(tmp_path, **changes)
    ours = parts.load_unet(tmp_path)
    x, t, context = unet_inputs((25, 17), 2)
    assert difference(ours(x, t, Conditioning(context)), reference(x, t, context).sample) <= 1e-4


@pytest.mark.parametrize("size", [(64, 64), (72, 40), (24, 16)])  # diffusers' own cannot have odd levels
def test_unet_without_text(tmp_path, size):
    torch.manual_seed(0)
    reference = diffusers.UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 128, 128),
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
    )
    reference = randomized(reference, tmp_path)
    ours = parts.load_unet(tmp_path)
    x, t, _ = unet_inputs(size, 2)
    assert difference(ours(x, t, Conditioning(None)), reference(x, t).sample) <= 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_autoencoder(autoencoder, size):
    reference, ours = autoencoder
    h, w = size
    torch.manual_seed(3)
    pixels, latents = torch.rand(1, 3, 8 * h, 8 * w) * 2 - 1, torch.randn(1, 4, h, w)
    expected, found = reference.encode(pixels).latent_dist, ours.encode(pixels)
    assert difference(found.mean, expected.mean) <= 1e-4
    assert difference(found.logvar, expected.logvar) <= 1e-4
    assert difference(ours.decode(latents), reference.decode(latents).sample) <= 1e-4


def test_autoencoder_of_a_batch(autoencoder):
    reference, ours = autoencoder
    torch.manual_seed(4)
    pixels = torch.rand(3, 3, 136, 88) * 2 - 1
    found = ours.encode(pixels)
    assert difference(found.mean, reference.encode(pixels).latent_dist.mean) <= 1e-4
    assert difference(ours.decode(found.mean), reference.decode(found.mean).sample) <= 1e-4


TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = TOWER | {"vocab_size": 100, "bos_token_id": 98, "eos_token_id": END, "pad_token_id": END}
IMAGE = TOWER | {"image_size": 64, "patch_size": 16}


def token_ids() -> torch.Tensor:
    """Three texts of different length: start, words, end, padding by the end token."""
    torch.manual_seed(5)
    ids = torch.full((3, 77), END)
    ids[:, 0] = 98
    for row, length in zip(ids, (1, 20, 75), strict=True):
        row[1 : 1 + length] = torch.randint(0, 98, (length,))
    return ids


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_text_tower(tmp_path, activation):
    torch.manual_seed(0)
    reference = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT, hidden_act=activation))
    reference = randomized(reference, tmp_path)
    ours = parts.load_text_encoder(tmp_path, END)
    expected = reference(token_ids(), output_hidden_states=True)
    found = ours(token_ids())
    assert difference(found.final, expected.last_hidden_state) <= 1e-4
    assert difference(found.pooled, expected.pooler_output) <= 1e-4
    assert len(found.hidden) == len(expected.hidden_states)
    for hidden, reference_hidden in zip(found.hidden[:-1], expected.hidden_states[:-1], strict=True):
        assert difference(hidden, reference_hidden) <= 1e-4


def test_text_tower_with_projection(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(**TEXT, projection_dim=32)
    reference = randomized(transformers.CLIPTextModelWithProjection(config), tmp_path)
    ours = parts.load_text_encoder(tmp_path, END)
    assert difference(ours(token_ids()).pooled, reference(token_ids()).text_embeds) <= 1e-4


def test_image_tower(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(**IMAGE, projection_dim=32)
    reference = randomized(transformers.CLIPVisionModelWithProjection(config), tmp_path)
    ours = parts.load_image_encoder(tmp_path)
    pixels = normalize_pixels(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert difference(ours(pixels), reference(pixels).image_embeds) <= 1e-4


def test_whole_clip_and_back(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=IMAGE, projection_dim=32)
    reference = randomized(transformers.CLIPModel(config), tmp_path / "theirs")
    ours = parts.load_clip(tmp_path / "theirs", END)
    pixels = normalize_pixels(torch.rand(3, 3, 64, 64) * 2 - 1)
    expected = reference(input_ids=token_ids(), pixel_values=pixels)
    image, text = ours(pixels, token_ids())
    assert difference(image, expected.image_embeds) <= 1e-4
    assert difference(text, expected.text_embeds) <= 1e-4
    assert difference(ours.logit_scale.exp() * image @ text.T, expected.logits_per_image) <= 1e-4

    parts.save_clip(ours, Tokenizer.train([]), tmp_path / "ours")
    again = transformers.CLIPModel.from_pretrained(tmp_path / "ours")
    assert_same_tensors(reference, again)


def test_bf16_unet(unet, folder):
    reference, _ = unet
    x, t, context = unet_inputs((32, 32), 2)
    expected = reference(x, t, context).sample
    theirs = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.bfloat16)
    ours = parts.load_unet(folder / "unet", dtype=torch.bfloat16)
    half = torch.bfloat16
    with torch.no_grad():
        their_error = rms(theirs(x.to(half), t, context.to(half)).sample, expected)
        our_error = rms(ours(x.to(half), t, Conditioning(context.to(half))), expected)
    assert 0 < our_error <= 1.2 * their_error


def test_bf16_autoencoder(autoencoder, folder):
    reference, _ = autoencoder
    torch.manual_seed(6)
    pixels, latents = torch.rand(1, 3, 64, 40) * 2 - 1, torch.randn(1, 4, 8, 5)
    theirs = diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.bfloat16)
    ours = parts.load_autoencoder(folder / "vae", dtype=torch.bfloat16)
    expected = reference.decode(latents).sample, reference.encode(pixels).latent_dist.mean
    pixels, latents = pixels.bfloat16(), latents.bfloat16()
    with torch.no_grad():
        their_errors = (
            rms(theirs.decode(latents).sample, expected[0]),
            rms(theirs.encode(pixels).latent_dist.mean, expected[1]),
        )
        our_errors = rms(ours.decode(latents), expected[0]), rms(ours.encode(pixels).mean, expected[1])
    for our_error, their_error in zip(our_errors, their_errors, strict=True):
        assert 0 < our_error <= 1.2 * their_error


def test_bf16_text_tower(tmp_path):
    torch.manual_seed(0)
    reference = randomized(transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)), tmp_path)
    expected = reference(token_ids()).last_hidden_state
    theirs = transformers.CLIPTextModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    ours = parts.load_text_encoder(tmp_path, END, dtype=torch.bfloat16)
    with torch.no_grad():
        their_error = rms(theirs(token_ids()).last_hidden_state, expected)
        our_error = rms(ours(token_ids()).final, expected)
    assert 0 < our_error <= 1.2 * their_error


def assert_same_tensors(reference: torch.nn.Module, again: torch.nn.Module) -> None:
    before, after = reference.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
