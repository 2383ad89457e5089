"""Configuration files: what the published ones say, both ways, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tintype.checkpoints import clip_configs, configs
from tintype.errors import CheckpointError
from tintype.models import AutoencoderConfig, ImageEncoderConfig, TextEncoderConfig
from tintype.models.presets import SD1_AUTOENCODER, SD1_TEXT, SD1_UNET, SD2_UNET, SDXL_UNET

# As published with Stable Diffusion 1.5 (diffusers 0.6.0), word for word.
SD1_UNET_FILE = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
SDXL_CHANGES = {
    "addition_embed_type": "text_time",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "cross_attention_norm": None,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "upcast_attention": None,
    "use_linear_projection": True,
}
VAE_FILE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TEXT_FILE = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": 49408,
}


def test_published_files_of_sd1():
    assert configs.read_unet(SD1_UNET_FILE) == SD1_UNET
    assert configs.read_autoencoder(VAE_FILE) == SD1_AUTOENCODER  # its scaling factor is not in the file
    assert clip_configs.read_text_encoder(TEXT_FILE, end_id=49407) == SD1_TEXT  # eos_token_id 2 never was true


def test_sdxl_unet():
    assert configs.read_unet(SD1_UNET_FILE | SDXL_CHANGES) == SDXL_UNET


@pytest.mark.parametrize(
    "config",
    [
        SD1_UNET,
        SDXL_UNET,
        SD2_UNET,
        replace(SD1_UNET, guidance_dim=256),
        replace(SD1_UNET, time_embedding_dim=512),
        replace(SD1_UNET, channels=(32, 64), transformer_depth=(0, 1), num_heads=(4, 4), layers_per_block=1),
        replace(SD1_UNET, context_dim=None, transformer_depth=(0,) * 4, mid_depth=0, num_heads=(1,) * 4),
        replace(SD1_UNET, context_dim=None),
    ],
    ids=["sd1", "sdxl", "sd2", "lcm", "time", "small", "plain", "without text"],
)
def test_unets_return(config):
    assert configs.read_unet(configs.write_unet(config, sample_size=64)) == config


def test_towers_and_autoencoders_return():
    autoencoder = AutoencoderConfig(channels=(32, 64), norm_groups=8, scaling_factor=0.5, force_upcast=True)
    assert configs.read_autoencoder(configs.write_autoencoder(autoencoder)) == autoencoder
    for text in (SD1_TEXT, TextEncoderConfig(vocab_size=1024, dim=256, num_heads=4, end_id=1023, projection_dim=64)):
        file = clip_configs.write_text_encoder(text, start_id=0, pad_id=1)
        assert clip_configs.read_text_encoder(file, text.end_id) == text
    for image in (ImageEncoderConfig(), ImageEncoderConfig(projection_dim=None)):
        assert clip_configs.read_image_encoder(clip_configs.write_image_encoder(image)) == image


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("down_block_types", ["AttnDownBlock2D"] * 4),
        ("down_block_types", ["CrossAttnDownBlock2D"] * 3),
        ("down_block_types", "CrossAttnDownBlock2D"),
        ("up_block_types", ["CrossAttnUpBlock2D"] * 4),
        ("class_embed_type", "timestep"),
        ("num_class_embeds", 10),
        ("time_cond_proj_dim", "256"),
        ("encoder_hid_dim", 4096),
        ("only_cross_attention", True),
        ("num_attention_heads", 8),
        ("addition_embed_type", "image"),
        ("resnet_time_scale_shift", "scale_shift"),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
        ("layers_per_block", [1, 2, 2, 2]),
        ("transformer_layers_per_block", [[1], [1], [1], [1]]),
        ("attention_head_dim", "8"),
        ("attention_head_dim", 0),
        ("attention_head_dim", 7),
        ("block_out_channels", []),
        ("block_out_channels", [320] * 100),
        ("block_out_channels", [10**12]),
        ("norm_eps", "small"),
        ("in_channels", None),
        ("_class_name", "UNet3DConditionModel"),
        ("a_new_kind_of_attention", "fast"),
    ],
)
def test_refusals_name_key_and_value(key, value):
    with pytest.raises(CheckpointError, match=key):
        configs.read_unet(SD1_UNET_FILE | {key: value})


def test_new_keys_that_are_off_do_no_harm():
    assert configs.read_unet(SD1_UNET_FILE | {"a_new_kind_of_attention": None, "another": False}) == SD1_UNET


@pytest.mark.parametrize(("key", "value"), [("shift_factor", 0.1), ("use_quant_conv", False), ("scaling_factor", 0)])
def test_autoencoders_that_are_refused(key, value):
    with pytest.raises(CheckpointError, match=key):
        configs.read_autoencoder(VAE_FILE | {key: value})


@pytest.mark.parametrize(("key", "value"), [("hidden_act", "relu"), ("architectures", ["T5EncoderModel"])])
def test_text_encoders_that_are_refused(key, value):
    with pytest.raises(CheckpointError, match=key):
        clip_configs.read_text_encoder(TEXT_FILE | {key: value}, end_id=49407)


def test_shapes_that_a_folder_has_no_words_for():
    with pytest.raises(CheckpointError, match="both must be the same"):
        configs.write_unet(replace(SD1_UNET, transformer_depth=(1, 1, 1, 2), mid_depth=1))
