"""A1111's text: its shape to the letter, and what it means here."""

from __future__ import annotations

import random
import re
import time

import pytest

from tintype.diffusion import SAMPLERS, Schedule
from tintype.errors import SettingsError
from tintype.pipeline.a1111 import values_of, wanted
from tintype.pipeline.infotext import _PARAMETER, build, has_values, parse, parse_pairs, quote, unquote
from tintype.pipeline.settings import Settings

# The web UI's own expression, of modules/infotext_utils.py.
THEIRS = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

DOCUMENTED = """
girl with an artist's beret, determined, blue eyes, ((eyeshadow)), (coquettish), detailed, intricate
Negative prompt: ugly, fat, obese, (((deformed))), [blurry], (extra_limb), messy drawing
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b
"""

MODERN = (
    "a castle, <lora:fog:0.7>\nsecond line\nNegative prompt: night\nblurry\n"
    "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5.5, Seed: 12, Size: 768x512, "
    "Model hash: 31e35c80fc, Model: sd_xl_base_1.0, VAE hash: 235745af8d, VAE: a.safetensors, Clip skip: 2, RNG: CPU, "
    'Lora hashes: "fog: 0123456789ab, mist: ba9876543210", Version: v1.10.1'
)


def test_the_documented_example():
    text = parse(DOCUMENTED)
    assert text.prompt.startswith("girl with") and text.prompt.endswith("intricate")
    assert text.negative_prompt.startswith("ugly") and text.negative_prompt.endswith("drawing")
    assert text.values == {
        "Steps": "20",
        "Sampler": "Euler a",
        "CFG scale": "7",
        "Seed": "965400086",
        "Size-1": "512",
        "Size-2": "512",
        "Model hash": "45dee52b",
    }


def test_lines_and_quotes():
    text = parse(MODERN)
    assert (text.prompt, text.negative_prompt) == ("a castle, <lora:fog:0.7>\nsecond line", "night\nblurry")
    assert text.values["Lora hashes"] == "fog: 0123456789ab, mist: ba9876543210"
    assert parse_pairs(text.values["Lora hashes"]) == {"fog": "0123456789ab", "mist": "ba9876543210"}


@pytest.mark.parametrize("text", ["", "a red boat", "a boat\nSteps: 3, Seed: 4", "Negative prompt: all, Steps: 1"])
def test_a_text_without_three_values_is_all_prompt(text):
    assert not has_values(text)
    assert parse(text).values == {}
    assert "Steps: 3" in parse(text).prompt or "Steps: 3" not in text


@pytest.mark.parametrize(
    "value", ["plain", "a, b", 'with "quotes", too', "line\nbreak", "back\\slash:", "海: 边", 7, 7.5]
)
def test_quoting_is_undone(value):
    assert unquote(str(quote(value))) == str(value)


def test_built_texts_have_the_documented_shape():
    text = build("a boat", "night", {"Steps": 3, "Sampler": "Euler", "Tiling": "Tiling", "VAE": None, "X": "a: b, c"})
    assert text == 'a boat\nNegative prompt: night\nSteps: 3, Sampler: Euler, Tiling, X: "a: b, c"'
    assert build("a boat", "", {"Steps": 3}) == "a boat\nSteps: 3"
    assert build("", None, {"Steps": 3}) == "Steps: 3"


def test_values_are_found_as_the_web_ui_finds_them():
    draw = random.Random(1)
    for _ in range(20_000):
        line = "".join(draw.choice('ab1 _-/:,,"\\\té x') for _ in range(draw.randint(0, 30)))
        assert _PARAMETER.findall(line) == THEIRS.findall(line), line


@pytest.mark.parametrize("piece", ["a", "a b-", " ", 'a: "\\', 'k: "x', "ab: ,", '"', "aa:", "\n", "Negative prompt:"])
def test_hostile_texts_take_no_time(piece):
    start = time.perf_counter()
    parse(piece * (1_000_000 // len(piece)))
    assert time.perf_counter() - start < 3


def test_a_modern_text_becomes_settings():
    asked = wanted(parse(MODERN))
    settings = asked.settings
    assert (settings.sampler, settings.spacing, settings.noise) == ("dpmpp_2m", "karras", "cpu")
    assert (settings.steps, settings.guidance_scale, settings.seed, settings.size) == (25, 5.5, 12, (768, 512))
    assert (settings.clip_skip, settings.negative_prompt, settings.strength) == (2, "night\nblurry", None)
    assert (asked.model_hash, asked.model, asked.vae_hash) == ("31e35c80fc", "sd_xl_base_1.0", "235745af8d")
    assert asked.lora_hashes["fog"] == "0123456789ab"
    assert asked.notices == ()


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("Euler a", None, ("euler_a", "linspace")),
        ("DPM++ 2M Karras", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", None, ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 3M SDE", "Automatic", ("dpmpp_3m_sde", "exponential")),
        ("Euler", "Automatic", ("euler", "linspace")),
        ("Euler", "SGM Uniform", ("euler", "sgm_uniform")),
        ("DDIM", "Automatic", ("ddim", "leading")),
        ("DPM++ 2M SDE Heun", "Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M SDE Heun Karras", None, ("dpmpp_2m_sde", "karras")),
        ("LMS", "Align Your Steps", ("lms", "ays")),
    ],
)
def test_samplers_by_their_names_there(sampler, schedule, expected):
    line = f"Steps: 9, Sampler: {sampler}, CFG scale: 7, Seed: 1, Size: 64x64"
    settings = wanted(parse(line + (f", Schedule type: {schedule}" if schedule else ""))).settings
    assert (settings.sampler, settings.spacing) == expected


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("Hires upscale: 2, Hires upscaler: Latent, Denoising strength: 0.7", "Hires fix"),
        ("Face restoration: CodeFormer", "faces"),
        ("Variation seed: 3, Variation seed strength: 0.1", "variation seeds"),
        ("ENSD: 31337", "ENSD 31337"),
        ("ControlNet 0: x", "no control picture"),
        ("Fancy extension: on", "not understood"),
        ("Schedule type: Turbo", "Turbo"),
    ],
)
def test_what_cannot_be_done_is_named(more, told):
    asked = wanted(parse(f"a\nSteps: 9, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, {more}"))
    assert any(told in notice for notice in asked.notices)
    assert asked.settings.strength is None


def test_fresh_noise_other_tags_and_edited_prompts_are_named():
    asked = wanted(parse("a [cat:dog:0.5] AND <hypernet:x:1> b\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 1"))
    assert asked.settings.prompt == "a [cat:dog:0.5] AND  b"
    assert asked.settings.noise == "philox"
    assert len(asked.notices) == 3


@pytest.mark.parametrize(
    "bad", ["Steps: many", "Seed: x", "Size: 65x64", "Sampler: Guess", "RNG: dice", "Steps: 99999"]
)
def test_values_that_cannot_be_are_errors(bad):
    line = "Steps: 9, Sampler: Euler, CFG scale: 7, Seed: 1"
    name = bad.split(":")[0]
    kept = ", ".join(part for part in line.split(", ") if not part.startswith(name))
    with pytest.raises(SettingsError):
        wanted(parse(f"a\n{kept}, {bad}, Model: m"))


def test_every_sampler_goes_there_and_back():
    schedule = Schedule.scaled_linear(steps_offset=1)
    for name in SAMPLERS:
        settings = Settings(
            prompt="a: b, c", seed=7, steps=9, width=64, height=72, guidance_scale=7.5, sampler=name, spacing="karras"
        )
        values = values_of(settings, 2, schedule, model="m: x", hashes={"model": "ab" * 32}, version="0")
        text = build("a: b, c", "no", values)
        back = wanted(parse(text))
        assert text.startswith("a: b, c\nNegative prompt: no\nSteps: 9, Sampler: ")
        assert (back.settings.sampler, back.settings.seed, back.settings.size) == (name, 9, (64, 72))
        assert (back.settings.noise, back.settings.guidance_scale) == ("cpu", 7.5)
        assert (back.model, back.model_hash) == ("m: x", "ababababab")


def test_the_order_is_the_web_uis():
    settings = Settings(
        prompt="a", seed=1, steps=9, width=64, height=64, guidance_scale=7, sampler="euler", eta=0.5, clip_skip=2,
        strength=0.5, mask_blur=4, image_sha256="0" * 64,
    )  # fmt: skip
    hashes = {"model": "a" * 64, "vae": "b" * 64, "lora fog": "c" * 64}
    values = values_of(settings, 0, Schedule.scaled_linear(), model="m", hashes=hashes, version="0")
    assert [name for name, value in values.items() if value is not None] == [
        *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash"),
        *("Denoising strength", "Clip skip", "RNG", "Mask blur", "Lora hashes", "Eta", "Version"),
    ]
    assert values["Lora hashes"] == "fog: cccccccccccc"
