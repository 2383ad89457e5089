"""The names of single files: CompVis' latent diffusion, and the text towers that stand in the same file.

A UNet there is three lists of blocks, counted through all levels, so its table depends on its shape. Compared in the
tests with what diffusers 0.42 makes of the same names.
"""

from __future__ import annotations

from dataclasses import replace

from tintype.layouts.diffusers import TEXT_ENCODER
from tintype.layouts.layout import Layout

UNET_PREFIX = "model.diffusion_model."
AUTOENCODER_PREFIX = "first_stage_model."
EMA_PREFIX = "model_ema."

_BLOCKS = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("shortcut", "skip_connection"),
    ("blocks", "transformer_blocks"),
    ("blocks.*.norm1", "transformer_blocks.*.norm1"),
    ("blocks.*.norm2", "transformer_blocks.*.norm2"),
    ("self_attention", "attn1"),
    ("cross_attention", "attn2"),
    ("to_out", "to_out.0"),
    ("feed_forward.up", "ff.net.0.proj"),
    ("feed_forward.down", "ff.net.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("vector_embedding.linear_1", "label_emb.0.0"),
    ("vector_embedding.linear_2", "label_emb.0.2"),
    ("guidance_embedding", "time_embed.cond_proj"),
    ("conv_in", "input_blocks.0.0"),
    ("norm_out", "out.0"),
    ("conv_out", "out.2"),
)


def unet_layout(
    transformer_depth: tuple[int, ...], layers_per_block: int, mid_depth: int, *, linear: bool = False
) -> Layout:
    """The table of a UNet with so many blocks; ``linear``: its projections are stored as matrices (SD 2, SDXL)."""
    renames = list(_BLOCKS)
    last = len(transformer_depth) - 1
    block = 1
    for level, depth in enumerate(transformer_depth):
        for layer in range(layers_per_block):
            renames.append((f"down.{level}.resnets.{layer}", f"input_blocks.{block}.0"))
            if depth:
                renames.append((f"down.{level}.attentions.{layer}", f"input_blocks.{block}.1"))
            block += 1
        if level < last:
            renames.append((f"down.{level}.downsample.conv", f"input_blocks.{block}.0.op"))
            block += 1
    renames.append(("mid.resnets.0", "middle_block.0"))
    if mid_depth:
        renames.append(("mid.attentions.0", "middle_block.1"))
    renames.append(("mid.resnets.1", "middle_block.2" if mid_depth else "middle_block.1"))
    block = 0
    for up, depth in enumerate(reversed(transformer_depth)):  # stored from the deepest level
        for layer in range(layers_per_block + 1):
            renames.append((f"up.{up}.resnets.{layer}", f"output_blocks.{block}.0"))
            if depth:
                renames.append((f"up.{up}.attentions.{layer}", f"output_blocks.{block}.1"))
            if layer == layers_per_block and up < last:
                renames.append((f"up.{up}.upsample", f"output_blocks.{block}.{2 if depth else 1}"))
            block += 1
    return Layout(
        "CompVis UNet",
        tuple(renames),
        prefix=UNET_PREFIX,
        convolutions=() if linear else ("proj_in.weight", "proj_out.weight"),
    )


def autoencoder_layout(levels: int, layers_per_block: int, prefix: str = AUTOENCODER_PREFIX) -> Layout:
    """The table of an autoencoder. CompVis counts the decoder's levels from the finest, we from the coarsest."""
    decoder = []
    for up in range(levels):
        theirs = f"decoder.up.{levels - 1 - up}"
        decoder += [
            (f"decoder.up.{up}.resnets.{layer}", f"{theirs}.block.{layer}") for layer in range(layers_per_block + 1)
        ]
        decoder.append((f"decoder.up.{up}.resample", f"{theirs}.upsample"))
    attention = (("norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out", "proj_out"))
    return Layout(
        "CompVis autoencoder",
        (
            *decoder,
            ("down.*.resnets", "down.*.block"),
            ("down.*.resample", "down.*.downsample"),
            ("mid.resnets.0", "mid.block_1"),
            ("mid.resnets.1", "mid.block_2"),
            *(
                (f"mid.attention{'' if ours == 'norm' else '.attention'}.{ours}", f"mid.attn_1.{theirs}")
                for ours, theirs in attention
            ),
            ("shortcut", "nin_shortcut"),
        ),
        prefix=prefix,
        convolutions=tuple(f"mid.attention.attention.{name}.weight" for name in ("to_q", "to_k", "to_v", "to_out")),
    )


CLIP_PREFIX = "cond_stage_model.transformer."
CLIP_TEXT = replace(TEXT_ENCODER, prefix=CLIP_PREFIX)
"""SD 1's text tower: transformers' names in CompVis' file. Some lack ``text_model.``."""

_OPEN_CLIP_LAYER = ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "attn.in_proj_weight", "attn.in_proj_bias")
_OPEN_CLIP_LAYER += ("attn.out_proj.weight", "attn.out_proj.bias")
_OPEN_CLIP_LAYER += tuple(f"mlp.{name}.{kind}" for name in ("c_fc", "c_proj") for kind in ("weight", "bias"))


def open_clip_layout(prefix: str, *, dropped_layer: int | None = None) -> Layout:
    """The table of an OpenCLIP text tower.

    ``dropped_layer``: SD 2 is steered by the layer before the last, so the last one, and the projection behind it,
    are in its file and do nothing.
    """
    nothing = ["logit_scale", "attn_mask"]
    if dropped_layer is not None:
        nothing += ["text_projection", *(f"transformer.resblocks.{dropped_layer}.{end}" for end in _OPEN_CLIP_LAYER)]
    return Layout(
        "OpenCLIP text tower",
        (
            ("position_embedding.weight", "positional_embedding"),
            ("layers", "transformer.resblocks"),
            ("norm1", "ln_1"),
            ("norm2", "ln_2"),
            ("attention.to_qkv.weight", "attn.in_proj_weight"),
            ("attention.to_qkv.bias", "attn.in_proj_bias"),
            ("attention.to_out", "attn.out_proj"),
            ("mlp.up", "mlp.c_fc"),
            ("mlp.down", "mlp.c_proj"),
            ("final_norm", "ln_final"),
            ("projection.weight", "text_projection"),
        ),
        prefix=prefix,
        packed=(("attention.to_qkv", ("attention.to_q", "attention.to_k", "attention.to_v")),),
        transposed=("projection.weight",),
        ignorable=tuple(nothing),
    )


SD2_TEXT_PREFIX = "cond_stage_model.model."
SDXL_TEXT_PREFIXES = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
SDXL_CLIP_TEXT = replace(TEXT_ENCODER, prefix=SDXL_TEXT_PREFIXES[0])
SDXL_OPEN_CLIP_TEXT = open_clip_layout(SDXL_TEXT_PREFIXES[1])


def ema_name(name: str) -> str:
    """Where CompVis' trainer keeps the average of a UNet's tensor: without dots, behind ``model_ema.``."""
    return EMA_PREFIX + name.removeprefix("model.").replace(".", "")
