"""What loaders fall into with files as they are found in the world: one test for each.

Each starts from a whole small SD 1 file in CompVis' names, spoils it as the world does, and loads it.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import tintype
from tests.unit.checkpoints.test_single_file import make
from tintype.checkpoints.convert import convert
from tintype.checkpoints.inspection import inspect
from tintype.checkpoints.single_file import load_single_file, save_single_file
from tintype.errors import CheckpointError
from tintype.layouts import diffusers as layouts
from tintype.layouts.tensor_files import open_tensors

TEXT = "cond_stage_model.transformer."
POSITIONS = f"{TEXT}text_model.embeddings.position_ids"


@pytest.fixture(scope="module")
def sd():
    model = make("SD 1")
    model.unet.float()
    model.conditioner.to(dtype=torch.float32)
    return model


@pytest.fixture
def tensors(sd, tmp_path):
    """The file as another program would have written it: without a record of ours."""
    save_single_file(sd, tmp_path / "ours.safetensors")
    return {name: tensor.clone() for name, tensor in open_tensors(tmp_path / "ours.safetensors").tensors()}


def same(found, expected):
    state = expected.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in found.state_dict().items())


def assert_loads(path, sd, **options):
    found = tintype.load(path, dtype=torch.float32, device="cpu", **options)
    assert same(found.unet, sd.unet) and same(found.autoencoder, sd.autoencoder)
    assert same(found.conditioner.towers[0].encoder, sd.conditioner.towers[0].encoder)
    return found


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float16])
def test_positions_as_rounded_numbers(sd, tensors, tmp_path, dtype):
    save_file(tensors | {POSITIONS: (torch.arange(77)[None] * 0.99).to(dtype)}, tmp_path / "m.safetensors")
    assert assert_loads(tmp_path / "m.safetensors", sd).notices == ()


def test_a_text_tower_without_its_wrapper(sd, tensors, tmp_path):
    flat = {name.replace(f"{TEXT}text_model.", TEXT): tensor for name, tensor in tensors.items()}
    assert flat.keys() != tensors.keys()
    save_file(flat | {f"{TEXT}embeddings.position_ids": torch.arange(77)[None].half()}, tmp_path / "m.safetensors")
    assert_loads(tmp_path / "m.safetensors", sd)


def test_projections_as_matrices(sd, tensors, tmp_path):
    """SD 1's are convolutions; found as matrices they are the same, and there are still eight heads."""
    ends = (".proj_in.weight", ".proj_out.weight")
    flat = {n: t.flatten(1) if n.startswith("model.") and n.endswith(ends) else t for n, t in tensors.items()}
    assert any(flat[name].ndim != tensors[name].ndim for name in flat)
    save_file(flat, tmp_path / "m.safetensors")
    found = tintype.load(tmp_path / "m.safetensors", dtype=torch.float32)
    assert found.unet.config.num_heads == (8, 8, 8, 8)
    settings = {"seed": 1, "steps": 1, "width": 64, "height": 64}
    save_file(tensors, tmp_path / "plain.safetensors")
    plain = tintype.load(tmp_path / "plain.safetensors", dtype=torch.float32)
    latents = [model.text2img("a red boat", **settings).latents for model in (found, plain)]
    torch.testing.assert_close(*latents)


def test_the_autoencoders_attention_as_matrices(sd, tensors, tmp_path):
    flat = {n: t.flatten(1) if ".attn_1." in n and t.ndim == 4 else t for n, t in tensors.items()}
    save_file(flat, tmp_path / "m.safetensors")
    assert_loads(tmp_path / "m.safetensors", sd)


def test_without_an_autoencoder_or_text(sd, tensors, tmp_path):
    bare = {name: tensor for name, tensor in tensors.items() if not name.startswith("first_stage_model.")}
    save_file(bare, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"without an autoencoder\. Give one: vae="):
        tintype.load(tmp_path / "m.safetensors")
    save_file({n: t for n, t in tensors.items() if not n.startswith(TEXT)}, tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match="without text encoder 1"):
        tintype.load(tmp_path / "t.safetensors")
    assert_loads(tmp_path / "m.safetensors", sd, vae=tmp_path / "ours.safetensors")  # out of a whole model


def autoencoder_file(sd, tensors, tmp_path, form):
    """An autoencoder by itself, in each of the ways in which they are handed round."""
    path = tmp_path / f"vae.{'ckpt' if form == 'lightning' else 'safetensors'}"
    start = "first_stage_model."
    bare = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    theirs = layouts.AUTOENCODER.to_theirs(sd.autoencoder.state_dict())
    if form == "lightning":  # with its training loss, as CompVis' trainer left it
        loss = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.zeros(4, 3, 4, 4)}
        torch.save({"state_dict": bare | loss, "epoch": 1}, path)
    elif form == "diffusers before 0.18":
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, older in old.items():
            theirs = {name.replace(f"attentions.0.{new}.", f"attentions.0.{older}."): t for name, t in theirs.items()}
        save_file(theirs, path)
    else:
        prefix = {"bare": "", "vae.": "vae.", "whole": start}.get(form, "")
        save_file(theirs if form == "diffusers" else {prefix + name: t for name, t in bare.items()}, path)
    return path


@pytest.mark.parametrize("form", ["bare", "vae.", "whole", "lightning", "diffusers", "diffusers before 0.18"])
def test_autoencoders_by_themselves(sd, tensors, tmp_path, form):
    path = autoencoder_file(sd, tensors, tmp_path, form)
    report = inspect(path)
    assert report.what.startswith("an autoencoder") and "vae=" in report.why_not and not report.unknown
    save_file({n: t for n, t in tensors.items() if not n.startswith("first_")}, tmp_path / "without.safetensors")
    assert_loads(tmp_path / "without.safetensors", sd, vae=path)
    other = {name: torch.zeros_like(t) if name.startswith("first_") else t for name, t in tensors.items()}
    save_file(other, tmp_path / "other.safetensors")
    found = assert_loads(tmp_path / "other.safetensors", sd, vae=path)
    assert found.autoencoder.config.scaling_factor == 0.18215


def test_each_tensor_in_another_precision(sd, tensors, tmp_path):
    """fp32, fp16, bf16 and both of fp8 in one file; ``convert`` keeps each bit of each."""
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
    mixed = {name: t.to(kinds[i % len(kinds)]) for i, (name, t) in enumerate(sorted(tensors.items()))}
    save_file(mixed, tmp_path / "m.safetensors")
    assert set(inspect(tmp_path / "m.safetensors").parts[0].precisions) == {
        *("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    }
    found = tintype.load(tmp_path / "m.safetensors", dtype=torch.float32)
    assert {parameter.dtype for parameter in found.unet.parameters()} == {torch.float32}
    assert torch.isfinite(found.text2img("a red boat", seed=1, steps=1, width=64, height=64).latents).all()
    convert(tmp_path / "m.safetensors", tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "again.safetensors")
    again = dict(open_tensors(tmp_path / "again.safetensors").tensors())
    assert again.keys() == mixed.keys()
    for name, tensor in mixed.items():
        assert again[name].dtype == tensor.dtype, name
        assert torch.equal(again[name].view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


def test_a_pickle_in_disguise(sd, tensors, tmp_path):
    torch.save(tensors, tmp_path / "m.safetensors")
    found = assert_loads(tmp_path / "m.safetensors", sd)
    assert "pickle in spite of its name" in found.notices[0]
    assert found.notices[0] in found.text2img("a boat", seed=1).notices
    save_file(tensors, tmp_path / "m.ckpt")  # and the other way round
    assert assert_loads(tmp_path / "m.ckpt", sd).notices == ()


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("as_zip", [True, False])
def test_state_dicts_in_state_dicts(sd, tensors, tmp_path, depth, as_zip):
    content = tensors
    for level in range(depth):
        content = {"state_dict": content, "epoch": level}
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=as_zip)
    assert_loads(tmp_path / "m.ckpt", sd)


def test_callbacks_of_a_trainer_that_is_not_installed(sd, tensors, tmp_path, monkeypatch):
    """What a training with PyTorch Lightning leaves beside the weights: objects of its own classes."""
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = sys.modules[names[-1]]
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    callback = module.ModelCheckpoint()
    callback.best_model_score = torch.tensor(0.5)
    content = {"callbacks": {module.ModelCheckpoint: {"best": callback}}, "lr_schedulers": [callback]}
    torch.save(content | {"state_dict": tensors, "global_step": 7}, tmp_path / "m.ckpt")
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    assert_loads(tmp_path / "m.ckpt", sd)
    assert inspect(tmp_path / "m.ckpt").metadata["global_step"] == "7"
    assert "pytorch_lightning" not in str(list(sys.modules))


def test_strangers_are_left_out_and_told(sd, tensors, tmp_path):
    more = {f"my.strange.{i}": torch.zeros(1) for i in range(5)} | {"betas": torch.zeros(1000)}
    save_file(tensors | more, tmp_path / "m.safetensors")
    (notice,) = assert_loads(tmp_path / "m.safetensors", sd).notices
    assert "my.strange.0" in notice and "2 more" in notice and "betas" not in notice


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.decoder.", TEXT + "text_model."])
def test_a_stranger_within_a_network_is_an_error(tensors, tmp_path, part):
    save_file(tensors | {f"{part}extra.weight": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"1 unknown: .*extra\.weight"):
        tintype.load(tmp_path / "m.safetensors")


def test_marks_of_v_prediction(tensors, tmp_path):
    """NoobAI and others mark their files by empty tensors."""
    save_file(tensors | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "m.safetensors")
    found = tintype.load(tmp_path / "m.safetensors")
    assert found.schedule.prediction == "v" and found.schedule.zero_terminal_snr and found.notices == ()
    assert tintype.load(tmp_path / "m.safetensors", zero_terminal_snr=False).schedule.zero_terminal_snr is False
    save_file(tensors, tmp_path / "n.safetensors", {"modelspec.prediction_type": "sample"})
    assert tintype.load(tmp_path / "n.safetensors").schedule.prediction == "x0"


def test_the_autoencoder_of_an_sdxl_file_stays_fp32_in_fp16(tmp_path):
    save_single_file(make("SDXL"), tmp_path / "m.safetensors")
    found = load_single_file(tmp_path / "m.safetensors", dtype=torch.float16)
    assert found.dtype == torch.float16 and found.autoencoder.quant_conv.weight.dtype == torch.float32
    half = load_single_file(tmp_path / "m.safetensors", dtype=torch.bfloat16)
    assert half.autoencoder.quant_conv.weight.dtype == torch.bfloat16


def test_parts_of_a_folder_are_named(sd, tmp_path):
    save_file(layouts.UNET.to_theirs(sd.unet.state_dict()), tmp_path / "unet.safetensors")
    with pytest.raises(CheckpointError, match="UNet of a diffusers folder by itself; load the folder"):
        tintype.load(tmp_path / "unet.safetensors")
    encoder = replace(sd.conditioner.towers[0]).encoder
    save_file(layouts.TEXT_ENCODER.to_theirs(encoder.state_dict()), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="CLIP by itself"):
        tintype.load(tmp_path / "model.safetensors")
