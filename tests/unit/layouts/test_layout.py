"""Name tables: every name of diffusers and transformers, both ways, and what single files will need."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tintype.errors import CheckpointError
from tintype.layouts import diffusers as tables
from tintype.layouts.layout import Layout
from tintype.models import (
    CLIP,
    Autoencoder,
    ImageEncoder,
    ImageEncoderConfig,
    TextEncoder,
    TextEncoderConfig,
    UNet,
    UNetConfig,
)
from tintype.models.presets import SD1_AUTOENCODER, SD1_TEXT, SD1_UNET

SMALL_UNET = UNetConfig(
    channels=(128, 256, 256),
    layers_per_block=1,
    transformer_depth=(0, 1, 1),
    num_heads=(4, 4, 4),
    context_dim=256,
)
SMALL = {"dim": 256, "num_layers": 4, "num_heads": 4, "mlp_dim": 1024, "projection_dim": 256}
SMALL_TEXT = TextEncoderConfig(vocab_size=1024, end_id=1023, **SMALL)
SMALL_IMAGE = ImageEncoderConfig(image_size=128, patch_size=16, **SMALL)
SDXL_UNET = replace(
    SD1_UNET,
    channels=(320, 640, 1280),
    transformer_depth=(0, 2, 10),
    mid_depth=10,
    num_heads=(5, 10, 20),
    context_dim=2048,
    vector_dim=2816,
)


def our_shapes(network_type, *configs) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return network_type(*configs).state_dict()


NETWORKS = {
    "unet": (tables.UNET, our_shapes(UNet, SD1_UNET)),
    "small unet": (tables.UNET, our_shapes(UNet, SMALL_UNET)),
    "sdxl unet": (tables.UNET_LINEAR, our_shapes(UNet, SDXL_UNET)),
    "autoencoder": (tables.AUTOENCODER, our_shapes(Autoencoder, SD1_AUTOENCODER)),
    "text": (tables.TEXT_ENCODER, our_shapes(TextEncoder, replace(SD1_TEXT, projection_dim=768))),
    "image": (tables.IMAGE_ENCODER, our_shapes(ImageEncoder, SMALL_IMAGE)),
    "clip": (tables.CLIP, our_shapes(CLIP, SMALL_TEXT, SMALL_IMAGE)),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_names_and_shapes_return(network):
    layout, ours = NETWORKS[network]
    theirs = layout.to_theirs(ours)
    assert len(theirs) == len(ours)
    back = layout.to_ours(theirs)
    assert {name: t.shape for name, t in back.items()} == {name: t.shape for name, t in ours.items()}
    for name in ours:
        assert layout.their_name(name) in theirs


@pytest.mark.parametrize("network", NETWORKS)
def test_names_and_shapes_are_those_of_the_reference(network):
    import diffusers
    import transformers

    small_text = {"vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 1024}
    small_image = {"image_size": 128, "patch_size": 16, "hidden_size": 256, "num_hidden_layers": 4}
    small_image |= {"intermediate_size": 1024, "num_attention_heads": 4}
    small_text |= {"num_attention_heads": 4, "projection_dim": 256}
    three = {"block_out_channels": (128, 256, 256), "layers_per_block": 1, "cross_attention_dim": 256}
    three |= {"attention_head_dim": 4, "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 2)}
    three |= {"up_block_types": (*["CrossAttnUpBlock2D"] * 2, "UpBlock2D")}
    sdxl = three | {
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    vae = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    vae |= {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    text, vision, clip = transformers.CLIPTextConfig, transformers.CLIPVisionConfig, transformers.CLIPConfig
    makers = {
        "unet": lambda: diffusers.UNet2DConditionModel(cross_attention_dim=768),
        "small unet": lambda: diffusers.UNet2DConditionModel(**three),
        "sdxl unet": lambda: diffusers.UNet2DConditionModel(**sdxl),
        "autoencoder": lambda: diffusers.AutoencoderKL(**vae),
        "text": lambda: transformers.CLIPTextModelWithProjection(
            text(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768)
        ),
        "image": lambda: transformers.CLIPVisionModelWithProjection(vision(**small_image, projection_dim=256)),
        "clip": lambda: transformers.CLIPModel(
            clip(text_config=small_text, vision_config=small_image, projection_dim=256)
        ),
    }
    layout, ours = NETWORKS[network]
    with torch.device("meta"):
        reference = makers[network]().state_dict()
    expected = {name: t.shape for name, t in reference.items() if not name.endswith("position_ids")}
    assert {name: t.shape for name, t in layout.to_theirs(ours).items()} == expected


def test_older_names_are_read():
    layout, ours = NETWORKS["autoencoder"]
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    theirs = {}
    for name, tensor in layout.to_theirs(ours).items():
        for newer, old in older.items():
            name = name.replace(f"attentions.0.{newer}.", f"attentions.0.{old}.")
        theirs[name] = tensor
    assert any("proj_attn" in name for name in theirs)
    assert layout.to_ours(theirs).keys() == ours.keys()


def test_text_tower_with_and_without_wrapper_and_position_ids():
    layout, ours = NETWORKS["text"]
    wrapped = layout.to_theirs(ours)
    flat = {name.removeprefix("text_model."): tensor for name, tensor in wrapped.items()}
    positions = torch.empty(1, 77, dtype=torch.float16)  # as merged files have it
    assert layout.to_ours(flat | {"embeddings.position_ids": positions}).keys() == ours.keys()
    assert layout.to_ours(wrapped | {"text_model.embeddings.position_ids": positions}).keys() == ours.keys()
    with pytest.raises(CheckpointError, match="same one"):
        layout.to_ours(wrapped | flat)


def test_projections_are_read_in_either_shape():
    layout, ours = NETWORKS["unet"]
    assert tables.UNET.to_theirs(ours)["mid_block.attentions.0.proj_in.weight"].shape == (1280, 1280, 1, 1)
    linear = tables.UNET_LINEAR.to_theirs(ours)
    assert linear["mid_block.attentions.0.proj_in.weight"].shape == (1280, 1280)
    assert layout.to_ours(linear)["mid.attentions.0.proj_in.weight"].shape == (1280, 1280)


def test_tables_can_say_what_single_files_need():
    """Prefix, reversed levels, packed q|k|v, transposed and convolution matrices; other networks' names left alone."""
    layout = Layout(
        name="single file",
        prefix="first.",
        renames=(("up.0", "up.3"), ("up.3", "up.0"), ("attn.to_qkv", "attn.in_proj"), ("projection.weight", "proj")),
        packed=(("to_qkv", ("to_q", "to_k", "to_v")),),
        transposed=("projection.weight",),
        convolutions=("place.weight",),
    )
    ours = {
        "up.0.weight": torch.randn(2),
        "up.3.weight": torch.randn(3),
        **{f"attn.to_{part}.{kind}": torch.randn(4, *more) for part in "qkv" for kind, more in WEIGHT_AND_BIAS},
        "projection.weight": torch.randn(4, 5),
        "place.weight": torch.randn(4, 4),
    }
    theirs = layout.to_theirs(ours)
    assert theirs["first.up.3.weight"] is ours["up.0.weight"]
    assert theirs["first.attn.in_proj.weight"].shape == (12, 4) and theirs["first.attn.in_proj.bias"].shape == (12,)
    assert theirs["first.proj"].shape == (5, 4) and theirs["first.place.weight"].shape == (4, 4, 1, 1)
    back = layout.to_ours(theirs | {"second.weight": torch.randn(1)})
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


WEIGHT_AND_BIAS = (("weight", (4,)), ("bias", ()))
