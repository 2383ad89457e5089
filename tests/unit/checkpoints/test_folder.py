"""Folders: what is saved is loaded, and what cannot be loaded says why."""

from __future__ import annotations

import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from tintype.checkpoints.folder import load_folder, save_folder
from tintype.checkpoints.load import load, native_dtype
from tintype.checkpoints.parts import load_unet, save_unet
from tintype.errors import CheckpointError


def assert_same_weights(before: torch.nn.Module, after: torch.nn.Module) -> None:
    ours, theirs = before.state_dict(), after.state_dict()
    for name, tensor in theirs.items():
        assert torch.equal(tensor, ours[name]), name
    assert {name for name in ours if name not in theirs} <= {"projection.weight"}


def edit(path, **changes) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def test_everything_returns(tiny, folder):
    sd = load(folder, device="cpu", dtype=torch.float32)
    assert_same_weights(tiny.unet, sd.unet)
    assert_same_weights(tiny.autoencoder, sd.autoencoder)
    (before,), (after,) = tiny.conditioner.towers, sd.conditioner.towers
    assert_same_weights(before.encoder, after.encoder)
    assert after.encoder.projection is None and before.encoder.projection is not None
    assert after.tokenizer.vocabulary == before.tokenizer.vocabulary
    assert (sd.schedule.prediction, sd.schedule.sampler) == ("v", "ddim")
    torch.testing.assert_close(sd.schedule.sigmas, tiny.schedule.sigmas)
    assert sd.unet.config == tiny.unet.config and sd.autoencoder.config == tiny.autoencoder.config
    assert sd.defaults == tiny.defaults and sd.name == "model"
    assert sd.conditioner.vocabulary == tiny.conditioner.vocabulary
    assert not any(parameter.requires_grad for parameter in sd.unet.parameters())


def test_saving_what_was_loaded_gives_the_same_files(folder, tmp_path):
    save_folder(load_folder(folder), tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 14
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes(), file


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision(tiny, tmp_path, dtype):
    save_folder(tiny, tmp_path / "half", dtype=dtype, variant="fp16")
    assert load_file(tmp_path / "half/unet/diffusion_pytorch_model.fp16.safetensors")["conv_in.weight"].dtype == dtype
    stored = load_folder(tmp_path / "half", dtype=dtype, variant="fp16")
    assert stored.dtype == dtype
    full = load_folder(tmp_path / "half", variant="fp16")
    assert full.dtype == torch.float32
    assert torch.equal(full.unet.conv_in.weight, tiny.unet.conv_in.weight.to(dtype).float())
    with pytest.raises(CheckpointError, match="variant='fp16'"):
        load_folder(tmp_path / "half")


def test_shards(tiny, tmp_path):
    save_folder(tiny, tmp_path / "shards", max_shard_bytes=50_000)
    assert len(list((tmp_path / "shards" / "unet").glob("*.safetensors"))) > 1
    assert_same_weights(tiny.unet, load_folder(tmp_path / "shards").unet)


def test_weights_are_views_of_the_file(folder):
    """Changing a loaded weight changes neither the file nor another load of it."""
    first, second = load_unet(folder / "unet"), load_unet(folder / "unet")
    before = second.conv_in.weight.clone()
    first.conv_in.weight.data.add_(1)
    assert torch.equal(second.conv_in.weight, before)
    assert torch.equal(load_unet(folder / "unet").conv_in.weight, before)


def test_saving_over_a_folder(tiny, folder):
    (folder / "README.md").write_text("a card")
    with pytest.raises(CheckpointError, match="overwrite"):
        save_folder(tiny, folder)
    mapped = load_folder(folder)
    save_folder(mapped, folder, overwrite=True)  # onto the very files that it is a view of
    assert (folder / "README.md").read_text() == "a card"
    assert_same_weights(tiny.unet, load_folder(folder).unet)
    assert_same_weights(tiny.unet, mapped.unet)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert stat.S_IMODE((folder / "unet/diffusion_pytorch_model.safetensors").stat().st_mode) == 0o644


def test_interrupted_saving_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tintype.checkpoints.parts.write_weights", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_folder(tiny, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", ["missing", "unknown", "another shape", "no weights", "no config", "no file"])
def test_damage_is_one_error_that_names_it(folder, part, damage):
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    name = sorted(tensors)[3]
    match damage:
        case "missing":
            del tensors[name]
        case "unknown":
            name = "surprise.weight"
            tensors[name] = torch.zeros(2)
        case "another shape":
            tensors[name] = torch.zeros(3, 1, 4)
        case "no weights":
            tensors[name] = tensors[name].to(torch.int32)
    save_file(tensors, file)
    if damage == "no config":
        (folder / part / "config.json").unlink()
        name, damage = "config.json", "missing"
    if damage == "no file":
        file.unlink()
        name, damage = file.name, "missing"
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder)
    assert name in str(caught.value) and damage in str(caught.value)


def test_all_problems_stand_in_one_message(folder):
    (file,) = (folder / "unet").glob("*.safetensors")
    tensors = load_file(file)
    save_file({"other." + name: tensor for name, tensor in tensors.items()}, file)
    with pytest.raises(CheckpointError, match=r"missing: .* and \d+ more; \d+ unknown: ") as caught:
        load_folder(folder)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, "text_encoder_2"),
        ("model_index.json", {"unet": None}, "no unet"),
        ("model_index.json", {"unet": ["diffusers", "SD3Transformer2DModel"]}, "SD3Transformer2DModel"),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderTiny"]}, "AutoencoderTiny"),
        ("unet/config.json", {"cross_attention_dim": 24}, "expected"),
        ("unet/config.json", {"norm_num_groups": 7}, "cannot be built"),
        ("vae/config.json", {"latent_channels": 8}, "expected"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "flow"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchScheduler"}, "FlowMatchScheduler"),
        ("tintype.json", {"defaults": {"colour": 3}}, "colour"),
        ("tintype.json", {"defaults": {"steps": "many"}}, "steps"),
        ("vocabulary.json", {"words": None}, "vocabulary.json"),
    ],
)
def test_refusals(folder, part, changes, message):
    edit(folder / part, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_folder(folder)


@pytest.mark.parametrize("content", ["", "[]", "nul", "[" * 100_000, '{"a": "' + "x" * 2_000_000 + '"}'])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_configurations_that_are_none(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=file):
        load_folder(folder)


def test_pickles_are_read_where_there_is_nothing_else(tiny, folder):
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        (file,) = (folder / part).glob("*.safetensors")
        torch.save(load_file(file), folder / part / f"{name}.bin")
        file.unlink()
    again = load_folder(folder)
    assert_same_weights(tiny.unet, again.unet)
    (ours,), (theirs,) = again.conditioner.towers, tiny.conditioner.towers
    state = theirs.encoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.encoder.state_dict().items())


@pytest.mark.parametrize(("channels", "expected"), [(8, "InstructPix2Pix"), (5, "takes 5 channels")])
def test_unets_with_other_inputs_are_named(tiny, folder, channels, expected):
    config = tiny.unet.config
    wide = type(tiny.unet)(type(config)(**{**vars(config), "in_channels": channels}))
    save_unet(wide, folder / "unet")
    with pytest.raises(CheckpointError, match=expected):
        load_folder(folder)


def test_load_options(tiny, folder, tmp_path):
    assert load(folder, prediction="eps").schedule.prediction == "eps"
    with pytest.raises(CheckpointError, match="prediction='flow'"):
        load(folder, prediction="flow")
    for vae in (folder, folder / "vae"):
        assert_same_weights(tiny.autoencoder, load(folder, vae=vae, dtype=torch.float32).autoencoder)
    with pytest.raises(CheckpointError, match="ema"):
        load(folder, ema=True)
    with pytest.raises(CheckpointError, match="revision"):
        load(folder, revision="main")
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="Hub"):
        load("owner/name")
    with pytest.raises(CheckpointError, match="UNet of a diffusers folder by itself"):
        load(folder / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match="There is no"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_bf16_only_where_the_processor_has_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert native_dtype(torch.device("cpu")) == dtype


def test_model_draws_the_same_after_a_round_trip(tiny, folder):
    settings = {"seed": 3, "width": 64, "height": 64, "steps": 2}
    before = tiny.text2img("a red boat", **settings).latents
    again = load(folder, device="cpu", dtype=torch.float32).text2img("a red boat", **settings).latents
    assert torch.equal(again, before)
