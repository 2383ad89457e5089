"""A single file, as CompVis and A1111 have it, <-> StableDiffusion: all networks in one file of weights.

A file of ours also says, in its metadata, what shapes cannot say: the schedule, heads, a tokenizer that is not CLIP's.
Other programs read the same file and pass over that.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tintype.checkpoints import parts
from tintype.checkpoints.config_values import integer, number
from tintype.checkpoints.detect import OURS, Detected, Prediction, detect, text_prefixes
from tintype.checkpoints.families import SD2, Family, family_of, with_prediction
from tintype.checkpoints.folder import autoencoder_dtype, check_together
from tintype.diffusion import Schedule
from tintype.errors import CheckpointError, SettingsError
from tintype.layouts import ldm
from tintype.layouts.layout import Layout
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.tensor_files import TensorFile, open_tensors
from tintype.models import Autoencoder, AutoencoderConfig, Pixels, TextEncoder, UNet, UNetConfig
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary
from tintype.types import Conditioning


@dataclass(frozen=True)
class Part:
    """The tensors of one network within a file, by the names that its layout expects.

    ``names`` maps the file's names to those; the average of a UNet is stored under other names than the UNet.
    """

    file: TensorFile
    names: Mapping[str, str]

    @property
    def files(self) -> tuple[TensorFile, ...]:
        """The file, as ``Weights`` has them."""
        return (self.file,)

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """Shape and type of every tensor."""
        return {name: self.file.infos[stored] for stored, name in self.names.items()}

    def on_meta(self) -> dict[str, Tensor]:
        """Every tensor's shape and type as a tensor without memory."""
        return {name: info.on_meta() for name, info in self.infos.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other."""
        for stored, tensor in self.file.tensors():
            if stored in self.names:
                yield self.names[stored], tensor


def load_single_file(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    lean: bool = False,
    vae: Autoencoder | None = None,
    prediction: str | None = None,
    zero_terminal_snr: bool | None = None,
    ema: bool = False,
) -> StableDiffusion:
    """Reads a single file of SD 1, 2 or XL, also of an inpainting model or an LCM; safetensors or an old ``.ckpt``.

    ``dtype`` None keeps each tensor as it is stored; with ``lean`` large weights in fewer bits stay so. ``vae`` stands
    in for the file's autoencoder. ``prediction`` and ``zero_terminal_snr`` overrule what the file says of itself or,
    for SD 2, what is guessed. ``ema`` takes the averaged weights of the UNet.

    Raises ``CheckpointError`` for anything that is missing, damaged or not computed by us, naming it.
    """
    path = Path(path)
    file = open_tensors(path)
    found = detect(file.infos, file.metadata)
    if found.refused is not None or found.family is None or found.unet is None or found.prediction is None:
        raise CheckpointError(f"{path}: {found.refused or found.what}")
    family, config, said = found.family, found.unet, found.prediction
    _require_whole(path, found, vae)
    target: dict[str, Any] = {"device": device, "dtype": dtype, "lean": lean}
    tokenizers = _tokenizers(found, family)
    encoders = [
        _load_text(file, family, index, config, tokenizer.end, target)
        for index, (config, tokenizer) in enumerate(zip(found.texts, tokenizers, strict=True))
    ]
    unet = _load_unet(file, config, ema, target)
    guessed = said.guessed and prediction is None
    if guessed:
        found = replace(found, prediction=_asked(unet, said))
    autoencoder = vae or _load_autoencoder(file, found, target)
    check_together(config, tokenizers, encoders)
    words = found.stated.get("vocabulary")
    sd = StableDiffusion(
        unet,
        autoencoder,
        family.conditioner(
            tokenizers,
            encoders,
            zeros_for_none=found.stated.get("zeros_for_none"),
            vocabulary=None if words is None else _from_files(words, Vocabulary.load),
        ),
        _schedule(path, found, prediction, zero_terminal_snr),
        name=path.stem,
        defaults=_defaults(found, family),
    )
    sd.source = path.resolve()
    sd.notices = file.notices + _notices(path, found, guessed=guessed)
    return sd


def _notices(path: Path, found: Detected, *, guessed: bool) -> tuple[str, ...]:
    """What was guessed, and what was left out."""
    said: tuple[str, ...] = ()
    if guessed and found.prediction is not None:
        kind, other = found.prediction.kind, {"v": "eps"}.get(found.prediction.kind, "v")
        said += (
            f"{path.name}: taken for a model that predicts {kind}: {found.prediction.evidence}. "
            f'If pictures come out as noise or brown, give prediction="{other}".',
        )
    if found.unknown:
        more = f" and {len(found.unknown) - 3} more" if len(found.unknown) > 3 else ""
        said += (f"{path.name}: tensors of no known use are left out: {', '.join(found.unknown[:3])}{more}.",)
    return said


@torch.no_grad()
def _asked(unet: UNet, guess: Prediction) -> Prediction:
    """A better guess of what an SD 2 predicts: one call of the network, as A1111's web UI does.

    Told that all of a flat input is noise (t = 999), a network that predicts noise gives it back, on average; one that
    predicts v gives minus the picture, which lies far below.
    """
    c, weight = unet.config, unet.conv_in.weight
    mixed = any(parameter.dtype != weight.dtype for parameter in unet.parameters())
    if mixed or weight.dtype.itemsize < 2 or weight.is_meta:  # as it is stored, it may be no network that computes
        return guess
    x = torch.full((1, c.in_channels, 8, 8), 0.5).to(weight)
    context = torch.full((1, 2, c.context_dim or 0), 0.5).to(weight)
    out = unet(x, torch.tensor([999.0], device=weight.device), Conditioning(context))
    kind = "v" if (out.float() - 0.5).mean() < -1 else "eps"
    return replace(guess, kind=kind, evidence="a guess by one call of the network; the file does not say")


def load_autoencoder_file(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    like: str = "SD 1",
) -> Autoencoder:
    """The autoencoder in a file: alone, or out of a whole model. ``like``: the family whose latents it makes.

    Raises ``CheckpointError`` where there is none.
    """
    from tintype.checkpoints.families import FAMILIES

    file = open_tensors(path)
    found = detect(file.infos, file.metadata)
    if found.autoencoder is None:
        raise CheckpointError(f"{path} has no autoencoder: it is {found.what}.")
    if found.kind == "autoencoder":  # alone it does not say how large its latents are
        known = FAMILIES[like].autoencoder
        config = replace(found.autoencoder, scaling_factor=known.scaling_factor, force_upcast=known.force_upcast)
        found = replace(found, autoencoder=config)
    return _load_autoencoder(file, found, {"device": device, "dtype": dtype})


def save_single_file(
    sd: StableDiffusion, path: str | Path, *, dtype: torch.dtype | None = None, overwrite: bool = False
) -> None:
    """Writes a model as one ``.safetensors`` in CompVis' names, in ``dtype`` or as the weights are.

    The file is written beside and takes its place at the end. Raises ``CheckpointError`` where one stands already.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} is there already. Choose another place, or say overwrite=True.")
    if isinstance(sd.autoencoder, Pixels) or not sd.conditioner.towers:
        missing = "autoencoder" if isinstance(sd.autoencoder, Pixels) else "text encoder"
        raise CheckpointError(f"{sd.name} has no {missing}; a single file has one. Save the model as a folder.")
    family = family_of(sd.unet.config)
    tensors: dict[str, Tensor] = {}
    networks: list[tuple[torch.nn.Module, Layout]] = [
        (sd.unet, _unet_layout(sd.unet.config)),
        (sd.autoencoder, _autoencoder_layout(sd.autoencoder.config, ldm.AUTOENCODER_PREFIX)),
    ]
    encoders = [
        tower.encoder if tower.pooled else parts.without_projection(tower.encoder) for tower in sd.conditioner.towers
    ]
    for index, encoder in enumerate(encoders):
        networks.append((encoder, _text_layout(family, index, encoder.config.num_layers)))
    with sd.unpacked():
        for network, layout in networks:
            ours = {name: t.detach().to("cpu", dtype or t.dtype) for name, t in network.state_dict().items()}
            tensors |= {name: tensor.contiguous() for name, tensor in layout.to_theirs(ours).items()}
    metadata = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"tintype/{family.name}",
        "modelspec.title": sd.name,
        "modelspec.prediction_type": {"eps": "epsilon", "v": "v", "x0": "sample"}[sd.schedule.prediction],
        OURS: json.dumps(_record(sd, encoders)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        save_file(tensors, beside, metadata=metadata)
        os.chmod(beside, 0o644)  # a temporary file is its owner's alone
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)


def _record(sd: StableDiffusion, encoders: list[TextEncoder]) -> dict[str, Any]:
    """What shapes cannot say, for the metadata."""
    words = sd.conditioner.vocabulary
    record: dict[str, Any] = {
        "unet": asdict(sd.unet.config),
        "autoencoder": asdict(sd.autoencoder.config),
        "texts": [asdict(encoder.config) for encoder in encoders],
        "scheduler": sd.schedule.to_diffusers(),
        "defaults": asdict(sd.defaults),
        "zeros_for_none": sd.conditioner.zeros_for_none,
        "tokenizers": [_own_tokenizer(tower.tokenizer) for tower in sd.conditioner.towers],
    }
    if words is not None:
        record["vocabulary"] = _to_files(words.save)
    return record


def _own_tokenizer(tokenizer: Tokenizer) -> dict[str, str] | None:
    """The files of a tokenizer; None for CLIP's, which every program has."""
    known = Tokenizer.clip(tokenizer.specials.pad.content) if len(tokenizer) == 49408 else None
    if known is not None and known.vocabulary == tokenizer.vocabulary and known.merges == tokenizer.merges:
        return None
    return _to_files(tokenizer.save)


def _to_files(save: Callable[[Path], None]) -> dict[str, str]:
    """What ``save`` writes into a folder, by the names of its files."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        return {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(folder).iterdir())}


def _from_files(files: object, load: Callable[[Path], Any]) -> Any:
    """What ``load`` reads from a folder of these files."""
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise CheckpointError("The file's own record of its words is damaged: expected the texts of files.")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            if name != Path(name).name or name in ("", ".", "..") or "\\" in name:
                raise CheckpointError(f"The file's own record names a file {name!r}, which could lie anywhere.")
            (Path(folder) / name).write_text(text, encoding="utf-8", newline="")
        return load(Path(folder))


def _tokenizers(found: Detected, family: Family) -> list[Tokenizer]:
    stated = found.stated.get("tokenizers") or [None] * len(family.towers)
    if not isinstance(stated, list) or len(stated) != len(family.towers):
        raise CheckpointError("The file's own record of its tokenizers is damaged.")
    return [
        Tokenizer.clip(tower.pad) if files is None else _from_files(files, Tokenizer.load)
        for tower, files in zip(family.towers, stated, strict=True)
    ]


def _require_whole(path: Path, found: Detected, vae: Autoencoder | None) -> None:
    missing = [f"text encoder {i + 1}" for i, text in enumerate(found.texts) if text is None]
    if missing:
        raise CheckpointError(
            f"{path} is {found.what} without {' and '.join(missing)}: not all of it was saved. Get the whole model."
        )
    if found.autoencoder is None and vae is None:
        raise CheckpointError(
            f"{path} is {found.what} without an autoencoder. Give one: vae=, a file or a folder of the same family."
        )


def _unet_layout(config: UNetConfig) -> Layout:
    return ldm.unet_layout(
        config.transformer_depth, config.layers_per_block, config.mid_depth, linear=config.linear_projections
    )


def _autoencoder_layout(config: AutoencoderConfig, prefix: str) -> Layout:
    return ldm.autoencoder_layout(len(config.channels), config.layers_per_block, prefix)


def _text_layout(family: Family, index: int, num_layers: int) -> Layout:
    prefix = text_prefixes(family)[index]
    if prefix.endswith("transformer."):
        return replace(ldm.CLIP_TEXT, prefix=prefix)
    return ldm.open_clip_layout(prefix, dropped_layer=num_layers if family is SD2 else None)


def _part(file: TensorFile, prefix: str) -> Part:
    """Everything behind a prefix. The numbers of a loss, which some trainers leave there, are no weights."""
    losses = (f"{prefix}loss.", f"{prefix}logvar")
    return Part(file, {name: name for name in file.infos if name.startswith(prefix) and not name.startswith(losses)})


def _load_unet(file: TensorFile, config: UNetConfig, ema: bool, target: Mapping[str, Any]) -> UNet:
    part = _part(file, ldm.UNET_PREFIX)
    if ema:
        averaged = {ldm.ema_name(name): name for name in part.names}
        lacking = [name for name in averaged if name not in file.infos]
        if lacking:
            raise CheckpointError(f"{file.path} has no averaged weights ({lacking[0]} is missing). Leave ema out.")
        part = Part(file, averaged)
    return parts.load_network(lambda: UNet(config), part, _unet_layout(config), **target)


def _load_autoencoder(file: TensorFile, found: Detected, target: Mapping[str, Any]) -> Autoencoder:
    config = found.autoencoder
    assert config is not None  # judged before
    dtype = autoencoder_dtype(config, target["dtype"])
    prefix = found.autoencoder_prefix
    names = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    part = Part(file, {name: name for name in file.infos if name.startswith(tuple(prefix + each for each in names))})
    layout = found.autoencoder_layout or _autoencoder_layout(config, prefix)
    return parts.load_network(lambda: Autoencoder(config), part, layout, device=target["device"], dtype=dtype)


def _load_text(
    file: TensorFile, family: Family, index: int, config: Any, end_id: int, target: Mapping[str, Any]
) -> TextEncoder:
    config = replace(config, end_id=end_id)
    layout = _text_layout(family, index, config.num_layers)
    return parts.load_network(lambda: TextEncoder(config), _part(file, layout.prefix), layout, **target)


def _schedule(path: Path, found: Detected, prediction: str | None, zero_terminal_snr: bool | None) -> Schedule:
    assert found.family is not None and found.prediction is not None  # judged before
    stated = found.stated.get("scheduler")
    if isinstance(stated, dict):
        schedule = Schedule.from_diffusers(stated)
    else:
        said = found.prediction
        schedule = with_prediction(found.family.schedule, said.kind, said.zero_terminal_snr or None)
    try:
        return with_prediction(schedule, prediction, zero_terminal_snr)
    except SettingsError as error:
        raise CheckpointError(f"{path}: prediction={prediction!r}: {error}") from error


def _defaults(found: Detected, family: Family) -> Defaults:
    stated = found.stated.get("defaults")
    if isinstance(stated, dict):
        names = {each.name for each in fields(Defaults)}
        if not stated.keys() <= names:
            raise CheckpointError(f"The file's own record of its defaults is not understood: {stated!r:.80}.")
        values: dict[str, Any] = {name: integer(OURS, stated, name) for name in stated if name != "guidance_scale"}
        if "guidance_scale" in stated:
            values["guidance_scale"] = number(OURS, stated, "guidance_scale", 1.0)
        return replace(family.defaults, **values)
    assert found.unet is not None and found.prediction is not None  # judged before
    if family is SD2 and found.prediction.kind == "eps":
        return replace(family.defaults, width=512, height=512)  # the smaller ones predict eps
    return family.defaults
