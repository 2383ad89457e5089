"""``tintype.again``: a picture drawn again from what its file says, and compared with what it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isinf
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tintype.adapters.places import find_lora
from tintype.checkpoints.hub import Progress
from tintype.checkpoints.load import BOX, load, weights_of
from tintype.errors import CheckpointError, SettingsError
from tintype.images import Source, pixel_hash, psnr
from tintype.layouts.hashes import file_sha256, files_sha256, known_models
from tintype.pipeline.provenance import differences, environment, lora_files
from tintype.pipeline.recollection import Recollection, is_short_hash, recall
from tintype.pipeline.run import Run
from tintype.pipeline.settings import Settings
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.speed import PROFILES
from tintype.types import Denoise, Sigma

NEAR = 40.0
"""dB. So near, on another machine, the picture is taken for repeated; farther, its whole batch is drawn."""

_LORA_TAG = re.compile(r"<lora:([^<>:]*)[^<>]*>", re.IGNORECASE)


class Again:
    """A picture, drawn again.

    ``image`` is the new one. ``identical`` says whether every pixel is as it was when the picture was drawn, ``psnr``
    how far (dB) it is from what the file shows, ``differences`` what is not as it was recorded, and ``verdict`` all of
    it in a sentence. Each of them draws first. To watch: ``for run in again.runs(): for step in run: ...``.
    """

    def __init__(
        self,
        recalled: Recollection,
        model: StableDiffusion,
        *,
        image: Source | None = None,
        mask: Source | None = None,
        latents: Tensor | None = None,
    ) -> None:
        self.recalled = recalled
        self.model = model
        self.settings = recalled.settings
        self.run: Run | None = None
        self.index = 0
        self.stopped = False
        self._materials: dict[str, Any] = {"image": image, "mask": mask, "latents": latents}
        self._notices = [*recalled.notices]
        self._differences: list[str] = []
        self._runs: Iterator[Run] = self._attempts()
        _check_materials(self.settings, recalled.path, self._materials)
        if recalled.record is None:
            self._adapt_text()
        else:
            self._differences += differences(recalled.record, environment(model, self.settings))
        self._compare_model()

    def runs(self) -> Iterator[Run]:
        """The runs that are still needed, each to be watched or not: the picture alone, then perhaps its batch."""
        return self._runs

    @property
    def image(self) -> Image.Image:
        """The picture as it came out this time."""
        for _ in self.runs():
            pass
        assert self.run is not None
        return self.run.images[self.index]

    @property
    def identical(self) -> bool | None:
        """Whether every pixel came out the same; None where a lossy file does not tell."""
        return self._is_identical(self.image)

    @property
    def psnr(self) -> float | None:
        """dB between the new picture and the file's; infinite where they are equal, None where sizes differ."""
        return self._distance(self.image)

    @property
    def differences(self) -> tuple[str, ...]:
        """What is not as it was when the picture was drawn."""
        return tuple(self._differences)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the text asks for and was not done, and what was found on the way."""
        edited = self.recalled.pixels_sha256 not in (None, pixel_hash(self.recalled.picture.rgb))
        changed = ("The file's pixels are not those that were saved: it was changed since.",)
        return (*self._notices, *(changed if edited and not self._is_lossy else ()))

    @property
    def verdict(self) -> str:
        """How close it came, and why it came no closer."""
        identical, distance = self.identical, self.psnr
        away = "of another size" if distance is None else "equal" if isinf(distance) else f"{distance:.1f} dB"
        if identical:
            return "identical: every pixel is as it was drawn" + (
                f" (the file, which is not lossless, is {away} from it)" if away != "equal" else ""
            )
        if self.recalled.record is None:
            return f"as far as the text tells: {away} from the picture"
        because = "; ".join(self.differences) or "nothing that is recorded differs"
        unknown = "not known to be identical" if identical is None else "not identical"
        return f"{unknown}: {away} from the picture; {because}"

    @property
    def _is_lossy(self) -> bool:
        return self.recalled.path.suffix.lower() != ".png"

    def _attempts(self) -> Iterator[Run]:
        recalled, alone = self.recalled, self.recalled.alone
        if alone is not None:
            self.run = self._begin(alone)
            yield self.run
            if self._was_stopped():
                return
            identical, distance = self._is_identical(self.run.images[0]), self._distance(self.run.images[0])
            if identical or (self._differences and distance is not None and distance >= NEAR):
                return
            self._notices.append(
                f"Alone it did not come out the same; all {self.settings.num_images} pictures of its batch were drawn."
            )
        self.run, self.index = self._begin(self.settings), recalled.index
        yield self.run
        self._was_stopped()

    def _begin(self, settings: Settings) -> Run:
        run = self.model.run(settings, **self._materials)
        if self.recalled.estimates is not None:
            run.wrap(_stopping(run, self.recalled.estimates))
        return run

    def _was_stopped(self) -> bool:
        """Runs on to the end; whether it was cut short now, not when the picture was drawn."""
        assert self.run is not None
        for _ in self.run:
            pass
        wanted = self.recalled.estimates
        done = self.run.steps_done == len(self.run) or (wanted is not None and self.run.estimates_done >= wanted)
        self.stopped = not done
        return self.stopped

    def _is_identical(self, image: Image.Image) -> bool | None:
        recorded = self.recalled.pixels_sha256
        if recorded is not None:
            return pixel_hash(image) == recorded
        if pixel_hash(image) == pixel_hash(self.recalled.picture.rgb):
            return True
        return None if self._is_lossy else False

    def _distance(self, image: Image.Image) -> float | None:
        shown = self.recalled.picture.rgb
        return psnr(image, shown) if image.size == shown.size else None

    def _adapt_text(self) -> None:
        """What a text of A1111's means for this model: its kind of step list, and only the LoRAs that are here."""
        if self.settings.spacing == "ays" and self.model.unet.config.vector_dim is not None:
            self.settings = replace(self.settings, spacing="ays_sdxl")
        prompt = self.settings.prompts[0]
        for tag in _LORA_TAG.finditer(prompt):
            try:
                find_lora(tag[1].strip(), self.model.lora_folders)
            except CheckpointError:
                prompt = prompt.replace(tag[0], "")
                self._notices.append(f"The LoRA {tag[1].strip()[:60]!r} is not here and was left out.")
        self.settings = replace(self.settings, prompt=prompt)
        self.recalled = replace(self.recalled, settings=self.settings)

    def _compare_model(self) -> None:
        recalled, origin = self.recalled, self.model.origin
        now = origin.sha256() if origin else None
        if recalled.model_hash is not None and not (now or "").startswith(recalled.model_hash):
            before = f"{recalled.model or 'of no name'} ({recalled.model_hash[:10]})"
            self._differences.append(f"model was {before}, now {self.model.name} ({(now or 'of no file')[:10]})")
        if recalled.record is None:
            if recalled.vae is not None and (origin is None or origin.vae is None):
                self._notices.append(
                    f"VAE {recalled.vae[:60]}: not known here; give it as vae, if it is not the model's"
                )
            self._notices += self._differences
            return
        vae = origin.vae_sha256() if origin else None
        if vae != recalled.vae_hash:
            self._differences.append(f"vae was {(recalled.vae_hash or 'the own')[:10]}, now {(vae or 'the own')[:10]}")
        options = dict(origin.options) if origin else {}
        if options != dict(recalled.options):
            self._differences.append(f"loaded with {dict(recalled.options)}, now with {options}")
        self._compare_loras()

    def _compare_loras(self) -> None:
        if not self.recalled.lora_hashes:
            return
        files = lora_files(self.settings, self.model)
        for name, sha256 in self.recalled.lora_hashes.items():
            if name in files and file_sha256(files[name]) != sha256:
                self._differences.append(f"the LoRA {name[:60]} is another file than it was")


def again(
    picture: str | Path,
    *,
    model: str | Path | StableDiffusion | None = None,
    vae: str | Path | None = None,
    image: Source | None = None,
    mask: Source | None = None,
    latents: Tensor | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Again:
    """A picture of Tintype's or of A1111's web UI, to be drawn again from what its file says.

    Nothing is drawn yet: ``again(path).image`` does, and ``.verdict`` compares.

    Args:
        picture: its file: PNG, JPEG or WebP.
        model: the model, or what ``tintype.load`` takes for it. None: the one whose hash the picture names, if it is
            the model in the box or its pictures were saved on this machine before.
        vae: another autoencoder, likewise.
        image: the picture that it was drawn from, for img2img and inpainting.
        mask: the mask, for inpainting.
        latents: the start noise, where it was given.
        device: None for where it was drawn, if there is such a device here.
        dtype: None for what it was drawn in; where the file is silent on that, as of ``tintype.load``.
        progress: as of ``tintype.load``.

    Raises:
        ImageError: the file is no picture, or does not say how it was made.
        CheckpointError: the model is not known here.
        SettingsError: what it was drawn from is not given, or another.
    """
    recalled = recall(picture)
    if not isinstance(model, StableDiffusion):
        _check_materials(recalled.settings, recalled.path, {"image": image, "mask": mask, "latents": latents})
        model = load(
            model or _find_model(recalled),
            vae=vae or _find_vae(recalled),
            device=device or _device(recalled),
            dtype=dtype or _dtype(recalled),
            progress=progress,
            **recalled.options,
        ).speed(_speed(recalled))
    return Again(recalled, model, image=image, mask=mask, latents=latents)


def _find_model(recalled: Recollection) -> Path | None:
    """The model by its hash: the box, or a file or folder whose hash was computed here before."""
    if recalled.record is not None or is_short_hash(recalled.model_hash):
        wanted = recalled.model_hash
        if wanted is not None:
            if files_sha256(weights_of(BOX), BOX).startswith(wanted):
                return BOX
            for path in known_models(wanted):
                return path
    named = f"by the model {recalled.model!r}" if recalled.model else "by a model that it does not name"
    sha256 = f", of hash {recalled.model_hash[:64]}," if recalled.model_hash else ""
    raise CheckpointError(
        f"{recalled.path} was drawn {named}{sha256} which is not known on this machine. Give its file or folder with "
        "--model (model= in Python)."
    )


def _find_vae(recalled: Recollection) -> Path | None:
    if recalled.vae_hash is None:
        return None
    if recalled.record is not None or is_short_hash(recalled.vae_hash):
        for path in known_models(recalled.vae_hash):
            return path
    if recalled.record is None:  # the text goes on without it, with a notice
        return None
    raise CheckpointError(
        f"{recalled.path} was drawn with another autoencoder, of hash {recalled.vae_hash}, which is not known on this "
        "machine. Give its file or folder with --vae (vae= in Python)."
    )


def _device(recalled: Recollection) -> torch.device | None:
    """Where it was drawn; None where that is not recorded or not here."""
    name = (recalled.record or {}).get("device")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    here = {"cpu"} | ({accelerator.type} if accelerator is not None else set())
    return torch.device(name) if isinstance(name, str) and name in here else None


def _dtype(recalled: Recollection) -> torch.dtype | None:
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return dtypes.get(str((recalled.record or {}).get("dtype")))


def _speed(recalled: Recollection) -> str:
    """The profile that it was drawn in; pictures that do not say were drawn plain."""
    recorded = (recalled.record or {}).get("speed")
    return recorded if recorded in PROFILES else "plain"


def _check_materials(settings: Settings, path: Path, materials: dict[str, Any]) -> None:
    """SettingsError that says what else is needed."""
    needed = {"image": settings.image_sha256 or settings.strength, "mask": settings.mask_sha256 or settings.mask_blur}
    needed["latents"] = settings.latents_sha256
    names = {"image": "from a picture", "mask": "with a mask", "latents": "from noise that was given"}
    for name, sign in needed.items():
        if sign is not None and materials[name] is None:
            sha256 = f" (SHA-256 of its pixels {sign[:12]}...)" if isinstance(sign, str) and name != "latents" else ""
            option = f"--{name} FILE ({name}= in Python)" if name != "latents" else "latents= in Python"
            raise SettingsError(f"{path} was drawn {names[name]}{sha256}. Give it too: {option}.")


def _stopping(run: Run, estimates: int) -> Callable[[Denoise], Denoise]:
    """A wrapper that stops a run after so many estimates of the picture, where it was stopped the first time."""

    def wrap(denoise: Denoise) -> Denoise:
        done = 0

        def counted(x: Tensor, sigma: Sigma) -> Tensor:
            nonlocal done
            denoised = denoise(x, sigma)
            done += 1
            if done == estimates:
                run.stop()
            return denoised

        return counted

    return wrap
