"""Single files: our tables against diffusers' own conversions of the same names."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers.loaders import single_file_utils

from tintype.checkpoints import configs
from tintype.layouts import diffusers as layouts
from tintype.layouts import ldm
from tintype.models import Autoencoder, TextEncoder, UNet, presets


def numbered(network):
    """Our network's names with tensors of the right shapes that can all be told apart. Big ones as a view."""
    return {
        name: torch.full((1,) * tensor.ndim, float(i)).expand(tensor.shape)
        for i, (name, tensor) in enumerate(network.state_dict().items())
    }


def on_meta(build):
    with torch.device("meta"):
        return build()


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape, name
        assert found[name].flatten()[0] == tensor.flatten()[0], name


UNETS = {"SD 1": presets.SD1_UNET, "SD 2": presets.SD2_UNET, "SDXL": presets.SDXL_UNET}


@pytest.mark.parametrize("family", UNETS)
def test_unet(family):
    config = UNETS[family]
    ours = numbered(on_meta(lambda: UNet(config)))
    table = ldm.unet_layout(
        config.transformer_depth, config.layers_per_block, config.mid_depth, linear=config.linear_projections
    )
    theirs = table.to_theirs(ours)
    same(table.to_ours(theirs), ours)
    converted = single_file_utils.convert_ldm_unet_checkpoint(dict(theirs), configs.write_unet(config))
    folder = layouts.UNET_LINEAR if config.linear_projections else layouts.UNET
    same(converted, folder.to_theirs(ours))
    assert len(theirs) == {"SD 1": 686, "SD 2": 686, "SDXL": 1680}[family]


def test_autoencoder():
    config = presets.SD1_AUTOENCODER
    ours = numbered(on_meta(lambda: Autoencoder(config)))
    table = ldm.autoencoder_layout(len(config.channels), config.layers_per_block)
    theirs = table.to_theirs(ours)
    same(table.to_ours(theirs), ours)
    assert theirs["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
    converted = single_file_utils.convert_ldm_vae_checkpoint(dict(theirs), configs.write_autoencoder(config))
    same(converted, layouts.AUTOENCODER.to_theirs(ours))


@pytest.mark.parametrize("family", ["SD 2", "SDXL"])
def test_open_clip(family):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = presets.SD2_TEXT if family == "SD 2" else presets.SDXL_TEXT_2
    ours = numbered(on_meta(lambda: TextEncoder(config)))
    prefix = ldm.SD2_TEXT_PREFIX if family == "SD 2" else ldm.SDXL_TEXT_PREFIXES[1]
    table = ldm.open_clip_layout(prefix, dropped_layer=23 if family == "SD 2" else None)
    theirs = table.to_theirs(ours)
    same(table.to_ours(theirs), ours)
    packed = theirs[f"{prefix}transformer.resblocks.0.attn.in_proj_weight"]
    assert packed.shape == (3 * config.dim, config.dim)
    kind = CLIPTextModel if family == "SD 2" else CLIPTextModelWithProjection
    stated = CLIPTextConfig(
        hidden_size=config.dim,
        intermediate_size=config.mlp_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        projection_dim=config.dim,
    )
    model = on_meta(lambda: kind(stated))
    whole = dict(theirs)
    if family == "SD 2":  # what a real file has beside them, and nobody uses
        dropped = [name for name in theirs if ".resblocks.22." in name]
        whole |= {name.replace(".22.", ".23."): theirs[name] for name in dropped}
        whole |= {f"{prefix}text_projection": torch.zeros(1024, 1024), f"{prefix}logit_scale": torch.zeros(())}
        same(table.to_ours(whole), ours)
    converted = single_file_utils.convert_open_clip_checkpoint(model, whole, prefix=prefix)

    def bare(tensors):
        return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}

    found, expected = bare(converted), bare(layouts.TEXT_ENCODER.to_theirs(ours))
    same({name: found[name] for name in expected}, expected)


def test_names_of_the_average():
    name = "model.diffusion_model.input_blocks.0.0.weight"
    assert ldm.ema_name(name) == "model_ema.diffusion_modelinput_blocks00weight"


def test_the_published_names_are_json(tmp_path):
    """A spot check of names as they stand in the world's files."""
    config = presets.SD1_UNET
    table = ldm.unet_layout(config.transformer_depth, config.layers_per_block, config.mid_depth)
    names = [table.their_name(name) for name in on_meta(lambda: UNet(config)).state_dict()]
    for known in (
        "model.diffusion_model.output_blocks.11.0.skip_connection.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.bias",
    ):
        assert known in names
    assert json.dumps(names)
