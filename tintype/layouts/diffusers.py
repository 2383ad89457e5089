"""The names of diffusers and transformers: what a folder of Stable Diffusion holds.

Read from the sources of diffusers 0.42 and transformers 5.23; the tests compare every name with theirs.
"""

from __future__ import annotations

from dataclasses import replace

from tintype.layouts.layout import Layout

UNET = Layout(
    name="diffusers UNet",
    renames=(
        ("down", "down_blocks"),
        ("mid", "mid_block"),
        ("up", "up_blocks"),
        ("downsample", "downsamplers.0"),
        ("upsample", "upsamplers.0"),
        ("time", "time_emb_proj"),
        ("shortcut", "conv_shortcut"),
        ("blocks", "transformer_blocks"),
        ("self_attention", "attn1"),
        ("cross_attention", "attn2"),
        ("to_out", "to_out.0"),
        ("feed_forward.up", "ff.net.0.proj"),
        ("feed_forward.down", "ff.net.2"),
        ("vector_embedding", "add_embedding"),
        ("guidance_embedding", "time_embedding.cond_proj"),
        ("norm_out", "conv_norm_out"),
    ),
    convolutions=("proj_in.weight", "proj_out.weight"),
)

UNET_LINEAR = replace(UNET, convolutions=())
"""As SD 2 and SDXL write it: the projections around a transformer are linear layers in the file too."""

_PLACE_ATTENTION = "mid_block.attentions.0"

AUTOENCODER = Layout(
    name="diffusers autoencoder",
    renames=(
        ("down", "down_blocks"),
        ("mid", "mid_block"),
        ("up", "up_blocks"),
        ("down.*.resample", "down_blocks.*.downsamplers.0"),
        ("up.*.resample", "up_blocks.*.upsamplers.0"),
        ("shortcut", "conv_shortcut"),
        ("mid.attention.norm", f"{_PLACE_ATTENTION}.group_norm"),
        ("mid.attention.attention", _PLACE_ATTENTION),
        ("mid.attention.attention.to_out", f"{_PLACE_ATTENTION}.to_out.0"),
        ("norm_out", "conv_norm_out"),
    ),
    # Before diffusers 0.18.
    aliases=tuple(
        (f"{half}.{_PLACE_ATTENTION}.{older}", f"{half}.{_PLACE_ATTENTION}.{newer}")
        for half in ("encoder", "decoder")
        for older, newer in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
    ),
)

_LAYER = (
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("attention.to_q", "self_attn.q_proj"),
    ("attention.to_k", "self_attn.k_proj"),
    ("attention.to_v", "self_attn.v_proj"),
    ("attention.to_out", "self_attn.out_proj"),
    ("mlp.up", "mlp.fc1"),
    ("mlp.down", "mlp.fc2"),
)

_TEXT = (
    ("token_embedding", "text_model.embeddings.token_embedding"),
    ("position_embedding", "text_model.embeddings.position_embedding"),
    ("layers", "text_model.encoder.layers"),
    ("final_norm", "text_model.final_layer_norm"),
    ("projection", "text_projection"),
)

_IMAGE = (
    ("class_embedding", "vision_model.embeddings.class_embedding"),
    ("patch_embedding", "vision_model.embeddings.patch_embedding"),
    ("position_embedding", "vision_model.embeddings.position_embedding"),
    ("norm_in", "vision_model.pre_layrnorm"),  # spelled so since 2021
    ("layers", "vision_model.encoder.layers"),
    ("final_norm", "vision_model.post_layernorm"),
    ("projection", "visual_projection"),
)

# A buffer that transformers saved up to 4.31: 0 .. 76, in merged files rounded or of another type.
_TEXT_POSITIONS = "text_model.embeddings.position_ids"
_IMAGE_POSITIONS = "vision_model.embeddings.position_ids"

TEXT_ENCODER = Layout(
    name="transformers CLIP text tower",
    renames=_TEXT + _LAYER,
    # Since transformers 5.6 a CLIPTextModel is saved without this wrapper.
    aliases=tuple((name, f"text_model.{name}") for name in ("embeddings", "encoder", "final_layer_norm")),
    ignorable=(_TEXT_POSITIONS,),
)

IMAGE_ENCODER = Layout(
    name="transformers CLIP image tower",
    renames=_IMAGE + _LAYER,
    aliases=tuple(
        (name, f"vision_model.{name}") for name in ("embeddings", "pre_layrnorm", "encoder", "post_layernorm")
    ),
    ignorable=(_IMAGE_POSITIONS,),
)

CLIP = Layout(
    name="transformers CLIP",
    renames=(
        *((f"text.{ours}", theirs) for ours, theirs in _TEXT),
        *((f"image.{ours}", theirs) for ours, theirs in _IMAGE),
        *_LAYER,
    ),
    ignorable=(_TEXT_POSITIONS, _IMAGE_POSITIONS),
)
