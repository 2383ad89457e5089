"""The model in the box through Python: it draws, by every sampler, and as diffusers draws with the same files."""

from __future__ import annotations

from math import log10

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.diffusion import SAMPLERS

PROMPT = "paradise cosmic beach"


def psnr(a: Image.Image, b: Image.Image) -> float:
    error = np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean()
    return float("inf") if error == 0 else 10 * log10(255**2 / error)


def contrast(image: Image.Image) -> float:
    return float(np.asarray(image, dtype=np.float64).std())


def test_twelve_lines(box, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import tintype

    sd = tintype.load()
    run = sd.text2img("paradise cosmic beach", seed=7)
    shown = [(step.index, step.sigma) for step in run]
    run.images[0].save("beach.png")
    beach = Image.open("beach.png")
    pirates = sd.img2img(beach, "a pirate ship", strength=0.6).images
    mask = Image.new("L", beach.size, 0)
    mask.paste(255, (0, 0, beach.width // 2, beach.height))
    lighthouse = sd.inpaint(beach, mask, "a lighthouse").images
    again = sd.run(run.settings).images

    assert len(shown) == len(run)
    assert contrast(beach) > 10
    assert pirates[0].size == lighthouse[0].size == beach.size
    assert again[0].tobytes() == beach.tobytes()
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(lighthouse[0])[kept], np.asarray(beach)[kept])


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws(sd, name):
    run = sd.text2img(PROMPT, seed=7, sampler=name, steps=12)
    assert torch.isfinite(run.latents).all()
    print(f"{name}: contrast {contrast(run.images[0]):.1f}, latents' std {float(run.latents.std()):.3f}")
    assert contrast(run.images[0]) > 10
    assert 0.3 < float(run.latents.std()) < 3


def test_words_steer(sd):
    beach, night = (sd.text2img(words, seed=7).images[0] for words in (PROMPT, "a house at night in the snow"))
    print(f"two prompts on one seed: {psnr(beach, night):.1f} dB")
    assert psnr(beach, night) < 25


def test_it_says_what_it_never_saw(sd):
    known = sd.text2img(PROMPT)
    assert not [notice for notice in known.notices if "never saw" in notice]
    unknown = sd.text2img("an astronaut")
    assert any(notice.startswith("never saw: astronaut") for notice in unknown.notices)


def test_a_seed_alone_draws_what_it_draws_in_a_batch(sd):
    batch = sd.text2img([PROMPT, "a red boat"], seed=3, batch_size=2, steps=8)
    for i, seed in enumerate(batch.seeds):
        alone = sd.text2img(batch.settings.prompts[i // 2], seed=seed, steps=8).images[0]
        print(f"seed {seed}: {psnr(alone, batch.images[i]):.1f} dB")
        assert psnr(alone, batch.images[i]) >= 60


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"negative_prompt": "night", "guidance_scale": 3.0},
        {"width": 136, "height": 88},
        {"guidance_scale": 1.0, "steps": 7},
    ],
    ids=str,
)
def test_diffusers_draws_the_same_from_this_folder(sd, box, options):
    import diffusers

    ours = sd.text2img(PROMPT, seed=7, **options)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        box, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    settings = ours.settings
    theirs = pipeline(
        PROMPT,
        negative_prompt=settings.negative_prompt,
        width=settings.width,
        height=settings.height,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    print(f"{options}: {psnr(ours.images[0], theirs):.1f} dB")
    assert psnr(ours.images[0], theirs) >= 50


def test_the_box_is_small_and_whole(box):
    files = [path for path in box.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 48 * 2**20
    assert {"model_index.json", "vocabulary.json"} <= {path.name for path in files}
    assert not [path.name for path in files if path.suffix in (".bin", ".ckpt", ".pt", ".pkl")]
