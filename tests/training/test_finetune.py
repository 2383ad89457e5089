"""A fine-tuning from a folder of pictures: begins where the model is, learns, leaves a model for all programs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.parity.test_families import difference, make
from tests.training.lessons import coloured, taught
from tintype.adapters.textual_inversion import AttachedEmbedding
from tintype.checkpoints.folder import load_folder, save_folder
from tintype.errors import TrainingError
from tintype.text.vocabulary import Vocabulary
from tintype.training.finetune import FinetuneLesson
from tintype.training.recipes import FINETUNES
from tintype.training.state import load_newest_state
from tintype.types import Conditioning

RECIPE = replace(FINETUNES["tiny"], pictures=24, size=64, lr=1e-3, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make("SD 1", folder)
    return folder / "model"


@pytest.fixture
def sd(folder):
    return load_folder(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), "zeppelin")


def learn(sd, source, folder, recipe=RECIPE, stop_at=None):
    """(losses, the lesson), saved."""
    lesson = FinetuneLesson(sd, source, recipe, folder)
    return taught(lesson, stop_at), lesson


def drawn(sd):
    return sd.text2img("a zeppelin", seed=1, steps=3, width=64, height=64).latents


def test_it_begins_where_the_model_is_and_leaves_it_there(sd, source, tmp_path):
    before, weights = drawn(sd), {name: tensor.clone() for name, tensor in sd.unet.state_dict().items()}
    assert difference(drawn(FinetuneLesson(sd, source, RECIPE, tmp_path).painter), before) <= 1e-4
    losses, lesson = learn(sd, source, tmp_path, replace(RECIPE, pictures=200, caption_dropout=0.0))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert torch.equal(drawn(sd), before)
    assert all(torch.equal(weights[name], tensor) for name, tensor in sd.unet.state_dict().items())
    assert difference(drawn(lesson.painter), before) > 1e-2


def test_the_model_that_it_leaves_is_read_by_diffusers_and_by_us(sd, source, tmp_path):
    _, lesson = learn(sd, source, tmp_path, replace(RECIPE, ema=0.5))
    averaged = {name.removeprefix("unet."): tensor for name, tensor in lesson.trained().averaged().items()}
    ours = load_folder(tmp_path / "model")
    theirs = StableDiffusionPipeline.from_pretrained(tmp_path / "model").unet
    assert all(torch.equal(averaged[name], tensor) for name, tensor in ours.unet.state_dict().items())
    assert any(not torch.equal(averaged[name], tensor) for name, tensor in lesson.painter.unet.state_dict().items())
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(1, 4, 8, 8, generator=rng), torch.tensor([500])
    context = torch.randn(1, 77, sd.unet.config.context_dim, generator=rng)
    with torch.no_grad():
        assert (
            difference(ours.unet(x, t, Conditioning(context)), theirs(x, t, encoder_hidden_states=context).sample)
            <= 1e-4
        )
    for one, two in zip(ours.conditioner.towers, sd.conditioner.towers, strict=True):
        assert all(torch.equal(one.encoder.state_dict()[k], v) for k, v in two.encoder.state_dict().items())


@pytest.mark.parametrize("family", ["SD 1", "SDXL"])
def test_text_encoders_learn_where_asked_for(source, tmp_path, family):
    make(family, tmp_path)
    sd = load_folder(tmp_path / "model")
    before = [{k: v.clone() for k, v in tower.encoder.state_dict().items()} for tower in sd.conditioner.towers]
    _, lesson = learn(sd, source, tmp_path / "run", replace(RECIPE, text_encoder=True))
    learnt = load_folder(tmp_path / "run/model")
    towers = (model.conditioner.towers for model in (sd, lesson.painter, learnt))
    for tower, learning, new, old in zip(*towers, before, strict=True):
        assert all(torch.equal(tower.encoder.state_dict()[name], tensor) for name, tensor in old.items())
        found, saved = learning.encoder.state_dict(), new.encoder.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in saved.items())
        assert sum(not torch.equal(found[name], tensor) for name, tensor in old.items()) > 0.5 * len(old)
    assert difference(drawn(learnt), drawn(lesson.painter)) <= 1e-4
    with pytest.raises(TrainingError, match="text_encoder"):
        learn(sd, source, tmp_path / "run")


def test_an_attached_embedding_does_not_learn_along(sd, source, tmp_path):
    width = sd.unet.config.context_dim
    attached = AttachedEmbedding(sd.conditioner, "my-style", (torch.randn(2, width),))
    with pytest.raises(TrainingError, match=r"embeddings attached: my-style.*detach"):
        FinetuneLesson(sd, source, replace(RECIPE, text_encoder=True), tmp_path)
    FinetuneLesson(sd, source, RECIPE, tmp_path)
    attached.detach()
    FinetuneLesson(sd, source, replace(RECIPE, text_encoder=True), tmp_path)


@pytest.mark.parametrize("lean", [False, True])
def test_half_precision_learns_in_full(folder, source, tmp_path, lean):
    half = load_folder(folder, dtype=torch.bfloat16)
    if lean:
        save_folder(half, tmp_path / "half")
        half = load_folder(tmp_path / "half", dtype=torch.float32, lean=True)
    dtype = half.dtype
    _, lesson = learn(half, source, tmp_path / "run")
    assert all(p.dtype == torch.float32 and p.requires_grad for p in lesson.painter.unet.parameters())
    assert half.dtype == dtype
    weights = half.unet.state_dict()
    moved = [name for name, p in lesson.painter.unet.state_dict().items() if not torch.equal(p, weights[name].float())]
    assert len(moved) > 0.9 * len(weights)


def test_continues_bit_exactly(sd, source, tmp_path):
    recipe = replace(RECIPE, ema=0.9, flip=True, offset_noise=0.1, weighting="min_snr")
    whole, _ = learn(sd, source, tmp_path / "whole", recipe)
    begun, _ = learn(sd, source, tmp_path / "parts", recipe, stop_at=8)
    continued, _ = learn(sd, source, tmp_path / "parts", recipe)
    assert len(begun) == 2 and begun + continued == whole
    one, two = (load_newest_state(tmp_path / name) for name in ("whole", "parts"))
    assert one is not None and two is not None
    for group, tensors in one.tensors.items():
        assert all(torch.equal(tensor, two.tensors[group][name]) for name, tensor in tensors.items())


def test_it_knows_the_words_of_its_captions(sd, source, tmp_path):
    sd.conditioner.vocabulary = Vocabulary(("beach",), {"settings": ("beach",)})
    learn(sd, source, tmp_path)
    vocabulary = load_folder(tmp_path / "model").conditioner.vocabulary
    assert vocabulary is not None
    assert not vocabulary.notices("a zeppelin on a beach") and vocabulary.notices("a castle")
    assert vocabulary.attributes == {"settings": ("beach",)}
    assert sd.conditioner.vocabulary.words == ("beach",)


def test_a_folder_is_of_one_model_and_one_batch_size(sd, source, tmp_path):
    learn(sd, source, tmp_path)
    with pytest.raises(TrainingError, match="batch_size was 4 and is 2"):
        learn(sd, source, tmp_path, replace(RECIPE, batch_size=2))
    with torch.no_grad():
        sd.unet.conv_in.weight += 1
    with pytest.raises(TrainingError, match="model was"):
        learn(sd, source, tmp_path)
    with pytest.raises(TrainingError, match="Nothing was trained"):
        FinetuneLesson(sd, source, RECIPE, tmp_path / "other").save()
