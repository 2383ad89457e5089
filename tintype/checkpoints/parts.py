"""One network <-> its folder: a configuration, and weights in the layout of diffusers or transformers.

A network is built without memory (on the meta device), its names and shapes are compared with what the files' headers
say, and only then are weights read: as views of the mapped files where type and device allow, so that nothing is
copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from tintype.checkpoints import clip_configs, configs
from tintype.checkpoints.config_values import read_json, write_json
from tintype.errors import CheckpointError
from tintype.layouts import diffusers as layouts
from tintype.layouts.layout import Layout
from tintype.layouts.tensor_files import TensorFile
from tintype.layouts.weight_files import MAX_SHARD_BYTES, open_weights, write_weights
from tintype.models import CLIP, Autoencoder, ImageEncoder, TextEncoder, UNet
from tintype.speed.held import nothing
from tintype.speed.lean import can_stay, keep
from tintype.text.tokenizer import Tokenizer

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"  # how each library names its weights

PAGED_BYTES = 65_536
"""From here on a tensor that is copied gets pages of its own."""
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Otherwise Unix counts them as memory that processes share. Windows knows no such flags."""

Network = TypeVar("Network", bound=nn.Module)


class NamedTensors(Protocol):
    """The tensors of one network, wherever they lie."""

    @property
    def files(self) -> Sequence[TensorFile]:
        """Where they lie; the first is named in errors."""
        ...

    def on_meta(self) -> dict[str, Tensor]:
        """Every tensor's shape and type as a tensor without memory."""
        ...

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other."""
        ...


def load_unet(folder: Path, *, variant: str | None = None, **target) -> UNet:
    """Reads a ``unet`` folder. ``target``: device, dtype, lean. All of these raise ``CheckpointError``."""
    config = configs.read_unet(read_json(folder / "config.json"))
    return load_network(lambda: UNet(config), open_weights(folder, DIFFUSERS, variant), layouts.UNET, **target)


def load_autoencoder(folder: Path, *, variant: str | None = None, **target) -> Autoencoder:
    """Reads a ``vae`` folder."""
    config = configs.read_autoencoder(read_json(folder / "config.json"))
    weights = open_weights(folder, DIFFUSERS, variant)
    return load_network(lambda: Autoencoder(config), weights, layouts.AUTOENCODER, **target)


def load_text_encoder(folder: Path, end_id: int, *, variant: str | None = None, **target) -> TextEncoder:
    """Reads a ``text_encoder`` folder. ``end_id`` is the tokenizer's, since the folder's own is often wrong."""
    config = clip_configs.read_text_encoder(read_json(folder / "config.json"), end_id)
    weights = open_weights(folder, TRANSFORMERS, variant)
    return load_network(lambda: TextEncoder(config), weights, layouts.TEXT_ENCODER, **target)


def load_image_encoder(folder: Path, *, variant: str | None = None, **target) -> ImageEncoder:
    """Reads the folder of a CLIP image tower."""
    config = clip_configs.read_image_encoder(read_json(folder / "config.json"))
    weights = open_weights(folder, TRANSFORMERS, variant)
    return load_network(lambda: ImageEncoder(config), weights, layouts.IMAGE_ENCODER, **target)


def load_clip(folder: Path, end_id: int, *, variant: str | None = None, **target) -> CLIP:
    """Reads the folder of a whole CLIP."""
    text, image = clip_configs.read_clip(read_json(folder / "config.json"), end_id)
    weights = open_weights(folder, TRANSFORMERS, variant)
    return load_network(lambda: CLIP(text, image), weights, layouts.CLIP, **target)


def save_unet(
    unet: UNet, folder: Path, dtype: torch.dtype | None = None, *, sample_size: int | None = None, **files
) -> None:
    """Writes a ``unet`` folder. ``sample_size`` is the side of its usual latents; ``files``: variant, max_bytes."""
    config = configs.write_unet(unet.config, sample_size=sample_size)
    layout = layouts.UNET_LINEAR if unet.config.linear_projections else layouts.UNET
    save_network(unet, folder, layout, config, dtype, stem=DIFFUSERS, **files)


def save_autoencoder(
    autoencoder: Autoencoder,
    folder: Path,
    dtype: torch.dtype | None = None,
    *,
    sample_size: int | None = None,
    **files,
) -> None:
    """Writes a ``vae`` folder. ``sample_size`` is the side of its usual pictures."""
    config = configs.write_autoencoder(autoencoder.config, sample_size=sample_size)
    save_network(autoencoder, folder, layouts.AUTOENCODER, config, dtype, stem=DIFFUSERS, **files)


def save_text_encoder(
    encoder: TextEncoder, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype | None = None, **files
) -> None:
    """Writes a ``text_encoder`` folder."""
    config = clip_configs.write_text_encoder(encoder.config, start_id=tokenizer.start, pad_id=tokenizer.pad)
    save_network(encoder, folder, layouts.TEXT_ENCODER, config, dtype, stem=TRANSFORMERS, **files)


def save_image_encoder(encoder: ImageEncoder, folder: Path, dtype: torch.dtype | None = None, **files) -> None:
    """Writes the folder of a CLIP image tower."""
    config = clip_configs.write_image_encoder(encoder.config)
    save_network(encoder, folder, layouts.IMAGE_ENCODER, config, dtype, stem=TRANSFORMERS, **files)


def save_clip(clip: CLIP, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype | None = None, **files) -> None:
    """Writes the folder of a whole CLIP, which transformers' CLIPModel reads."""
    ids = {"start_id": tokenizer.start, "pad_id": tokenizer.pad}
    config = clip_configs.write_clip(clip.text.config, clip.image.config, **ids)
    save_network(clip, folder, layouts.CLIP, config, dtype, stem=TRANSFORMERS, **files)


def without_projection(encoder: TextEncoder) -> TextEncoder:
    """The same text tower, sharing its weights, without the projection that only contrastive training uses."""
    if encoder.projection is None:
        return encoder
    with torch.device("meta"):
        bare = TextEncoder(replace(encoder.config, projection_dim=None))
    state = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("projection.")}
    bare.load_state_dict(state, assign=True)
    return bare.requires_grad_(False).eval()


def load_network(
    build: Callable[[], Network],
    weights: NamedTensors,
    layout: Layout,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    lean: bool = False,
) -> Network:
    """Builds a network without memory and gives it the weights of files; ``dtype`` None leaves them as they are.

    ``lean``: large weights that are stored in fewer bits than ``dtype`` stay so on a CPU (``tintype.speed.lean``).

    Raises ``CheckpointError`` that lists every name that is missing, unknown or of another shape.
    """
    try:
        with torch.device("meta"):
            network = build()
    except (ValueError, RuntimeError) as error:  # widths that torch's layers refuse, such as odd groups
        raise CheckpointError(f"The configuration beside {_where(weights)} cannot be built: {error}.") from error
    _compare(network.state_dict(), layout.to_ours(weights.on_meta()), weights, layout)
    state: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    lean = lean and torch.device(device).type == "cpu"
    for their_name, tensor in weights.tensors():
        for name, part in layout.to_ours({their_name: tensor}).items():
            if lean and dtype is not None and can_stay(network, name, part, dtype):
                state[name], kept[name] = nothing(part, dtype), part
            else:
                state[name] = _placed(part, torch.device(device), dtype or part.dtype)
    network.load_state_dict(state, assign=True)
    for name, part in kept.items():
        keep(network, name, part)
    return network.requires_grad_(False).eval()


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor where it is to be: itself, a view of its file, where nothing is to change.

    A copy on the CPU stands in pages of its own, which go back to the system with it. What C's ``free`` takes back it
    mostly keeps, in pieces: after three models of 360 MB it held 380 MB that nobody used.
    """
    if device.type != "cpu" or tensor.is_meta or tensor.numel() * dtype.itemsize < PAGED_BYTES:
        return tensor.to(device=device, dtype=dtype).contiguous()
    if tensor.dtype == dtype and tensor.is_contiguous():
        return tensor
    pages = mmap.mmap(-1, tensor.numel() * dtype.itemsize, **PRIVATE)
    return torch.frombuffer(pages, dtype=torch.uint8).view(dtype).view(tensor.shape).copy_(tensor)


def save_network(
    network: nn.Module,
    folder: Path,
    layout: Layout,
    config: Mapping[str, Any],
    dtype: torch.dtype | None,
    *,
    stem: str,
    variant: str | None = None,
    max_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes config.json and weights, in ``dtype`` or as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = {name: tensor.detach().to("cpu", dtype or tensor.dtype) for name, tensor in network.state_dict().items()}
    theirs = {name: tensor.contiguous() for name, tensor in layout.to_theirs(ours).items()}
    write_weights(folder, stem, theirs, variant=variant, max_bytes=max_bytes)
    write_json(folder / "config.json", config)


def _compare(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], weights: NamedTensors, layout: Layout
) -> None:
    """CheckpointError unless names and shapes agree, and every weight is a number with a fraction."""
    problems = []
    missing = [layout.their_name(name) for name in expected if name not in found]
    unknown = [layout.their_name(name) for name in found if name not in expected]
    shapes = [
        f"{layout.their_name(name)} {list(found[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    types = [f"{layout.their_name(name)} {t.dtype}" for name, t in found.items() if not t.is_floating_point()]
    for what, names in (
        ("missing", missing),
        ("unknown", unknown),
        ("of another shape", shapes),
        ("no weights", types),
    ):
        if names:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            problems.append(f"{len(names)} {what}: {', '.join(names[:6])}{more}")
    if problems:
        raise CheckpointError(f"{_where(weights)} does not fit its configuration. Tensors {'; '.join(problems)}.")


def _where(weights: NamedTensors) -> Path:
    return weights.files[0].path
