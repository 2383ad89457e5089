"""Training rows, known noise, one real step on a copy, the first steps of a CLIP, the round trip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.errors import TintypeError
from tintype.illustrate import (
    forward_row,
    learn_to_agree,
    learning_step,
    round_trip,
    training_examples,
    training_rows,
)
from tintype.scenes import caption, draw
from tintype.training.draws import Draw
from tintype.training.pictures import scene_of
from tintype.training.recipes import LARGE


@pytest.fixture(scope="module")
def rows():
    return training_rows()


@pytest.fixture
def tiny_rows(rows):
    """The pictures a quarter as large, for tiny models."""
    from tintype.illustrate import TrainingRow

    return tuple(TrainingRow(row.number, row.image.resize((32, 32)), row.caption) for row in rows)


def test_the_rows_are_what_the_box_was_trained_on(rows):
    pytest.importorskip("skia")
    assert len(rows) == 24
    for row in (rows[0], rows[11], rows[23]):
        scene = scene_of(LARGE.seed, row.number, LARGE.vocabulary)
        assert row.caption == caption(scene, Draw(LARGE.clip.seed, 0, row.number).rng("caption"))
        drawn = draw(scene, LARGE.size).astype(float)
        assert np.abs(drawn - np.asarray(row.image)).mean() < 1  # another version of the painter's library may round
        assert row.pixels.shape == (3, LARGE.size, LARGE.size)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_examples_are_known_pictures_under_known_noise(models, tiny_rows, family):
    model = models[family]
    examples = training_examples(model, tiny_rows[:3])
    again = training_examples(model, tiny_rows[1:3])
    for example in examples:
        assert example.sigma == pytest.approx(float(model.schedule.sigmas[example.timestep]))
        torch.testing.assert_close(example.x, example.x0 + example.sigma * example.noise)
        torch.testing.assert_close(example.predicted, (example.x - example.denoised) / example.sigma)
        if family == "sd1":  # predicts noise: the loss is its error
            assert example.loss == pytest.approx(float((example.predicted - example.noise).square().mean()), rel=1e-3)
    assert [e.timestep for e in examples[1:]] == [e.timestep for e in again], "a row's chance is its own"
    chosen = training_examples(model, tiny_rows[:2], timesteps=[10, 900])
    assert [example.timestep for example in chosen] == [10, 900]
    assert chosen[0].sigma < chosen[1].sigma


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_step_of_learning_lowers_the_loss_and_leaves_the_model(models, tiny_rows, family):
    model = models[family]
    before = {name: weight.clone() for name, weight in model.unet.state_dict().items()}
    step = learning_step(model, tiny_rows[:4], learning_rate=1e-4)
    assert step.loss_after < step.loss_before
    assert step.loss_before == pytest.approx(np.mean([example.loss for example in step.examples]), rel=1e-4)
    assert step.grad_norm == pytest.approx(math.sqrt(sum(value**2 for value in step.grad_norms.values())))
    assert list(step.grad_norms)[:2] == ["time_embedding", "conv_in"]
    assert all(0 < change < 0.1 for change in step.change_norms.values())
    assert step.parameters == sum(weight.numel() for weight in model.unet.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.unet.state_dict().items())
    assert all(weight.grad is None for weight in model.unet.parameters())


def test_too_little_memory_is_said(sd, tiny_rows, monkeypatch):
    monkeypatch.setattr("tintype.illustrate.learning.free_memory", lambda _: 1000)
    with pytest.raises(TintypeError, match="are free; nothing of it is shown"):
        learning_step(sd, tiny_rows[:2])


def test_pictures_and_captions_begin_to_agree(sd, tiny_rows):
    before = {name: weight.clone() for name, weight in sd.conditioner.towers[0].encoder.state_dict().items()}
    state = torch.random.get_rng_state()
    agreement = learn_to_agree(sd, tiny_rows[:8], steps=6)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert agreement.similarity.shape == (8, 8)
    assert agreement.loss < agreement.steps[0].loss
    first = agreement.image_features @ agreement.text_features.T
    torch.testing.assert_close(agreement.steps[0].similarity, first)
    assert set(agreement.steps[0].grad_norms) == {"image tower", "text tower", "temperature"}
    assert all(value > 0 for value in agreement.steps[0].grad_norms.values())
    own = sd.conditioner.towers[0].encoder.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in own.items())


def test_round_trip(sd):
    image = Image.linear_gradient("L").resize((72, 64)).convert("RGB")
    trip = round_trip(sd, image)
    assert trip.compression == 48
    assert trip.latents.shape == (4, 8, 9)
    difference = np.abs(np.asarray(trip.rebuilt, float) - np.asarray(image, float)) / 255
    np.testing.assert_allclose(trip.error.numpy(), difference.max(axis=2), atol=1e-5)
    assert trip.psnr == pytest.approx(-10 * math.log10(np.square(difference).mean()), abs=1e-3)


def test_the_forward_row(sd):
    latents = torch.linspace(-1, 1, 4 * 8 * 8).reshape(4, 8, 8)
    row = forward_row(sd, latents, [0.0, 1.0, 14.0], seed=3)
    assert torch.equal(row[0].x, latents)
    torch.testing.assert_close((row[1].x - latents) * 14, row[2].x - latents, rtol=1e-4, atol=1e-4)
    assert row[0].timestep < row[1].timestep < row[2].timestep
    assert row[2].image.size == (64, 64)


def test_the_forward_row_is_mapped_where_it_is_not_painted(models, rows):
    from tintype.illustrate import forward_row, round_trip
    from tintype.illustrate.figures import autoencoder

    sd = models["sd1"]
    trip = round_trip(sd, rows[0].image)
    clean, noisy = forward_row(sd, trip.latents, [0.0, 2.0], clean=trip.rebuilt, paint=False)
    assert clean.image is trip.rebuilt and clean.decoded and not noisy.decoded
    assert noisy.image.size == trip.image.size
    assert "linear map" in autoencoder.forward(trip, [clean, noisy]).caption
    painted = forward_row(sd, trip.latents, [0.0, 2.0], clean=trip.rebuilt)
    assert all(each.decoded for each in painted)
    assert "linear map" not in autoencoder.forward(trip, painted).caption
    assert (painted[1].x == noisy.x).all()
