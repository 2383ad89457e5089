"""The configuration files of a diffusers folder <-> our frozen configurations.

The files have many more keys than networks have shapes. Those that we do not compute must have the one value that we
do; those that we never heard of must be off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tintype.checkpoints.config_values import check_keys, check_values, integer, integers, number
from tintype.errors import CheckpointError
from tintype.models import AutoencoderConfig, UNetConfig

UNET, AUTOENCODER = "unet/config.json", "vae/config.json"

_UNET_ONLY = {
    "act_fn": ("silu",),
    "addition_embed_type": ("text_time", None),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dropout": (0.0,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
_UNET_SHAPE = {
    "addition_embed_type_num_heads",  # read by diffusers only for kinds of embedding that we refuse
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "in_channels",
    "layers_per_block",
    "norm_eps",
    "norm_num_groups",
    "out_channels",
    "projection_class_embeddings_input_dim",
    "sample_size",
    "transformer_layers_per_block",
    "time_cond_proj_dim",
    "time_embedding_dim",
    "up_block_types",
    "upcast_attention",  # a matter of precision, not of shape
    "use_linear_projection",
}

# A UNet without text: diffusers has another class for it.
_PLAIN_UNET_ONLY = {key: values for key, values in _UNET_ONLY.items() if key != "mid_block_type"} | {
    "add_attention": (False,),
    "downsample_type": ("conv",),
    "mid_block_type": ("UNetMidBlock2D",),
    "num_train_timesteps": (None,),
    "upsample_type": ("conv",),
}


def read_unet(config: Mapping[str, Any]) -> UNetConfig:
    """unet/config.json -> the shape of a UNet. CheckpointError for a network that ours is not."""
    if config.get("_class_name") == "UNet2DModel":
        return _read_plain_unet(config)
    check_values(UNET, config, {"_class_name": ("UNet2DConditionModel",)} | _UNET_ONLY)
    check_keys(UNET, config, _UNET_ONLY.keys() | _UNET_SHAPE)
    channels = integers(UNET, config, "block_out_channels", default=[320, 640, 1280, 1280])
    levels = len(channels)
    has_text = _levels_with_attention(config, levels)
    depth = integers(UNET, config, "transformer_layers_per_block", levels, default=1)
    context_dim = None
    if config.get("cross_attention_dim", 1280) is not None:
        context_dim = _same(UNET, config, "cross_attention_dim", levels, default=1280)
    vector_dim = None
    if config.get("addition_embed_type") == "text_time":
        vector_dim = integer(UNET, config, "projection_class_embeddings_input_dim")
    # The key's name is an old mistake that cannot be mended: it is the number of heads (diffusers #2011).
    num_heads = integers(UNET, config, "attention_head_dim", levels, default=8)
    if any(width % heads for width, heads in zip(channels, num_heads, strict=True)):
        raise CheckpointError(f"{UNET}: attention_head_dim {num_heads}, heads, do not divide the widths {channels}.")
    return UNetConfig(
        in_channels=integer(UNET, config, "in_channels", 4),
        out_channels=integer(UNET, config, "out_channels", 4),
        channels=channels,
        layers_per_block=_same(UNET, config, "layers_per_block", levels, default=2),
        transformer_depth=tuple(d if text else 0 for d, text in zip(depth, has_text, strict=True)),
        mid_depth=depth[-1],
        num_heads=num_heads,
        context_dim=context_dim,
        vector_dim=vector_dim,
        guidance_dim=_optional(config, "time_cond_proj_dim", least=4),
        linear_projections=bool(config.get("use_linear_projection")),
        norm_groups=integer(UNET, config, "norm_num_groups", 32),
        norm_eps=number(UNET, config, "norm_eps", 1e-5),
        time_embedding_dim=_optional(config, "time_embedding_dim"),
    )


def write_unet(config: UNetConfig, *, sample_size: int | None = None) -> dict[str, Any]:
    """The shape of a UNet -> unet/config.json.

    A UNet with transformers but without text is written with ``cross_attention_dim`` null, which diffusers itself
    cannot build. CheckpointError for a shape that the file has no words for.
    """
    if config.context_dim is None and not any((*config.transformer_depth, config.mid_depth)):
        return _write_plain_unet(config, sample_size)
    last = config.transformer_depth[-1]
    if not config.mid_depth or last not in (0, config.mid_depth):
        raise CheckpointError(
            f"A diffusers folder cannot hold a UNet with {config.mid_depth} transformer blocks in the middle and "
            f"{last} at the level above; both must be the same."
        )
    types = ["CrossAttn" if depth else "" for depth in config.transformer_depth]
    content = {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": _one_or_list(config.num_heads),
        "block_out_channels": list(config.channels),
        "center_input_sample": False,
        "cross_attention_dim": config.context_dim,
        "down_block_types": [f"{kind}DownBlock2D" for kind in types],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": config.in_channels,
        "layers_per_block": config.layers_per_block,
        "mid_block_scale_factor": 1,
        "norm_eps": config.norm_eps,
        "norm_num_groups": config.norm_groups,
        "out_channels": config.out_channels,
        "sample_size": sample_size,
        # Where a level has no transformer its number is not used, except by the middle, which takes the last.
        "transformer_layers_per_block": _one_or_list(
            (*(depth or 1 for depth in config.transformer_depth[:-1]), config.mid_depth)
        ),
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(types)],
        "use_linear_projection": config.linear_projections,
    }
    if config.guidance_dim is not None:
        content["time_cond_proj_dim"] = config.guidance_dim
    if config.time_embedding_dim is not None:
        content["time_embedding_dim"] = config.time_embedding_dim
    if config.vector_dim is not None:
        content |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": config.vector_dim,
        }
    return content


def _optional(config: Mapping[str, Any], key: str, least: int = 1) -> int | None:
    return None if config.get(key) is None else integer(UNET, config, key, least=least)


def _read_plain_unet(config: Mapping[str, Any]) -> UNetConfig:
    check_values(UNET, config, _PLAIN_UNET_ONLY)
    check_keys(UNET, config, _PLAIN_UNET_ONLY.keys() | _UNET_SHAPE | {"attn_norm_num_groups"})
    channels = integers(UNET, config, "block_out_channels")
    if config.get("add_attention", True) or any(_levels_with_attention(config, len(channels))):
        raise CheckpointError(f"{UNET}: a UNet2DModel with attention is not supported; expected add_attention false.")
    return UNetConfig(
        in_channels=integer(UNET, config, "in_channels"),
        out_channels=integer(UNET, config, "out_channels"),
        channels=channels,
        layers_per_block=integer(UNET, config, "layers_per_block", 2),
        transformer_depth=(0,) * len(channels),
        mid_depth=0,
        num_heads=(1,) * len(channels),
        context_dim=None,
        norm_groups=integer(UNET, config, "norm_num_groups", 32),
        norm_eps=number(UNET, config, "norm_eps", 1e-5),
    )


def _write_plain_unet(config: UNetConfig, sample_size: int | None) -> dict[str, Any]:
    levels = len(config.channels)
    return {
        "_class_name": "UNet2DModel",
        "add_attention": False,
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownBlock2D"] * levels,
        "in_channels": config.in_channels,
        "layers_per_block": config.layers_per_block,
        "norm_eps": config.norm_eps,
        "norm_num_groups": config.norm_groups,
        "out_channels": config.out_channels,
        "sample_size": sample_size,
        "up_block_types": ["UpBlock2D"] * levels,
    }


def _levels_with_attention(config: Mapping[str, Any], levels: int) -> list[bool]:
    """Which levels have transformers, from the names of their blocks."""
    down = config.get("down_block_types", ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"])
    up = config.get("up_block_types", ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3)
    for key, kinds, known in (
        ("down_block_types", down, ("DownBlock2D", "CrossAttnDownBlock2D")),
        ("up_block_types", up, ("UpBlock2D", "CrossAttnUpBlock2D")),
    ):
        if not isinstance(kinds, list) or len(kinds) != levels or any(kind not in known for kind in kinds):
            raise CheckpointError(
                f"{UNET}: {key} is {kinds!r}, which is not supported; expected {levels} of {' or '.join(known)}."
            )
    has_text = [kind == "CrossAttnDownBlock2D" for kind in down]
    if has_text[::-1] != [kind == "CrossAttnUpBlock2D" for kind in up]:
        raise CheckpointError(f"{UNET}: up_block_types {up!r} is not the mirror image of down_block_types {down!r}.")
    return has_text


_AUTOENCODER_ONLY = {
    "_class_name": ("AutoencoderKL",),
    "act_fn": ("silu",),
    "latents_mean": (None,),
    "latents_std": (None,),
    "mid_block_add_attention": (True,),
    "shift_factor": (None,),
    "use_post_quant_conv": (True,),
    "use_quant_conv": (True,),
}
_AUTOENCODER_SHAPE = {
    "block_out_channels",
    "down_block_types",
    "force_upcast",
    "in_channels",
    "latent_channels",
    "layers_per_block",
    "norm_num_groups",
    "out_channels",
    "sample_size",
    "scaling_factor",
    "up_block_types",
}


def read_autoencoder(config: Mapping[str, Any]) -> AutoencoderConfig:
    """vae/config.json -> the shape of an autoencoder. CheckpointError for a network that ours is not."""
    check_values(AUTOENCODER, config, _AUTOENCODER_ONLY)
    check_keys(AUTOENCODER, config, _AUTOENCODER_ONLY.keys() | _AUTOENCODER_SHAPE)
    channels = integers(AUTOENCODER, config, "block_out_channels")
    for key, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        check_values(AUTOENCODER, config, {key: ([kind] * len(channels),)})
    return AutoencoderConfig(
        in_channels=integer(AUTOENCODER, config, "in_channels", 3),
        out_channels=integer(AUTOENCODER, config, "out_channels", 3),
        latent_channels=integer(AUTOENCODER, config, "latent_channels", 4),
        channels=channels,
        layers_per_block=integer(AUTOENCODER, config, "layers_per_block", 1),
        norm_groups=integer(AUTOENCODER, config, "norm_num_groups", 32),
        # The files of SD 1 and 2 do not state it.
        scaling_factor=number(AUTOENCODER, config, "scaling_factor", 0.18215),
        force_upcast=bool(config.get("force_upcast")),
    )


def write_autoencoder(config: AutoencoderConfig, *, sample_size: int | None = None) -> dict[str, Any]:
    """The shape of an autoencoder -> vae/config.json."""
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": config.force_upcast,
        "in_channels": config.in_channels,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_groups,
        "out_channels": config.out_channels,
        "sample_size": sample_size,
        "scaling_factor": config.scaling_factor,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _same(file: str, config: Mapping[str, Any], key: str, levels: int, default: int) -> int:
    """One whole number, also where the file repeats it for each level."""
    values = integers(file, config, key, levels, default)
    if len(set(values)) != 1:
        raise CheckpointError(f"{file}: {key} is {config[key]!r}, which is not supported; expected one for all levels.")
    return values[0]


def _one_or_list(values: tuple[int, ...]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)
