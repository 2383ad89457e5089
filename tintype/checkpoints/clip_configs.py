"""The configuration files of transformers' CLIP towers <-> our frozen configurations.

transformers writes dozens of keys that belong to every model of the library; only those that change what a tower
computes are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tintype.checkpoints.config_values import check_values, integer
from tintype.errors import CheckpointError
from tintype.models import ImageEncoderConfig, TextEncoderConfig

TEXT, IMAGE, CLIP = "text_encoder/config.json", "image_encoder/config.json", "clip/config.json"

_ONLY = {"hidden_act": ("quick_gelu", "gelu"), "layer_norm_eps": (1e-5,)}


def read_text_encoder(config: Mapping[str, Any], end_id: int) -> TextEncoderConfig:
    """text_encoder/config.json -> the shape of a text tower. CheckpointError for one that ours is not.

    ``end_id`` comes from the tokenizer: most files state ``eos_token_id: 2``, which never was true.
    """
    kinds = ("CLIPTextModel", "CLIPTextModelWithProjection")
    check_values(TEXT, config, _ONLY | {"architectures": [[kind] for kind in kinds]})
    has_projection = config.get("architectures") == ["CLIPTextModelWithProjection"]
    return TextEncoderConfig(
        vocab_size=integer(TEXT, config, "vocab_size", 49408),
        length=integer(TEXT, config, "max_position_embeddings", 77),
        dim=integer(TEXT, config, "hidden_size", 512),
        num_layers=integer(TEXT, config, "num_hidden_layers", 12),
        num_heads=integer(TEXT, config, "num_attention_heads", 8),
        mlp_dim=integer(TEXT, config, "intermediate_size", 2048),
        activation=config.get("hidden_act", "quick_gelu"),
        end_id=end_id,
        # The key is there without a projection too.
        projection_dim=integer(TEXT, config, "projection_dim", 512) if has_projection else None,
    )


def write_text_encoder(config: TextEncoderConfig, *, start_id: int, pad_id: int) -> dict[str, Any]:
    """The shape of a text tower -> text_encoder/config.json."""
    return {
        "architectures": ["CLIPTextModelWithProjection" if config.projection_dim else "CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": start_id,
        "eos_token_id": config.end_id,
        "hidden_act": config.activation,
        "hidden_size": config.dim,
        "intermediate_size": config.mlp_dim,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.length,
        "model_type": "clip_text_model",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "pad_token_id": pad_id,
        "projection_dim": config.projection_dim or config.dim,
        "vocab_size": config.vocab_size,
    }


def read_image_encoder(config: Mapping[str, Any]) -> ImageEncoderConfig:
    """The config.json of a CLIPVisionModelWithProjection -> the shape of an image tower."""
    kinds = [["CLIPVisionModel"], ["CLIPVisionModelWithProjection"], ["CLIPModel"]]
    check_values(IMAGE, config, _ONLY | {"num_channels": (3,), "architectures": kinds})
    has_projection = config.get("architectures") != ["CLIPVisionModel"]
    return ImageEncoderConfig(
        image_size=integer(IMAGE, config, "image_size", 224),
        patch_size=integer(IMAGE, config, "patch_size", 32),
        dim=integer(IMAGE, config, "hidden_size", 768),
        num_layers=integer(IMAGE, config, "num_hidden_layers", 12),
        num_heads=integer(IMAGE, config, "num_attention_heads", 12),
        mlp_dim=integer(IMAGE, config, "intermediate_size", 3072),
        activation=config.get("hidden_act", "quick_gelu"),
        projection_dim=integer(IMAGE, config, "projection_dim", 512) if has_projection else None,
    )


def write_image_encoder(config: ImageEncoderConfig) -> dict[str, Any]:
    """The shape of an image tower -> the config.json of a CLIPVisionModelWithProjection."""
    return {
        "architectures": ["CLIPVisionModelWithProjection" if config.projection_dim else "CLIPVisionModel"],
        "attention_dropout": 0.0,
        "hidden_act": config.activation,
        "hidden_size": config.dim,
        "image_size": config.image_size,
        "intermediate_size": config.mlp_dim,
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "num_attention_heads": config.num_heads,
        "num_channels": 3,
        "num_hidden_layers": config.num_layers,
        "patch_size": config.patch_size,
        "projection_dim": config.projection_dim or config.dim,
    }


def read_clip(config: Mapping[str, Any], end_id: int) -> tuple[TextEncoderConfig, ImageEncoderConfig]:
    """The config.json of a CLIPModel -> the shapes of both towers. Its own projection_dim stands above theirs."""
    towers = []
    for key in ("text_config", "vision_config"):
        stated = config.get(key)
        if not isinstance(stated, Mapping):
            raise CheckpointError(f"{CLIP}: {key} is {stated!r}; expected an object.")
        towers.append({**stated, "projection_dim": integer(CLIP, config, "projection_dim", 512)})
    text, image = towers
    text = read_text_encoder(text | {"architectures": ["CLIPTextModelWithProjection"]}, end_id)
    return text, read_image_encoder(image | {"architectures": ["CLIPModel"]})


def write_clip(text: TextEncoderConfig, image: ImageEncoderConfig, *, start_id: int, pad_id: int) -> dict[str, Any]:
    """The shapes of both towers -> the config.json of a CLIPModel."""
    if not text.projection_dim or text.projection_dim != image.projection_dim:
        raise CheckpointError(
            f"The towers of a CLIP meet at one width; the text tower projects to {text.projection_dim}, "
            f"the image tower to {image.projection_dim}."
        )
    towers = (write_text_encoder(text, start_id=start_id, pad_id=pad_id), write_image_encoder(image))
    stated = [{key: value for key, value in tower.items() if key != "architectures"} for tower in towers]
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": text.projection_dim,
        "text_config": stated[0],
        "vision_config": stated[1],
    }
