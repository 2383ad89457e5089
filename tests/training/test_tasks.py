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


def test_twins_differ_in_the_place_alone_and_stand_side_by_side(chain):
    draws = [Draw(0, 0, index) for index in range(24)]
    with_twins, alone = (chain.clip_training(replace(chain.recipe.clip, twins=share)).task for share in (1.0, 0.0))
    batch, plain = with_twins.batch(draws), alone.batch(draws)
    assert len(plain.pixels) == 24
    placed = [with_twins.pictures.scene(draw.index).place is not None for draw in draws]
    assert len(batch.pixels) == len(batch.ids) == 24 + sum(placed)
    row = 0
    for pixels, has_twin in zip(plain.pixels, placed, strict=True):
        assert torch.equal(batch.pixels[row], pixels)
        if has_twin:
            change = (batch.pixels[row] - batch.pixels[row + 1]).abs().amax(dim=0)  # (H W)
            assert 0.4 < (change < 0.06).float().mean() < 1  # the ground and the sky stay
            assert not torch.equal(batch.ids[row], batch.ids[row + 1])
        row += 1 + has_twin


def test_with_twins_clip_learns_what_only_they_turn_on(chain):
    recipe = replace(chain.recipe.clip, pictures=16 * 150, batch_size=16, warmup=0, cooldown=0, lr=1e-3, twins=1.0)
    training = chain.clip_training(replace(recipe, seed=5))
    training.task.num_pictures = 16
    training.folder = chain.folder / "twins"
    found = [progress.metrics["retrieval_at_1"] for progress in training]
    assert sum(found[-10:]) / 10 > 0.6  # one who is blind for places finds half of them


def test_autoencoder_beats_the_mean_colour(chain):
    recipe = replace(chain.recipe.autoencoder, pictures=1_200, cooldown=0, seed=5)
    training = chain.autoencoder_training(recipe)
    training.folder = chain.folder / "rebuilt"
    progress = list(training)
    pixels = training.task.pictures.shards.tensors[0]["pixels"].float() / 127.5 - 1
    variance = pixels.var(dim=(0, 2, 3)).mean()
    baseline = 10 * math.log10(4 / variance)
    assert sum(p.metrics["psnr"] for p in progress[-10:]) / 10 > baseline + 1


def contest(chain, **dials):
    recipe = replace(chain.recipe.autoencoder, perceptual_weight=0.5, adversarial_weight=0.5, **dials)
    return chain.autoencoder_training(recipe).task


def test_the_rival_pulls_as_hard_as_the_rest(chain):
    task = contest(chain)
    batch = task.batch([Draw(0, 0, i) for i in range(4)])
    pixels = batch.pixels
    rebuilt = task.model.decode(task.model.encode(pixels).mean)
    loss, adversarial = (rebuilt - pixels).abs().mean(), -task.rival.network(rebuilt).mean()
    weight = task._weight(loss, adversarial)
    last = task.model.decoder.conv_out.weight
    pulls = [torch.autograd.grad(each, last, retain_graph=True)[0].norm() for each in (loss, weight * adversarial)]
    torch.testing.assert_close(pulls[0], pulls[1], rtol=1e-3, atol=0)


def test_the_rival_learns_to_tell_and_the_models_loss_leaves_it_alone(chain):
    task = contest(chain)
    task.rival.at(0, 1e-3)
    batch = task.batch([Draw(0, 0, i) for i in range(8)])
    loss, first = task.loss(batch)
    loss.backward()
    assert all(p.grad is None for p in task.rival.network.parameters())
    task.after_step()
    for _ in range(20):
        _, told = task.loss(batch)
        task.after_step()
    assert first["rivals_loss"] == pytest.approx(1, abs=0.3)  # of one who does not know
    assert told["rivals_loss"] < 0.5
    later = contest(chain, adversarial_after=1)
    assert "rivals_loss" not in later.loss(batch)[1]


def test_perceptual_distance_is_zero_for_equal_pictures_and_grows(chain):
    distance = contest(chain).perceptual
    pixels = torch.stack([chain._pictures().pixels(Draw(0, 0, i)) for i in range(4)]) / 127.5 - 1
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    apart = [distance(pixels + strength * noise, pixels).mean().item() for strength in (0.0, 0.1, 0.4)]
    assert apart[0] == 0 and 0 < apart[1] < apart[2]
    assert distance(pixels[..., :32, 16:48], pixels[..., :32, :32]).shape == (4,)  # crops too


def test_a_clip_that_learns_nothing_is_told(chain, monkeypatch):
    monkeypatch.setattr("tintype.training.tasks.contrastive.WINDOW", 5)
    recipe = replace(chain.recipe.clip, pictures=64 + 8 * 16, batch_size=8, warmup=0, lr=0.0)
    training = chain.clip_training(recipe)
    training.folder = chain.folder / "stuck"
    with torch.no_grad():
        for tower in (training.task.model.text, training.task.model.image):
            tower.final_norm.weight.zero_()  # every caption, every picture the same
    told = [progress.notice for progress in training]
    assert [notice is not None for notice in told] == [False] * 9 + [True] + [False] * 4 + [True, False]
    assert "100% of ln(batch size)" in told[9]
    assert "CLIP is stuck" in (chain.folder / "stuck/log.jsonl").read_text()
    healthy = chain.clip_training(replace(recipe, pictures=64 + 8 * 60, lr=1e-3))
    healthy.folder = chain.folder / "healthy"
    healthy.task.num_pictures = 8
    assert not any(progress.notice for progress in healthy)


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
