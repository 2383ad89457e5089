"""A LoRA from a folder of pictures: it learns, others read it, it continues bit-exactly, it goes without a trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from tests.parity.test_families import difference, make
from tests.parity.test_lora import outputs
from tests.training.lessons import coloured, taught
from tintype.adapters import load_lora
from tintype.checkpoints.folder import load_folder
from tintype.errors import TrainingError
from tintype.training.draws import Draw
from tintype.training.lora import LoraLesson
from tintype.training.memory import checkpointed
from tintype.training.recipes import LORAS
from tintype.training.state import load_newest_state

RECIPE = replace(LORAS["tiny"], pictures=16, batch_size=4, size=64, lr=1e-2, seed=3)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def model(family):
        """(diffusers' pipeline, ours), of one tiny random model."""
        if family not in made:
            folder = tmp_path_factory.mktemp("model")
            made[family] = make(family, folder), load_folder(folder / "model")
        return made[family]

    return model


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), "red house")


def learn(sd, source, folder, recipe=RECIPE, stop_at=None):
    """(losses, the lesson), saved."""
    lesson = LoraLesson(sd, source, recipe, folder)
    return taught(lesson, stop_at), lesson


def drawn(sd, **changes):
    return sd.text2img("a red house", seed=1, steps=3, width=64, height=64, **changes).latents


def test_it_overfits_four_pictures_and_goes_without_a_trace(models, source, tmp_path):
    _, sd = models("SD 1")
    sd.unet.requires_grad_(True)
    before, weights = drawn(sd), {k: v.clone() for k, v in sd.unet.state_dict().items()}
    recipe = replace(RECIPE, pictures=160, text_encoder=True, convolutions=True, caption_dropout=0.0)
    losses, _ = learn(sd, source, tmp_path, recipe)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert torch.equal(drawn(sd), before)
    assert all(torch.equal(weights[k], v) for k, v in sd.unet.state_dict().items())
    assert all(p.requires_grad for p in sd.unet.parameters())
    taught = drawn(sd, loras=[(str(tmp_path / "lora.safetensors"), 1.0)])
    assert difference(taught, before) > 1e-2
    assert torch.equal(drawn(sd), before)


@pytest.mark.parametrize(("family", "text"), [("SD 1", True), ("SD 1", False), ("SDXL", False)])
def test_both_files_are_read_by_diffusers_and_by_us(models, source, tmp_path, family, text):
    pipeline, sd = models(family)
    recipe = replace(RECIPE, text_encoder=text, convolutions=family == "SD 1")
    learn(sd, source, tmp_path, recipe)
    bare = outputs(pipeline, sd)
    for name in ("lora.safetensors", "pytorch_lora_weights.safetensors"):
        attached = sd.attach(tmp_path / name)
        assert not attached.report.unmatched
        pipeline.load_lora_weights(tmp_path, weight_name=name)
        try:
            found = outputs(pipeline, sd)
        finally:
            pipeline.unload_lora_weights()
            attached.detach()
        for (theirs, ours), (_, plain) in list(zip(found, bare, strict=True))[: 2 if text else 1]:
            assert difference(ours, theirs) <= 1e-4
            assert difference(plain, theirs) > 1e-3


def test_files_say_what_they_are(models, source, tmp_path):
    _, sd = models("SDXL")
    learn(sd, source, tmp_path)
    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        said = file.metadata()
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("4", "4")
    assert said["ss_base_model_version"] == "sdxl_base_v1-0"
    assert said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert "a red house number 2" in said["ss_tag_frequency"]
    assert load_lora(tmp_path / "lora.safetensors").family == "SDXL"


def test_continues_bit_exactly(models, source, tmp_path):
    _, sd = models("SD 1")
    recipe = replace(RECIPE, pictures=24, ema=0.9, flip=True, crops=2, offset_noise=0.1, weighting="min_snr")
    whole, _ = learn(sd, source, tmp_path / "whole", recipe)
    begun, _ = learn(sd, source, tmp_path / "parts", recipe, stop_at=8)
    continued, _ = learn(sd, source, tmp_path / "parts", recipe)
    assert len(begun) == 2 and begun + continued == whole
    one, two = (load_newest_state(tmp_path / name) for name in ("whole", "parts"))
    assert one is not None and two is not None
    assert {"model", "ema", "optimizer"} == set(one.tensors)
    for group, tensors in one.tensors.items():
        assert all(torch.equal(tensor, two.tensors[group][name]) for name, tensor in tensors.items())
    files = [(tmp_path / name / "lora.safetensors").read_bytes() for name in ("whole", "parts")]
    assert len(files[0]) == len(files[1])


def test_a_model_in_half_precision_is_taught(models, source, tmp_path):
    make("SD 1", tmp_path)
    half = load_folder(tmp_path / "model", dtype=torch.bfloat16)
    losses, lesson = learn(half, source, tmp_path / "run", replace(RECIPE, text_encoder=True))
    assert len(losses) == 4 and half.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in lesson.lora.parameters())
    assert any(up.abs().max() > 0 for up in lesson.lora.up.values())


def test_a_folder_is_of_one_lora(models, source, tmp_path):
    _, sd = models("SD 1")
    learn(sd, source, tmp_path)
    with pytest.raises(TrainingError, match="rank was 4 and is 2"):
        learn(sd, source, tmp_path, replace(RECIPE, rank=2))
    inpainting = models("inpainting")[1]
    with pytest.raises(TrainingError, match="repaints masks"):
        LoraLesson(inpainting, source, RECIPE, tmp_path / "other")


def test_stored_features_are_those_of_the_words(models, source, tmp_path):
    for family in ("SD 1", "SDXL"):
        _, sd = models(family)
        with LoraLesson(sd, source, replace(RECIPE, caption_dropout=0.4), tmp_path / family) as lesson:
            list(lesson.prepare())
            task = lesson.training().task
            for part in task.batch([Draw(0, epoch, index) for epoch in range(5) for index in range(4)]):
                stored, fresh = task._told(part), lesson.words(part.captions, part.sizes)
                assert part.features is not None and len(set(part.captions)) > 1
                for one, two in ((stored.context, fresh.context), (stored.vector, fresh.vector)):
                    assert (one is None) == (two is None)
                    if one is not None and two is not None:
                        torch.testing.assert_close(one, two, atol=0.02, rtol=0.01)


def test_checkpointing_changes_memory_and_nothing_else(models, source, tmp_path):
    _, sd = models("SDXL")
    with LoraLesson(sd, source, RECIPE, tmp_path) as lesson:
        list(lesson.prepare())
        task = lesson.training().task
        batch = task.batch([Draw(0, 0, index) for index in range(4)])
        with torch.no_grad():
            for up in lesson.lora.up.values():
                up.normal_(std=0.1)

        def gradients():
            lesson.lora.zero_grad()
            loss, _ = task.loss(batch)
            loss.backward()
            return loss, [p.grad.clone() for p in lesson.lora.parameters() if p.grad is not None]

        loss, plain = gradients()
        with checkpointed(sd.unet):
            again, remembered = gradients()
    assert torch.equal(loss, again) and len(plain) == len(list(lesson.lora.parameters()))
    assert all(torch.allclose(a, b, atol=1e-7, rtol=1e-5) for a, b in zip(plain, remembered, strict=True))
    assert not any("forward" in vars(module) for module in sd.unet.modules())
