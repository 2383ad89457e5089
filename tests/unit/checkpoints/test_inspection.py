"""``tintype inspect``: every kind of file, as large as published, told rightly and within a second."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.unit.checkpoints import full_size
from tests.unit.checkpoints.test_detect import header, scalar
from tintype.checkpoints.families import SD1, SD2, SDXL
from tintype.checkpoints.inspection import inspect
from tintype.checkpoints.load import BOX, load
from tintype.cli import app
from tintype.errors import CheckpointError
from tintype.layouts import ldm
from tintype.layouts.dtypes import DTYPES
from tintype.layouts.safetensors_reader import TensorInfo

SECONDS = 1.0  # of this process: tests run beside each other

REFINER = replace(
    SDXL.unet,
    channels=(384, 768, 1536, 1536),
    transformer_depth=(0, 4, 4, 0),
    mid_depth=4,
    num_heads=(6, 12, 24, 24),
    context_dim=1280,
    vector_dim=2560,
)
KOHYA = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_network_module": "networks.lora",
    "ss_steps": "2000",
    "ss_learning_rate": "0.0001",
    "ss_training_finished_at": "1700000000.5",
    "ss_clip_skip": "None",
    "ss_tag_frequency": json.dumps({"10_cat": {"cat": 40, " sofa": 7}, "5_dog": {"sofa": 3}}),
}


def float16(*shape):
    return TensorInfo(shape, DTYPES["float16"])


def timed(path):
    begin = time.process_time()
    report = inspect(path)
    elapsed = time.process_time() - begin
    print(f"{path.name}: {report.bytes / 1e9:.2f} GB, {1000 * elapsed:.0f} ms, {report.what}")
    assert elapsed < SECONDS
    return report


def test_sd1(tmp_path):
    report = timed(full_size.safetensors(tmp_path / "v1-5.safetensors", header(SD1), {"modelspec.title": "SD 1.5"}))
    assert report.what == report.family == "SD 1" and report.loads and report.form == "safetensors"
    assert (report.prediction, report.evidence) == ("eps", "SD 1 models predict eps")
    counts = {part.name: (part.parameters, part.tensors) for part in report.parts}
    assert counts == {
        "UNet": (859_520_964, 686),
        "autoencoder": (83_653_863, 248),
        "text encoder": (123_060_480, 196),
    }
    assert report.bytes > 2_000_000_000 and report.parts[0].bytes == 2 * 859_520_964
    assert report.metadata == {"modelspec.title": "SD 1.5"} and report.unknown == ()


def test_an_old_ckpt_with_averages(tmp_path):
    infos = header(SD1, parts=("unet",))
    infos |= {ldm.ema_name(name): info for name, info in infos.items()}
    report = timed(full_size.ckpt(tmp_path / "sd-v1-4-full-ema.ckpt", infos | {"strange": float16(3)}))
    assert report.form == "pickle (read without running it)" and not report.loads
    assert [part.name for part in report.parts] == ["UNet", "UNet, averaged"]
    assert "text encoder 1" in report.why_not and "autoencoder (give one as vae=)" in report.why_not
    assert report.unknown == ("strange",) and report.metadata == {"global_step": "470000"}
    whole = timed(full_size.ckpt(tmp_path / "v1-4.ckpt", header(SD1)))
    assert whole.loads and whole.parts[0].parameters == 859_520_964


def test_sd2_v(tmp_path):
    report = timed(full_size.safetensors(tmp_path / "v2-1_768-v.safetensors", header(SD2)))
    assert report.family == "SD 2" and report.prediction == "v" and "a guess" in report.evidence
    told = {"modelspec.prediction_type": "v"}
    report = timed(full_size.safetensors(tmp_path / "told.safetensors", header(SD2), told))
    assert report.prediction == "v" and "modelspec.prediction_type is 'v'" in report.evidence
    assert {part.name: part.parameters for part in report.parts}["UNet"] == 865_910_724


def test_sdxl(tmp_path):
    infos = header(SDXL) | {"v_pred": scalar(), "ztsnr": scalar()}
    report = timed(full_size.safetensors(tmp_path / "xl.safetensors", infos))
    assert report.family == "SDXL" and report.loads and report.bytes > 6_900_000_000
    assert (report.prediction, report.evidence) == ("v, zero terminal SNR", "the key v_pred (and ztsnr)")
    counts = {part.name: part.parameters for part in report.parts}
    assert counts["UNet"] == 2_567_463_684 and counts["text encoder 2"] == 694_659_840
    assert counts["text encoder 1"] == 123_060_480


@pytest.mark.parametrize(
    ("unet", "what", "why"),
    [
        (replace(SD1.unet, in_channels=9), "SD 1 inpainting", None),
        (replace(SD1.unet, guidance_dim=256), "SD 1 LCM", None),
        (replace(SD1.unet, in_channels=8), "SD 1 for editing (InstructPix2Pix)", "8 channels"),
        (REFINER, "an SDXL refiner", "Refiners are not supported"),
    ],
)
def test_other_unets(tmp_path, unet, what, why):
    family = SDXL if unet is REFINER else SD1
    parts = ("unet", "vae") if unet is REFINER else ("unet", "vae", "text")
    path = full_size.safetensors(tmp_path / "model.safetensors", header(family, unet=unet, parts=parts))
    report = timed(path)
    assert report.what == what and report.loads == (why is None)
    if why is not None:
        assert why in report.why_not
        with pytest.raises(CheckpointError, match=why):  # before a weight is read
            load(path)


def test_autoencoders(tmp_path):
    infos = header(SD1, parts=("vae",))
    bare = {name.removeprefix("first_stage_model."): info for name, info in infos.items()}
    report = timed(full_size.safetensors(tmp_path / "vae-ft-mse.safetensors", bare))
    assert report.what == "an autoencoder" and "vae=" in report.why_not
    assert report.parts[0].parameters == 83_653_863


@pytest.mark.parametrize("form", ["kohya", "peft", "LyCORIS"])
def test_loras(tmp_path, form):
    infos, metadata = {}, {}
    for index in range(700):  # about as many as SDXL's have
        if form == "kohya":
            layer = f"lora_unet_output_blocks_0_1_transformer_blocks_{index}_attn2_to_k"
            infos |= {f"{layer}.lora_down.weight": float16(32, 2048), f"{layer}.lora_up.weight": float16(1280, 32)}
            infos[f"{layer}.alpha"] = float16()
            metadata = KOHYA
        elif form == "peft":
            layer = f"unet.down_blocks.1.attentions.0.transformer_blocks.{index}.attn2.to_k"
            infos |= {f"{layer}.lora_A.weight": float16(8, 768), f"{layer}.lora_B.weight": float16(320, 8)}
        else:
            layer = f"lora_te_text_model_encoder_layers_{index}_mlp_fc1"
            infos |= {f"{layer}.hada_w{n}_a": float16(3072, 4) for n in (1, 2)}
            infos |= {f"{layer}.hada_w{n}_b": float16(4, 768) for n in (1, 2)}
            infos[f"{layer}.alpha"] = float16()
    report = timed(full_size.safetensors(tmp_path / "lora.safetensors", infos, metadata))
    details = report.details
    expected = {
        "kohya": ("SDXL", "LoRA", "32", "700 layers of the UNet"),
        "peft": ("SD 1", "LoRA", "8", "700 layers of the UNet"),
        "LyCORIS": (None, "LoHa", "4", "700 layers of the text encoder"),
    }[form]
    assert (report.family, details["adapter"], details["rank"], details["changes"]) == expected
    assert not report.loads and "--lora" in report.why_not
    assert details["alpha"] == ("not stated: the rank" if form == "peft" else "0")
    if form == "kohya":
        assert details["trained"] == "base sdxl_base_v1-0, by networks.lora, learning rate 0.0001, steps 2000"
        assert details["finished"] == "2023-11-14" and details["words"] == "cat (40x), sofa (10x)"


def test_loras_that_cannot_be_used_are_told_too(tmp_path):
    up, down = {"lora_unet_mid.lora_up.weight": torch.ones(4, 2)}, {"lora_unet_mid.lora_down.weight": torch.ones(2, 4)}
    for more, why in (({}, "damaged"), (down | {"lora_unet_mid.dora_scale": torch.ones(4, 1)}, "DoRA")):
        save_file(up | more, tmp_path / "lora.safetensors")
        report = inspect(tmp_path / "lora.safetensors")
        assert "a LoRA" in report.what and why in report.why_not


def test_embeddings(tmp_path):
    save_file({"clip_l": torch.ones(4, 768), "clip_g": torch.ones(4, 1280)}, tmp_path / "xl.safetensors")
    content = {"string_to_param": {"*": {"TORCHTENSOR": torch.ones(2, 768).tolist()}}}
    info = PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(content).encode()).decode())
    Image.new("RGB", (8, 8)).save(tmp_path / "style.png", pnginfo=info)
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 1024)}}, tmp_path / "two.pt")
    expected = {
        "xl.safetensors": ("SDXL", "4, 768 and 1280 wide", "xl"),
        "style.png": ("SD 1", "2, 768 wide", "style"),
        "two.pt": ("SD 2", "2, 1024 wide", "two"),
    }
    for name, told in expected.items():
        report = timed(tmp_path / name)
        assert (report.family, report.details["vectors"], report.details["word"]) == told
        assert "textual inversion" in report.what and "prompt" in report.why_not
        assert told[1] in shown(tmp_path / name)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert "a picture that does not say how it was made" in shown(tmp_path / "plain.png")


def test_controlnet_and_strangers(tmp_path):
    control = {f"control_model.input_blocks.{i}.0.weight": float16(320, 320, 3, 3) for i in range(400)}
    report = timed(full_size.safetensors(tmp_path / "control.safetensors", control))
    assert report.what == "a ControlNet" and not report.loads
    flux = {f"double_blocks.{i}.img_attn.qkv.weight": float16(9216, 3072) for i in range(19)}
    assert timed(full_size.safetensors(tmp_path / "flux.safetensors", flux)).what == "a Flux model"
    other = timed(full_size.safetensors(tmp_path / "other.safetensors", {"bert.weight": float16(4, 8)}))
    assert other.what == "of no known kind" and other.unknown == ("bert.weight",)


def test_folders(tmp_path):
    report = timed(BOX)
    assert report.form == "folder" and report.loads and report.details == {"made for": "StableDiffusionPipeline"}
    assert report.what == "SD 1, of another size"
    with pytest.raises(CheckpointError, match="model_index"):
        inspect(tmp_path)


def shown(*arguments):
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_what_is_shown(tmp_path):
    infos = header(SD1, parts=("unet", "text"))
    path = full_size.safetensors(tmp_path / "v1-5.safetensors", infos, {"note": "x" * 500, "lines": "a\n\nb"})
    told = shown(path)
    for words in ("v1-5.safetensors", "SD 1", "859,520,964", "1.72 GB", "float16", "does not load", "It lacks", "a b"):
        assert words in told
    assert all(len(line) <= 100 for line in told.splitlines())
    known = json.loads(shown(path, "--json"))
    assert known["metadata"]["note"] == "x" * 500 and known["parts"][0]["tensors"] == 686
