"""From nothing to a model that draws, saves and loads: the whole chain at its smallest."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import tintype
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.inspection import inspect
from tintype.checkpoints.single_file import save_single_file
from tintype.errors import CheckpointError, SettingsError, TrainingError
from tintype.illustrate.previews import latent_colours, preview_images
from tintype.training import Chain
from tintype.training.card import write_short_card
from tintype.training.shards import Shards


def test_the_chain_ends_in_a_model(chain, tmp_path):
    list(chain.denoiser_training(replace(chain.recipe.denoiser, pictures=64)))
    sd = Chain(chain.recipe, chain.folder).model()
    latents = torch.cat([part["latents"].float() for part in Shards.open(chain.folder / "latents").tensors])
    size = (latents * sd.autoencoder.config.scaling_factor).square().mean().sqrt()
    torch.testing.assert_close(size, torch.tensor(1.0))
    run = sd.text2img("a red pirate ship on a beach", seed=1, steps=2)
    assert run.images[0].size == (64, 64)
    save_folder(sd, tmp_path / "model")
    again = tintype.load(tmp_path / "model", dtype=torch.float32).text2img(
        "a red pirate ship on a beach", seed=1, steps=2
    )
    assert torch.equal(run.latents, again.latents)


def slim(chain):
    """A denoiser with few channels: 64 x 64 pixels are 64 times the cells of the latents."""
    unet = replace(chain.recipe.denoiser.unet, channels=(8, 8, 16), transformer_depth=(0, 0, 1), num_heads=(1, 1, 1))
    return replace(chain.recipe.denoiser, unet=unet, batch_size=4)


@pytest.mark.parametrize(
    ("text", "pixels", "prediction"), [(False, True, "eps"), (True, True, "v"), (False, False, "eps")]
)
def test_without_text_and_on_pixels_too(chain, tmp_path, text, pixels, prediction):
    recipe = replace(slim(chain), pictures=8, text=text, pixels=pixels, prediction=prediction)
    list(chain.denoiser_training(recipe))
    own = replace(chain.recipe, denoiser=slim(chain))
    sd = Chain(own, chain.folder).model()  # remembers what kind of network it was
    prompt = "a red pirate ship on a beach" if text else ""
    run = sd.text2img(prompt, seed=1, steps=2, guidance_scale=3.0)
    assert run.images[0].size == (64, 64)
    assert run.latents.shape == ((1, 3, 64, 64) if pixels else (1, 4, 8, 8))
    save_folder(sd, tmp_path / "model")
    again = tintype.load(tmp_path / "model", dtype=torch.float32)
    assert again.schedule.prediction == prediction
    assert torch.equal(again.text2img(prompt, seed=1, steps=2, guidance_scale=3.0).latents, run.latents)
    report = inspect(tmp_path / "model")
    assert report.loads, report.why_not
    write_short_card(Chain(own, chain.folder), tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text()
    assert f"{'CLIP 64, ' if text else ''}{'' if pixels else 'autoencoder 16 crops, '}UNet 8." in card
    assert (tmp_path / "model/vae").exists() != pixels
    assert (tmp_path / "model/text_encoder").exists() == text
    with pytest.raises(CheckpointError, match=f"has no {'autoencoder' if pixels else 'text encoder'}; a single file"):
        save_single_file(sd, tmp_path / "model.safetensors")
    if not text:
        with pytest.raises(SettingsError, match="trained without text"):
            again.text2img("a cat")
    image = run.images[0]
    assert again.img2img(image, prompt, steps=4, strength=0.5, seed=1).images[0].size == (64, 64)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    painted = again.inpaint(image, mask, prompt, steps=2, seed=2).images[0]
    assert painted.crop((32, 0, 64, 64)).tobytes() == image.crop((32, 0, 64, 64)).tobytes()
    assert not pixels or preview_images(run.latents, latent_colours(again))[0].tobytes() == image.tobytes()


def test_the_kind_of_network_is_said_once(chain):
    recipe = replace(slim(chain), pictures=16, text=False, pixels=True)
    chain.denoiser_training(recipe)
    with pytest.raises(TrainingError, match="begun with text=False, not True"):
        chain.denoiser_training(replace(recipe, text=True))


@pytest.mark.parametrize("pixels", [True, False])
def test_a_network_without_text_overfits(chain, pixels):
    recipe = replace(
        slim(chain) if pixels else chain.recipe.denoiser,
        pictures=240 if pixels else 640,
        batch_size=4 if pixels else 8,
        lr=4e-3 if pixels else 2e-3,
        warmup=0,
        cooldown=0,
        prediction="eps",
        text=False,
        pixels=pixels,
    )
    training = chain.denoiser_training(recipe, "overfit")
    training.task.num_pictures = 1  # always the same picture
    losses = [progress.loss for progress in training]
    assert sum(losses[-20:]) < 0.4 * sum(losses[:20])
