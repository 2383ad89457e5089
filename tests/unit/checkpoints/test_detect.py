"""What a file is, from names and shapes alone: the published shapes of every family, and what is no model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tintype.checkpoints.detect import detect
from tintype.checkpoints.families import FAMILIES, SD1, SD2, SDXL
from tintype.checkpoints.single_file import _autoencoder_layout, _text_layout, _unet_layout
from tintype.errors import CheckpointError
from tintype.layouts import ldm
from tintype.layouts.dtypes import DTYPES
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.models import Autoencoder, TextEncoder, UNet


def header(family, *, unet=None, parts=("unet", "vae", "text")):
    """The names and shapes of a published file, made from the full-size networks without memory."""
    unet = unet or family.unet
    with torch.device("meta"):
        networks = []
        if "unet" in parts:
            networks.append((UNet(unet), _unet_layout(unet)))
        if "vae" in parts:
            networks.append(
                (Autoencoder(family.autoencoder), _autoencoder_layout(family.autoencoder, "first_stage_model."))
            )
        if "text" in parts:
            for index, tower in enumerate(family.towers):
                layout = _text_layout(family, index, tower.encoder.num_layers)
                networks.append((TextEncoder(tower.encoder), layout))
        tensors = {}
        for network, layout in networks:
            tensors |= layout.to_theirs(network.state_dict())
    if family is SD2 and "text" in parts:  # as published: one layer more than is used
        last = {name.replace(".22.", ".23."): t for name, t in tensors.items() if ".resblocks.22." in name}
        tensors |= last | {"cond_stage_model.model.text_projection": torch.empty(1024, 1024, device="meta")}
    return {name: TensorInfo(tuple(tensor.shape), DTYPES["float16"]) for name, tensor in tensors.items()}


def scalar():
    return TensorInfo((0,), DTYPES["float32"])


@pytest.mark.parametrize("name", FAMILIES)
def test_published_shapes(name):
    family = FAMILIES[name]
    found = detect(header(family), {})
    assert found.kind == "model" and found.refused is None and found.family is family
    assert found.unet == family.unet
    assert found.autoencoder == family.autoencoder
    assert found.texts == tuple(tower.encoder for tower in family.towers)
    assert found.unknown == () and not found.ema


@pytest.mark.parametrize("name", FAMILIES)
def test_inpainting(name):
    family = FAMILIES[name]
    found = detect(header(family, unet=replace(family.unet, in_channels=9)), {})
    assert found.refused is None and "inpainting" in found.what
    assert found.prediction.kind == "eps" and not found.prediction.guessed


def test_prediction():
    sd2, xl = header(SD2), header(SDXL)
    assert detect(sd2, {}).prediction.guessed and detect(sd2, {}).prediction.kind == "v"
    told = detect(sd2, {"modelspec.prediction_type": "epsilon"}).prediction
    assert told.kind == "eps" and not told.guessed and "modelspec" in told.evidence
    assert detect(xl, {}).prediction.kind == "eps"
    marked = detect(xl | {"v_pred": scalar(), "ztsnr": scalar()}, {})
    assert marked.prediction.kind == "v" and marked.prediction.zero_terminal_snr and marked.unknown == ()
    assert "v_pred" in marked.prediction.evidence
    assert detect(header(SD1), {"ss_v_parameterization": "True"}).prediction.kind == "v"


def test_what_lacks_and_what_is_more():
    infos = header(SD1, parts=("unet",))
    found = detect(infos, {})
    assert found.autoencoder is None and found.texts == (None,)
    infos |= {ldm.ema_name(name): info for name, info in infos.items()} | {"strange.thing": scalar(), "betas": scalar()}
    assert detect(infos, {}).ema and detect(infos, {}).unknown == ("strange.thing",)


def test_lcm():
    found = detect(header(SD1, unet=replace(SD1.unet, guidance_dim=256)), {})
    assert found.unet.guidance_dim == 256 and "LCM" in found.what


def test_the_width_of_the_time_embedding():
    assert detect(header(SD1), {}).unet.time_embedding_dim is None
    assert detect(header(SD1, unet=replace(SD1.unet, time_embedding_dim=512)), {}).unet.time_dim == 512


def test_what_is_refused_is_named():
    assert "InstructPix2Pix" in detect(header(SD1, unet=replace(SD1.unet, in_channels=8)), {}).refused
    assert "5 channels" in detect(header(SD1, unet=replace(SD1.unet, in_channels=5)), {}).refused
    refiner = replace(
        SDXL.unet,
        channels=(384, 768, 1536, 1536),
        transformer_depth=(0, 4, 4, 0),
        mid_depth=4,
        num_heads=(6, 12, 24, 24),
        context_dim=1280,
        vector_dim=2560,
    )
    assert "refiner" in detect(header(SDXL, unet=refiner, parts=("unet",)), {}).refused


@pytest.mark.parametrize(
    ("names", "kind", "expected"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"], "LoRA", "--lora"),
        (["unet.mid_block.attentions.0.proj_in.lora_A.weight"], "LoRA", "--lora"),
        (["lora_unet_mid.hada_w1_a"], "LoRA", "--lora"),
        (["emb_params"], "embedding", "its word"),
        (["clip_l", "clip_g"], "embedding", "its word"),
        (["control_model.input_hint_block.0.weight"], "unknown", "ControlNet"),
        (["double_blocks.0.img_attn.qkv.weight"], "unknown", "Flux"),
        (["model.diffusion_model.joint_blocks.0.x.weight"], "unknown", "Stable Diffusion 3"),
        (["bert.embeddings.weight"], "unknown", "other names"),
        ([], "unknown", "0 tensors"),
    ],
)
def test_no_models(names, kind, expected):
    found = detect({name: TensorInfo((4, 8), DTYPES["float32"]) for name in names}, {})
    assert found.kind == kind and expected in found.refused


def test_an_autoencoder_alone():
    for prefix in ("", "first_stage_model.", "vae."):
        infos = {
            prefix + name.removeprefix("first_stage_model."): info for name, info in header(SD1, parts=("vae",)).items()
        }
        found = detect(infos, {})
        assert found.kind == "autoencoder" and "vae=" in found.refused
        assert found.autoencoder == SD1.autoencoder and found.autoencoder_prefix == prefix


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model.diffusion_model.out.2.weight": (4,)}, "4 dimensions"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (0, 4, 3, 3)}, "input_blocks.0.0"),
        ({"model.diffusion_model.input_blocks.2.0.in_layers.0.weight": None}, "layers"),
    ],
)
def test_contradictions(change, expected):
    infos = header(SD1)
    for name, shape in change.items():
        if shape is None:
            infos = {key: info for key, info in infos.items() if not key.startswith(name.rsplit(".in_", 1)[0])}
        else:
            infos[name] = TensorInfo(shape, DTYPES["float32"])
    with pytest.raises(CheckpointError, match=expected):
        detect(infos, {})


@pytest.mark.parametrize("record", ["[", "[1]", '{"unet": 5}', '{"unet": {"width": 3}}', "[" * 100_000])
def test_damaged_records(record):
    with pytest.raises(CheckpointError, match=r"record|metadata"):
        detect(header(SD1), {"tintype": record})
