"""What a file of weights is, from its header alone: names, shapes and metadata. No weight is read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tintype.checkpoints.families import EDITOR, INPAINTING_EXTRA, REFINER, SD2, Family, family_of, name_of
from tintype.errors import CheckpointError
from tintype.layouts import diffusers, ldm
from tintype.layouts.layout import Layout
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.models import AutoencoderConfig, TextEncoderConfig, UNetConfig

OURS = "tintype"
"""The metadata key under which a file of ours says what shapes cannot say."""

Infos = Mapping[str, TensorInfo]

FOREIGN = (
    (("control_model.", "controlnet_cond_embedding.", "input_hint_block."), "a ControlNet"),
    (("double_blocks.", "model.diffusion_model.double_blocks.", "transformer.double_blocks."), "a Flux model"),
    (("joint_blocks.", "model.diffusion_model.joint_blocks."), "a Stable Diffusion 3 model"),
    (("model.diffusion_model.clip_txt_mapper", "clip_txt_mapper"), "a Stable Cascade model"),
    (("conditioner.embedders.0.open_clip.", "cond_stage_model.model.visual."), "a video or unCLIP model"),
    (("down_blocks.0.motion_modules.",), "a motion module"),
    (("down_blocks.",), "the UNet of a diffusers folder by itself; load the folder"),
    (("text_model.", "vision_model."), "a CLIP by itself, a part of a diffusers folder; load the folder"),
)
LORA = re.compile(r"(\.lora_(up|down|A|B|mid)\b|\.lora\.(up|down)\.|_lora\.(up|down)\.|\.hada_w|\.lokr_w|\.dora_scale)")
PREDICTIONS = {"epsilon": "eps", "eps": "eps", "v_prediction": "v", "v": "v", "sample": "x0", "x0": "x0"}
"""How files write what a network predicts."""
EMBEDDING_NAMES = ({"emb_params"}, {"clip_l", "clip_g"}, {"clip_l"}, {"clip_g"}, {"string_to_param.*"})


@dataclass(frozen=True)
class Prediction:
    """What the network predicts, and how that is known. ``guessed``: it should be said aloud."""

    kind: str
    evidence: str
    zero_terminal_snr: bool = False
    guessed: bool = False


@dataclass(frozen=True)
class Detected:
    """What a file is.

    ``kind`` is "model" (a UNet and what stands beside it), "autoencoder", "LoRA", "embedding", or "unknown"; ``what`` a
    sentence's worth of it. Configurations are there for the parts that are. ``ema``: averaged weights stand beside.
    ``refused`` says why it cannot be drawn with.
    """

    kind: str
    what: str
    family: Family | None = None
    unet: UNetConfig | None = None
    autoencoder: AutoencoderConfig | None = None
    autoencoder_prefix: str = ldm.AUTOENCODER_PREFIX
    autoencoder_layout: Layout | None = None  # None: CompVis' names
    texts: tuple[TextEncoderConfig | None, ...] = ()
    prediction: Prediction | None = None
    ema: bool = False
    refused: str | None = None
    stated: Mapping[str, Any] = field(default_factory=dict, repr=False)  # our own metadata
    unknown: tuple[str, ...] = ()


def detect(infos: Infos, metadata: Mapping[str, str]) -> Detected:
    """What the file is. CheckpointError only for a network whose shapes contradict each other."""
    if any(LORA.search(name) for name in infos):
        return Detected("LoRA", "a LoRA: it changes a model and draws nothing by itself", refused=_beside("--lora"))
    if set(infos) in EMBEDDING_NAMES or (len(infos) == 1 and next(iter(infos.values())).shape[-1:] in _EMBEDDED):
        return Detected("embedding", "a textual inversion: a word, no model", refused=_beside("its word in a prompt"))
    for starts, what in FOREIGN:
        if any(name.startswith(starts) for name in infos):
            ends = "." if "load the folder" in what else ", which is not supported."
            return Detected("unknown", what, refused=f"This is {what}{ends}")
    if any(name.startswith(ldm.UNET_PREFIX) for name in infos):
        return _model(infos, metadata)
    for prefix in (ldm.AUTOENCODER_PREFIX, "vae.", ""):
        if f"{prefix}decoder.conv_in.weight" in infos and f"{prefix}encoder.down.0.block.0.conv1.weight" in infos:
            config = _autoencoder(infos, prefix, force_upcast=False)
            return Detected(
                "autoencoder",
                "an autoencoder",
                autoencoder=config,
                autoencoder_prefix=prefix,
                refused="This is an autoencoder alone; give a whole model, and this file as vae=.",
                unknown=_unknown(infos, (prefix,)),
            )
    if "decoder.conv_in.weight" in infos and "encoder.down_blocks.0.resnets.0.conv1.weight" in infos:
        return Detected(
            "autoencoder",
            "an autoencoder, in diffusers' names",
            autoencoder=_autoencoder(infos, "", force_upcast=False, level="down_blocks.*.resnets.#.conv1.weight"),
            autoencoder_layout=diffusers.AUTOENCODER,
            autoencoder_prefix="",
            refused="This is an autoencoder alone; give a whole model, and this file as vae=.",
            unknown=_unknown(infos, ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")),
        )
    example = ", ".join(list(infos)[:3]) or "none"
    return Detected(
        "unknown",
        "of no known kind",
        refused=f"This is no Stable Diffusion checkpoint: its {len(infos)} tensors have other names ({example} ...).",
        unknown=tuple(infos),
    )


_EMBEDDED = ((768,), (1024,), (1280,))


def _beside(how: str) -> str:
    return f"It is no model by itself: give a model, and this by {how}."


def _model(infos: Infos, metadata: Mapping[str, str]) -> Detected:
    stated = _stated(metadata)
    unet = _unet(infos)
    if "unet" in stated:
        unet = _as_stated(unet, stated["unet"])
    refused = None
    try:
        family = family_of(unet)
    except CheckpointError:
        return Detected("model", name_of(unet), unet=unet, refused=REFINER)
    autoencoder = None
    prefix = next((p for p in (ldm.AUTOENCODER_PREFIX, "vae.") if f"{p}decoder.conv_in.weight" in infos), None)
    if prefix is not None:
        autoencoder = replace(
            _autoencoder(infos, prefix, force_upcast=family.autoencoder.force_upcast),
            scaling_factor=family.autoencoder.scaling_factor,
        )
        if "autoencoder" in stated:
            autoencoder = _as_stated(autoencoder, stated["autoencoder"])
    texts = tuple(_text(infos, family, index) for index in range(len(family.towers)))
    if "texts" in stated:
        texts = tuple(text and _as_stated(text, said) for text, said in zip(texts, stated["texts"], strict=False))
    latents = unet.out_channels
    inpainting = unet.in_channels == 2 * latents + INPAINTING_EXTRA
    if unet.in_channels == 2 * latents:
        refused = EDITOR
    elif unet.in_channels != latents and not inpainting:
        refused = f"Its UNet takes {unet.in_channels} channels and gives {latents}, which fits no known model."
    elif any(name.startswith("edm_") for name in infos):
        refused = "This is a model of the EDM formulation (Playground 2.5), which is not supported."
    prefixes = [ldm.UNET_PREFIX, ldm.EMA_PREFIX, *text_prefixes(family), prefix or ldm.AUTOENCODER_PREFIX]
    return Detected(
        "model",
        name_of(unet),
        family,
        unet,
        autoencoder,
        prefix or ldm.AUTOENCODER_PREFIX,
        texts=texts,
        prediction=_prediction(infos, metadata, stated, family, inpainting),
        ema=any(name.startswith(ldm.EMA_PREFIX + "diffusion_model") for name in infos),
        refused=refused,
        stated=stated,
        unknown=_unknown(infos, prefixes),
    )


def text_prefixes(family: Family) -> tuple[str, ...]:
    """Where the text towers of a family stand in its single files."""
    if len(family.towers) == 2:
        return ldm.SDXL_TEXT_PREFIXES
    return (ldm.SD2_TEXT_PREFIX if family is SD2 else ldm.CLIP_PREFIX,)


def _prediction(
    infos: Infos, metadata: Mapping[str, str], stated: Mapping[str, Any], family: Family, inpainting: bool
) -> Prediction:
    """In the order of trust: our own record, keys that say it, metadata that says it, the family's habit."""
    zero = "ztsnr" in infos
    if isinstance(stated.get("scheduler"), dict):
        kind = PREDICTIONS.get(str(stated["scheduler"].get("prediction_type", "epsilon")), "eps")
        return Prediction(kind, "the file's own record", bool(stated["scheduler"].get("rescale_betas_zero_snr")))
    if "v_pred" in infos:
        return Prediction("v", "the key v_pred" + (" (and ztsnr)" if zero else ""), zero)
    for key in ("modelspec.prediction_type", "prediction_type", "modelspec.predict_key"):
        value = metadata.get(key, "").lower()
        if value in PREDICTIONS:
            return Prediction(PREDICTIONS[value], f"metadata: {key} is {value!r}", zero)
    if metadata.get("ss_v_parameterization", metadata.get("ss_v_pred", "")).lower() == "true":
        return Prediction("v", "metadata of its training", zero)
    if family is SD2 and not inpainting:
        return Prediction(
            "v", "a guess: SD 2 has models of both kinds and the file does not say which", zero, guessed=True
        )
    return Prediction("eps", f"{family.name}{' inpainting' if inpainting else ''} models predict eps", zero)


def _stated(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        stated = json.loads(metadata.get(OURS, "{}"))
    except (ValueError, RecursionError):
        stated = None
    if not isinstance(stated, dict):
        raise CheckpointError(f"The file's metadata {OURS!r} is damaged: it should hold a JSON object.")
    return stated


def _as_stated(config: Any, stated: object) -> Any:
    """The shape that the header shows with what the file's own record adds; the loader compares it with the tensors."""
    names = config.__dataclass_fields__
    if not isinstance(stated, dict) or not stated.keys() <= names.keys():
        raise CheckpointError(f"The file's own record of a {type(config).__name__} is not understood: {stated!r:.80}.")
    try:
        return replace(config, **{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The file's own record of a {type(config).__name__} cannot be: {error}.") from error


def _shape(infos: Infos, name: str, ndim: int) -> tuple[int, ...]:
    if name not in infos:
        raise CheckpointError(f"{name} is missing: without it the network's shape is not known.")
    shape = infos[name].shape
    if len(shape) != ndim or 0 in shape:
        raise CheckpointError(f"{name} has the shape {list(shape)}; expected {ndim} dimensions.")
    return shape


def _count(infos: Infos, pattern: str) -> int:
    """How many different numbers stand at the place of ``*`` in names that begin so; they must count from 0."""
    before, _, after = pattern.partition("*")
    found = re.compile(re.escape(before) + r"(\d{1,4})" + re.escape(after))
    numbers = {int(match[1]) for name in infos if (match := found.match(name))}
    return next(i for i in range(len(numbers) + 1) if i not in numbers)


def _unet(infos: Infos) -> UNetConfig:
    """The shape of a UNet in CompVis' names. Levels follow each other in one list of blocks."""
    prefix = ldm.UNET_PREFIX
    width, in_channels, *_ = _shape(infos, f"{prefix}input_blocks.0.0.weight", 4)
    channels, layers, depths = [width], [0], [0]
    for block in range(1, _count(infos, f"{prefix}input_blocks.*.")):
        here = f"{prefix}input_blocks.{block}"
        if f"{here}.0.op.weight" in infos:
            channels.append(channels[-1])
            layers.append(0)
            depths.append(0)
            continue
        channels[-1] = _shape(infos, f"{here}.0.out_layers.3.weight", 4)[0]
        layers[-1] += 1
        depths[-1] = _count(infos, f"{here}.1.transformer_blocks.*.")
    if len(set(layers)) != 1:
        raise CheckpointError(f"The levels of its UNet have {layers} layers; expected the same number for all.")
    cross = [name for name in infos if name.startswith(prefix) and name.endswith(".attn2.to_k.weight")]
    projections = [name for name in infos if name.startswith(prefix) and name.endswith(".proj_in.weight")]
    linear = bool(projections) and len(infos[projections[0]].shape) == 2
    context = _shape(infos, cross[0], 2)[1] if cross else None
    vector = f"{prefix}label_emb.0.0.weight"
    guidance = f"{prefix}time_embed.cond_proj.weight"
    time = _shape(infos, f"{prefix}time_embed.0.weight", 2)[0]
    return UNetConfig(
        in_channels=in_channels,
        out_channels=_shape(infos, f"{prefix}out.2.weight", 4)[0],
        channels=tuple(channels),
        layers_per_block=layers[0],
        transformer_depth=tuple(depths),
        mid_depth=_count(infos, f"{prefix}middle_block.1.transformer_blocks.*."),
        # SD 1 has eight heads everywhere; SD 2 and SDXL heads of width 64. No shape tells.
        num_heads=tuple(max(each // 64, 1) for each in channels)
        if vector in infos or context == SD2.unet.context_dim
        else (8,) * len(channels),
        context_dim=context,
        vector_dim=_shape(infos, vector, 2)[1] if vector in infos else None,
        guidance_dim=_shape(infos, guidance, 2)[1] if guidance in infos else None,
        linear_projections=linear,
        time_embedding_dim=None if time == 4 * width else time,
    )


def _autoencoder(
    infos: Infos, prefix: str, *, force_upcast: bool, level: str = "down.*.block.#.conv1.weight"
) -> AutoencoderConfig:
    """``level``: the name of a convolution by level (*) and layer (#)."""
    first = f"{prefix}encoder.{level.replace('#', '0')}"
    levels = _count(infos, first)
    _, in_channels, *_ = _shape(infos, f"{prefix}encoder.conv_in.weight", 4)
    return AutoencoderConfig(
        in_channels=in_channels,
        out_channels=_shape(infos, f"{prefix}decoder.conv_out.weight", 4)[0],
        latent_channels=_shape(infos, f"{prefix}decoder.conv_in.weight", 4)[1],
        channels=tuple(_shape(infos, first.replace("*", str(index)), 4)[0] for index in range(levels)),
        layers_per_block=_count(infos, f"{prefix}encoder.{level.replace('*', '0').replace('#', '*')}"),
        force_upcast=force_upcast,
    )


def _text(infos: Infos, family: Family, index: int) -> TextEncoderConfig | None:
    """The shape of a text tower; None where the file has none."""
    prefix, known = text_prefixes(family)[index], family.towers[index].encoder
    if prefix.endswith("transformer."):
        # Older files have no ``text_model.``.
        inner = "text_model." if any(name.startswith(f"{prefix}text_model.") for name in infos) else ""
        table, layer = f"{prefix}{inner}embeddings.token_embedding.weight", f"{prefix}{inner}encoder.layers.*."
        up, positions = "mlp.fc1.weight", f"{prefix}{inner}embeddings.position_embedding.weight"
    else:
        table, layer = f"{prefix}token_embedding.weight", f"{prefix}transformer.resblocks.*."
        up, positions = "mlp.c_fc.weight", f"{prefix}positional_embedding"
    if table not in infos:
        return None
    vocab_size, dim = _shape(infos, table, 2)
    layers = _count(infos, layer)
    if family is SD2 and layers == known.num_layers + 1:
        layers -= 1  # the last one is in the file and is not used
    return replace(
        known,
        vocab_size=vocab_size,
        dim=dim,
        length=_shape(infos, positions, 2)[0],
        num_layers=layers,
        num_heads=max(dim // 64, 1),
        mlp_dim=_shape(infos, layer.replace("*", "0") + up, 2)[0],
        projection_dim=dim if known.projection_dim else None,
    )


def _unknown(infos: Infos, prefixes: Collection[str]) -> tuple[str, ...]:
    """Names that belong to no part; what trainers leave behind is known and does nothing."""
    left_behind = ("betas", "alphas_cumprod", "sqrt_", "log_one_minus", "posterior_", "loss.", "logvar", "lvlb_weights")
    known = ("v_pred", "ztsnr", "model_ema.decay", "model_ema.num_updates", "cond_stage_model.logit_scale")
    return tuple(
        name
        for name in infos
        if name not in known
        and not any(name.startswith(prefix) for prefix in prefixes)
        and not name.startswith(left_behind)
    )
