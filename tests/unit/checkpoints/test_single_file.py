"""Single files: every family from folder to file and back, files of others, what is missing, inspection."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import tintype
from tintype.checkpoints.convert import convert
from tintype.checkpoints.families import SD1, SD2, SDXL
from tintype.checkpoints.folder import load_folder, save_folder
from tintype.checkpoints.inspection import inspect
from tintype.checkpoints.single_file import load_autoencoder_file, load_single_file, save_single_file
from tintype.cli import app
from tintype.errors import CheckpointError
from tintype.layouts import ldm
from tintype.models import Autoencoder, AutoencoderConfig, TextEncoder, UNet, UNetConfig
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.tokenizer import Tokenizer

UNETS = {
    "SD 1": UNetConfig(channels=(32, 64, 64, 64), context_dim=64),
    "SD 2": UNetConfig(channels=(32, 64, 64, 64), num_heads=(1, 1, 1, 1), context_dim=1024, linear_projections=True),
    "SDXL": UNetConfig(
        channels=(32, 64, 64),
        transformer_depth=(0, 1, 2),
        mid_depth=2,
        num_heads=(1, 1, 1),
        context_dim=128,
        vector_dim=64 + 1536,
        linear_projections=True,
    ),
}
UNETS["inpainting"] = replace(UNETS["SD 1"], in_channels=9)
UNETS["LCM"] = replace(UNETS["SD 1"], guidance_dim=32)
KINDS = {"SD 1": SD1, "SD 2": SD2, "SDXL": SDXL, "inpainting": SD1, "LCM": SD1}


def make(kind):
    """A small relative of the family, with CLIP's own tokenizer except for SD 2, whose width makes it large."""
    torch.manual_seed(0)
    family, unet = KINDS[kind], UNETS[kind]
    tokenizers, encoders = [], []
    for tower in family.towers:
        tokenizer = Tokenizer.train(["a red boat"]) if kind == "SD 2" else Tokenizer.clip(tower.pad)
        width = 1024 if kind == "SD 2" else 64
        config = replace(
            tower.encoder,
            vocab_size=len(tokenizer),
            dim=width,
            num_layers=2,
            num_heads=width // 64,
            mlp_dim=64,
            end_id=tokenizer.end,
            projection_dim=width if tower.pooled else None,
        )
        tokenizers.append(tokenizer)
        encoders.append(TextEncoder(config).to(torch.float16))
    vae = AutoencoderConfig(
        channels=(32, 32, 32, 32),
        layers_per_block=1,
        scaling_factor=family.autoencoder.scaling_factor,
        force_upcast=family.autoencoder.force_upcast,
    )
    return StableDiffusion(
        UNet(unet).to(torch.bfloat16),
        Autoencoder(vae),
        family.conditioner(tokenizers, encoders),
        family.schedule,
        name="tiny",
        defaults=family.defaults,
    )


@pytest.fixture(scope="module")
def models():
    made = {}
    return lambda kind: made.setdefault(kind, None) or made.__setitem__(kind, make(kind)) or made[kind]


def weights(folder):
    return {
        f"{file.relative_to(folder)} {name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("kind", UNETS)
def test_there_and_back(models, kind, tmp_path):
    """Folder -> file -> folder -> file, through ``convert``: identical tensors, mixed precisions kept."""
    save_folder(models(kind), tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "file.safetensors")
    convert(tmp_path / "file.safetensors", tmp_path / "back")
    convert(tmp_path / "back", tmp_path / "again.safetensors")
    before = weights(tmp_path / "folder")
    assert {str(tensor.dtype) for tensor in before.values()} == {"torch.bfloat16", "torch.float32", "torch.float16"}
    assert_equal(weights(tmp_path / "back"), before)
    assert_equal(load_file(tmp_path / "again.safetensors"), load_file(tmp_path / "file.safetensors"))
    for name in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"):
        assert (tmp_path / "back" / name).read_text() == (tmp_path / "folder" / name).read_text(), name


@pytest.mark.parametrize("kind", UNETS)
def test_a_file_draws_as_its_folder(models, kind, tmp_path):
    save_folder(models(kind), tmp_path / "folder")
    save_single_file(models(kind), tmp_path / "file.safetensors")
    settings = {"seed": 1, "steps": 2, "width": 64, "height": 64}
    one, other = (
        tintype.load(place, dtype=torch.float32).text2img("a red boat", **settings).latents
        for place in (tmp_path / "folder", tmp_path / "file.safetensors")
    )
    assert torch.equal(one, other)


def test_the_box_survives(tmp_path):
    """Folder -> single file -> folder, and it draws the same."""
    convert(None, tmp_path / "box.safetensors")
    convert(tmp_path / "box.safetensors", tmp_path / "box")
    pictures = [
        np.asarray(tintype.load(place).text2img("paradise cosmic beach", seed=7, steps=4).images[0])
        for place in (None, tmp_path / "box.safetensors", tmp_path / "box")
    ]
    assert np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[0], pictures[2])
    words = tintype.load(tmp_path / "box.safetensors").text2img("an astronaut", seed=1).notices
    assert "astronaut" in words[0]


@pytest.fixture
def foreign(models, tmp_path):
    """A file as another program leaves it: no record of ours, more in it than weights; as a dictionary."""
    family = replace(UNETS["SD 1"])
    sd = models("SD 1")
    assert sd.unet.config == family
    save_single_file(sd, tmp_path / "ours.safetensors", dtype=torch.float32)
    tensors = load_file(tmp_path / "ours.safetensors")
    positions = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    return tensors | {positions: torch.arange(77)[None], "betas": torch.zeros(1000), "model_ema.decay": torch.ones(())}


def same_unet(sd, models, offset=0.0):
    ours, theirs = sd.unet.state_dict(), models("SD 1").unet.state_dict()
    return all(torch.allclose(ours[name], tensor.float() + offset) for name, tensor in theirs.items())


def test_a_foreign_file(foreign, models, tmp_path):
    save_file(foreign, tmp_path / "model.safetensors")
    sd = load_single_file(tmp_path / "model.safetensors")
    assert same_unet(sd, models) and sd.name == "model" and sd.schedule.prediction == "eps"
    assert sd.source == tmp_path / "model.safetensors"
    assert sd.defaults == SD1.defaults and sd.schedule == SD1.schedule
    assert sd.conditioner.towers[0].tokenizer.encode("a red boat") == [320, 736, 4440]
    forced = load_single_file(tmp_path / "model.safetensors", prediction="v", zero_terminal_snr=True)
    assert forced.schedule.prediction == "v" and forced.schedule.zero_terminal_snr
    with pytest.raises(CheckpointError, match="zero terminal SNR needs"):
        load_single_file(tmp_path / "model.safetensors", zero_terminal_snr=True)


def test_an_old_ckpt(foreign, models, tmp_path):
    """As CompVis' trainer saved it: under state_dict, beside counters; read without running anything."""
    torch.save({"state_dict": foreign, "epoch": 3, "global_step": 470_000}, tmp_path / "model.ckpt")
    assert same_unet(tintype.load(tmp_path / "model.ckpt", dtype=torch.float32), models)
    assert inspect(tmp_path / "model.ckpt").form.startswith("pickle")


def test_names_without_text_model(foreign, models, tmp_path):
    save_file({name.replace(".text_model.", "."): t for name, t in foreign.items()}, tmp_path / "model.safetensors")
    assert same_unet(load_single_file(tmp_path / "model.safetensors"), models)


def test_averaged_weights(foreign, models, tmp_path):
    unet = {name: tensor for name, tensor in foreign.items() if name.startswith(ldm.UNET_PREFIX)}
    save_file(foreign | {ldm.ema_name(name): t + 1 for name, t in unet.items()}, tmp_path / "model.safetensors")
    assert same_unet(load_single_file(tmp_path / "model.safetensors"), models)
    assert same_unet(load_single_file(tmp_path / "model.safetensors", ema=True), models, offset=1.0)
    save_file(foreign, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        load_single_file(tmp_path / "plain.safetensors", ema=True)


def test_a_separate_autoencoder(foreign, tmp_path):
    without = {name: t for name, t in foreign.items() if not name.startswith("first_stage_model.")}
    vae = {n.removeprefix("first_stage_model."): t for n, t in foreign.items() if n.startswith("first_stage_model.")}
    save_file(without, tmp_path / "model.safetensors")
    save_file(vae | {"loss.logvar": torch.zeros(())}, tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match=r"without an autoencoder.*vae="):
        tintype.load(tmp_path / "model.safetensors")
    sd = tintype.load(tmp_path / "model.safetensors", vae=tmp_path / "vae.safetensors", dtype=torch.float32)
    assert torch.equal(sd.autoencoder.quant_conv.weight, vae["quant_conv.weight"])
    assert sd.autoencoder.config.scaling_factor == 0.18215
    assert load_autoencoder_file(tmp_path / "vae.safetensors", like="SDXL").config.scaling_factor == 0.13025


def test_no_text_encoder(foreign, tmp_path):
    save_file({n: t for n, t in foreign.items() if not n.startswith("cond_stage_model.")}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="without text encoder 1"):
        load_single_file(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("offset", "kind", "other"), [(-2.0, "v", "eps"), (0.0, "eps", "v")])
def test_a_guess_is_said(models, tmp_path, offset, kind, other):
    """SD 2 is asked itself, by one call, and what it is taken for is told."""
    save_single_file(models("SD 2"), tmp_path / "ours.safetensors", dtype=torch.float32)
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        record = json.loads(file.metadata()["tintype"])
    del record["scheduler"], record["defaults"]
    tensors = load_file(tmp_path / "ours.safetensors")
    tensors["model.diffusion_model.out.2.bias"] += offset
    save_file(tensors, tmp_path / "f.safetensors", {"tintype": json.dumps(record)})
    sd = load_single_file(tmp_path / "f.safetensors")
    assert sd.schedule.prediction == kind and "guess" in sd.notices[0] and f'prediction="{other}"' in sd.notices[0]
    assert sd.defaults.width == {"v": 768, "eps": 512}[kind]
    assert sd.text2img("a red boat", seed=1).notices[0] == sd.notices[0]
    assert load_single_file(tmp_path / "f.safetensors", prediction="eps").notices == ()
    convert(tmp_path / "f.safetensors", tmp_path / "folder")
    assert load_folder(tmp_path / "folder").schedule.prediction == kind


def test_nothing_is_overwritten_or_half_written(models, tmp_path):
    place = tmp_path / "file.safetensors"
    place.write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="there already"):
        save_single_file(models("SD 1"), place)
    assert place.read_bytes() == b"mine"
    save_single_file(models("SD 1"), place, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]
    with pytest.raises(CheckpointError, match="pickles can run code"):
        convert(place, tmp_path / "old.ckpt")


def test_a_record_cannot_write_elsewhere(models, tmp_path):
    save_single_file(models("SD 2"), tmp_path / "ours.safetensors")
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        record = json.loads(file.metadata()["tintype"])
    record["tokenizers"] = [{"../escaped": "text"}]
    save_file(load_file(tmp_path / "ours.safetensors"), tmp_path / "f.safetensors", {"tintype": json.dumps(record)})
    with pytest.raises(CheckpointError, match="could lie anywhere"):
        load_single_file(tmp_path / "f.safetensors")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_commands(models, foreign, tmp_path):
    save_single_file(models("inpainting"), tmp_path / "inpaint.safetensors")
    assert run("convert", tmp_path / "inpaint.safetensors", tmp_path / "folder", "--dtype", "float16").exit_code == 0
    assert load_folder(tmp_path / "folder", dtype=None).dtype == torch.float16
    told = run("inspect", tmp_path / "inpaint.safetensors").stdout
    assert "SD 1 inpainting" in told and "│ loads  " in told and "parameters" in told
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "word.safetensors")
    save_file({"lora_unet_mid.lora_up.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    save_file({n: t for n, t in foreign.items() if "first_stage" in n}, tmp_path / "vae.safetensors")
    for name, what in {"word": "textual inversion", "lora": "LoRA", "vae": "autoencoder"}.items():
        report = json.loads(run("inspect", "--json", tmp_path / f"{name}.safetensors").stdout)
        assert what in report["what"] and not report["loads"] and report["why_not"]
    assert json.loads(run("inspect", "--json", tmp_path / "folder").stdout)["family"] == "SD 1"


def test_inspection_counts():
    report = inspect(tintype.checkpoints.load.BOX)
    counts = {part.name: part.parameters for part in report.parts}
    sd = tintype.load()
    assert counts["UNet"] == sum(p.numel() for p in sd.unet.parameters())
    assert report.loads and report.prediction == "v" and report.parts[0].precisions == ("bfloat16",)
