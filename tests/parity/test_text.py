"""Strings -> features against diffusers' own encode_prompt, on folders that diffusers and transformers saved."""

from __future__ import annotations

import json
import random
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tintype.checkpoints.folder import load_folder, save_folder
from tintype.checkpoints.parts import load_text_encoder
from tintype.text.tokenizer import Tokenizer

CAPTIONS = [f"a {colour} {thing} at night" for colour in ("red", "blue") for thing in ("boat", "moon", "house")]
PROMPTS = ["a red boat", "", "A BLUE moon, over the 2 houses!!", "night " * 75, "naïve 红色的船 🚀"]


def save_pipeline(folder: Path, *, pad: str, eos_token_id: int | None, activation: str) -> None:
    """A whole tiny Stable Diffusion with random weights, saved by diffusers."""
    torch.manual_seed(0)
    ours = Tokenizer.train(CAPTIONS)
    ours.save(folder / "ours")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "ours", pad_token=pad)
    text = transformers.CLIPTextConfig(
        vocab_size=len(ours),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        hidden_act=activation,
        bos_token_id=ours.start,
        eos_token_id=ours.end if eos_token_id is None else eos_token_id,
    )
    levels = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **levels
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=2,
            sample_size=32,
            **levels,
        ),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "model")


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def model(request, tmp_path_factory) -> Path:
    """SD 1 pads with the end token and states eos_token_id 2; SD 2 pads with "!"."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sd1":
        save_pipeline(folder, pad="<|endoftext|>", eos_token_id=2, activation="quick_gelu")
    else:
        save_pipeline(folder, pad="!", eos_token_id=None, activation="gelu")
    return folder / "model"


@pytest.fixture(scope="module")
def reference(model):
    return diffusers.StableDiffusionPipeline.from_pretrained(model)


def encode(reference, prompts: list[str], clip_skip: int | None) -> torch.Tensor:
    # diffusers reaches for the final norm through a wrapper that transformers has not had since 5.6.
    object.__setattr__(reference.text_encoder, "text_model", reference.text_encoder)
    with torch.no_grad():
        cond, _ = reference.encode_prompt(prompts, "cpu", 1, False, clip_skip=clip_skip)
    return cond


@pytest.mark.parametrize("clip_skip", [None, 2, 3])
def test_features_equal_encode_prompt(model, reference, clip_skip):
    """Our clip_skip counts as A1111 does: 2 is diffusers' 1."""
    ours = load_folder(model).conditioner
    expected = encode(reference, PROMPTS, None if clip_skip is None else clip_skip - 1)
    found = ours(PROMPTS, clip_skip=clip_skip).context
    assert ((found - expected).abs().max() / expected.std()).item() <= 1e-4


def test_a_long_prompt_truncated_equals_encode_prompt(model, reference):
    prompt = "a red boat at night " * 40
    found = load_folder(model).conditioner([prompt], long_prompt="truncate").context
    expected = encode(reference, [prompt], None)
    assert ((found - expected).abs().max() / expected.std()).item() <= 1e-4


def test_what_we_save_means_the_same_to_diffusers(model, reference, tmp_path):
    save_folder(load_folder(model), tmp_path / "ours")
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours")
    assert again.tokenizer.pad_token_id == reference.tokenizer.pad_token_id
    assert torch.equal(encode(again, PROMPTS, None), encode(reference, PROMPTS, None))
    for part in ("unet", "vae", "text_encoder"):
        before, after = getattr(reference, part).state_dict(), getattr(again, part).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    stated = {"prediction_type", "beta_schedule", "beta_start", "beta_end", "steps_offset", "set_alpha_to_one"}
    for key in stated:
        assert again.scheduler.config[key] == reference.scheduler.config[key], key


@pytest.mark.parametrize("wrapped", [True, False])
def test_older_and_newer_names_of_the_text_tower(model, tmp_path, wrapped):
    """With and without the ``text_model.`` of transformers before 5.6, and the positions of those before 4.31."""
    folder = model / "text_encoder"
    prefix = "text_model." if wrapped else ""
    tensors = load_file(folder / "model.safetensors")
    tensors = {prefix + name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    tensors[prefix + "embeddings.position_ids"] = torch.arange(77)[None].float() * 0.99
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text())))
    end = Tokenizer.load(model / "tokenizer").end
    expected, found = load_text_encoder(folder, end).state_dict(), load_text_encoder(tmp_path, end).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def varied_strings(count):
    """Strings of many kinds: words, scripts, emoji, control characters, entities, long ones; always the same."""
    rng = random.Random(0)
    words = [
        "A",
        "photo",
        "of",
        "an",
        "astronaut's",
        "cat,",
        "don't!",
        "3.14",
        "naïve",
        "café",
        "Straße",
        "ΣΊΣΥΦΟΣ",
        "İstanbul",
        "ﬁne",
        "&amp;",
        "<b>",
        "#tag",
        "@x",
    ]
    ranges = [(32, 126), (0, 31), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF)]
    ranges += [
        (0x900, 0x97F),
        (0x3040, 0x30FF),
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A3),
        (0x1F300, 0x1FAFF),
        (0x2000, 0x206F),
    ]
    special = [
        "",
        " ",
        "!",
        "!!!",
        "\u200d",
        "é",
        "e\u0301",
        "<|endoftext|>",
        "<|startoftext|> a",
        "a" * 5000,
        "寿司" * 300,
    ]
    made = list(special)
    while len(made) < count:
        if rng.random() < 0.4:
            made.append(rng.choice([" ", ", ", "  ", "\n"]).join(rng.choices(words, k=rng.randint(1, 30))))
        else:
            low, high = rng.choice(ranges)
            made.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 40))))
    return made


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
def test_the_shipped_tokenizer_equals_transformers(tmp_path, pad):
    """10,000 strings, by transformers' CLIPTokenizer on the same table."""
    ours = Tokenizer.clip(pad)
    assert (len(ours), ours.start, ours.end) == (49408, 49406, 49407)
    assert ours.pad == {"!": 0, "<|endoftext|>": 49407}[pad] and ours.vocabulary["!</w>"] == 256
    ours.save(tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    strings = varied_strings(10_000)
    expected = theirs(strings, add_special_tokens=False)["input_ids"]
    differing = [text for text, ids in zip(strings, expected, strict=True) if ours.encode(text) != ids]
    assert not differing, differing[:3]
    assert ours.encode("a photo of an astronaut riding a horse") == [320, 1125, 539, 550, 18376, 6765, 320, 4558]
