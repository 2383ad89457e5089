"""Each part learns: a small network overfits a few pictures, and beats what knows nothing."""

import math
from dataclasses import replace

import pytest
import torch

from tintype.errors import SettingsError
from tintype.models import CLIP
from tintype.training.draws import Draw
from tintype.training.recipes import CHAINS, TINY, adjusted
from tintype.training.tasks.contrastive import initialize


def test_clip_overfits_one_batch(chain):
    recipe = replace(chain.recipe.clip, pictures=32 * 60, batch_size=16, warmup=0, cooldown=0, lr=1e-3)
    training = chain.clip_training(replace(recipe, seed=5))
    training.task.num_pictures = 16  # always the same sixteen
    training.folder = chain.folder / "overfit"
    losses = [progress.loss for progress in training]
    assert losses[0] == pytest.approx(math.log(16), rel=0.3)
    assert sum(losses[-5:]) / 5 < 0.5 * math.log(16)


def test_autoencoder_beats_the_mean_colour(chain):
    recipe = replace(chain.recipe.autoencoder, pictures=1_200, cooldown=0, seed=5)
    training = chain.autoencoder_training(recipe)
    training.folder = chain.folder / "rebuilt"
    progress = list(training)
    pixels = training.task.pictures.shards.tensors[0]["pixels"].float() / 127.5 - 1
    variance = pixels.var(dim=(0, 2, 3)).mean()
    baseline = 10 * math.log10(4 / variance)
    assert sum(p.metrics["psnr"] for p in progress[-10:]) / 10 > baseline + 1


def test_denoiser_beats_knowing_nothing(chain):
    recipe = replace(chain.recipe.denoiser, pictures=1_600, cooldown=0, seed=5)
    losses = [progress.loss for progress in chain.denoiser_training(recipe, "learnt")]
    task = chain.denoiser_training(recipe, "learnt").task
    draws = [Draw(99, 0, i) for i in range(48)]
    with torch.no_grad():
        loss, _ = task.loss(task.batch(draws))
        for p in task.model.parameters():
            p.zero_()  # predicts 0
        nothing, _ = task.loss(task.batch(draws))
    assert loss < 0.8 * nothing
    assert sum(losses[-10:]) < sum(losses[:10])


def test_a_batch_is_a_function_of_its_draws(chain):
    task = chain.denoiser_training(chain.recipe.denoiser, "draws").task
    draws = [Draw(0, 3, i) for i in (5, 1, 8)]
    (together,), alone = task.batch(draws), [task.batch([draw])[0] for draw in draws]
    for name in ("x0", "noise", "t"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(one, name) for one in alone]))
    assert together.captions == tuple(caption for one in alone for caption in one.captions)


def test_caption_dropout_shows_some_pictures_without_words(chain):
    task = chain.denoiser_training(replace(chain.recipe.denoiser, caption_dropout=0.5), "dropout").task
    (batch,) = task.batch([Draw(0, epoch, i) for epoch in range(4) for i in range(48)])
    share = sum(not caption for caption in batch.captions) / 192
    assert 0.35 < share < 0.65


def test_offset_noise_is_one_number_for_a_channel(chain):
    plain, offset = (
        chain.denoiser_training(replace(chain.recipe.denoiser, offset_noise=strength), "offset").task
        for strength in (0.0, 0.5)
    )
    draws = [Draw(0, 0, i) for i in range(8)]
    (one,), (two,) = plain.batch(draws), offset.batch(draws)
    difference = two.noise - one.noise
    assert difference.std(dim=(2, 3)).max() < 1e-6 < difference.abs().min()


def test_zero_terminal_snr_ends_in_noise_and_not_with_eps(chain):
    recipe = replace(chain.recipe.denoiser, zero_terminal_snr=True)
    task = chain.denoiser_training(recipe, "terminal").task
    assert task.denoiser.schedule.sigmas[-1] > 4000
    batch = replace(task.batch([Draw(0, 0, 0)])[0], t=torch.tensor([999]))
    assert torch.isfinite(task.loss((batch,))[0])
    with pytest.raises(SettingsError, match="zero terminal SNR needs v or x0"):
        chain.denoiser_training(replace(recipe, prediction="eps"), "eps")


def test_temperature_stays_in_bounds(chain):
    task = chain.clip_training(chain.recipe.clip).task
    with torch.no_grad():
        task.model.logit_scale.fill_(9.0)
    task.after_step()
    assert task.model.logit_scale.exp().item() == pytest.approx(100)


def test_clip_begins_at_chance():
    clip = initialize(CLIP(TINY.clip.text, TINY.clip.image))
    image, text = clip(torch.randn(8, 3, 64, 64), torch.randint(0, 700, (8, 77)))
    assert image.norm(dim=-1).allclose(torch.ones(8)) and text.norm(dim=-1).allclose(torch.ones(8))


def test_dials_are_typed():
    recipe = adjusted(TINY.denoiser, {"lr": "1e-4", "pictures": "64", "ema": "none", "prediction": "eps"})
    assert (recipe.lr, recipe.pictures, recipe.ema, recipe.prediction) == (1e-4, 64, None, "eps")
    with pytest.raises(SettingsError, match="no dial 'lrr'"):
        adjusted(TINY.denoiser, {"lrr": "1"})
    with pytest.raises(SettingsError, match="expected"):
        adjusted(TINY.denoiser, {"pictures": "many"})


def test_learning_rate_rises_stays_and_falls():
    recipe = replace(TINY.denoiser, pictures=1_000, batch_size=10, warmup=100, cooldown=200, lr=1.0)
    assert recipe.lr_at(0) == pytest.approx(0.1)
    assert recipe.lr_at(500) == 1.0
    assert recipe.lr_at(900) == pytest.approx(0.5)


@pytest.mark.parametrize("name", CHAINS)
def test_recipes_agree_with_themselves(name):
    recipe = CHAINS[name]
    assert recipe.denoiser.unet.context_dim == recipe.clip.text.dim
    assert recipe.denoiser.unet.in_channels == recipe.autoencoder.autoencoder.latent_channels
    assert recipe.clip.image.image_size == recipe.size
