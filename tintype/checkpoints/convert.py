"""A model from one form to the other: diffusers folder <-> single file."""

from __future__ import annotations

from pathlib import Path

import torch

from tintype.checkpoints.folder import load_folder, save_folder
from tintype.checkpoints.load import model_path
from tintype.checkpoints.single_file import load_autoencoder_file, load_single_file, save_single_file
from tintype.errors import CheckpointError


def convert(
    source: str | Path | None,
    target: str | Path,
    *,
    dtype: torch.dtype | None = None,
    vae: str | Path | None = None,
    prediction: str | None = None,
    zero_terminal_snr: bool | None = None,
    ema: bool = False,
    variant: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Writes the model at ``source`` (None: the one in the box) as ``target``; what should be said of it comes back.

    A ``target`` that ends in ``.safetensors`` is a single file, any other a folder. Tensors keep their type and their
    bits unless ``dtype`` asks for another. ``vae`` is a file with the autoencoder to put in. Nothing is half-written.

    Raises ``CheckpointError`` for what cannot be read, or is there already.
    """
    path, target = model_path(source), Path(target).expanduser()
    if target.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise CheckpointError(f"{target}: pickles can run code and are not written; expected .safetensors or a folder.")
    if target.exists() and not overwrite:
        raise CheckpointError(f"{target} is there already. Choose another place, or ask to overwrite it.")
    if path.is_file():
        other = load_autoencoder_file(vae, dtype=None) if vae is not None else None
        sd = load_single_file(
            path, dtype=None, vae=other, prediction=prediction, zero_terminal_snr=zero_terminal_snr, ema=ema
        )
    else:
        only = {"vae": vae, "prediction": prediction, "zero_terminal_snr": zero_terminal_snr, "ema": ema or None}
        given = [name for name, value in only.items() if value is not None]
        if given:
            raise CheckpointError(f"{', '.join(given)}: of single files; {path} is a folder, which says these itself.")
        sd = load_folder(path, dtype=None, variant=variant)
    if target.suffix == ".safetensors":
        save_single_file(sd, target, dtype=dtype, overwrite=overwrite)
    else:
        save_folder(sd, target, dtype=dtype, overwrite=overwrite)
    return sd.notices
