"""The bundle: a text encoder, a UNet, an autoencoder and a schedule, and the three ways to draw with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from tintype.adapters.lora import Attached, Lora, attach, load_lora
from tintype.adapters.places import embedding_folders, find_embedding, find_lora, lora_folders
from tintype.adapters.textual_inversion import AttachedEmbedding, attach_embedding
from tintype.diffusion import Schedule
from tintype.errors import TintypeError
from tintype.images import Source, to_image
from tintype.models import Autoencoder, Pixels, Prepared, UNet
from tintype.pipeline.finite import require_finite
from tintype.pipeline.origin import Origin
from tintype.pipeline.run import Run
from tintype.pipeline.settings import Defaults, Settings
from tintype.speed import set_profile, tile
from tintype.text.conditioner import Conditioner
from tintype.types import Conditioning


class StableDiffusion:
    """A model that draws. ``tintype.load`` makes one from files.

    ``lock`` is held during each call of a network and at no other time, so that several runs, from several threads,
    take turns on one model. It is reentrant: who records a call may hold it around the call. ``source`` is the file
    or folder that the weights came from, where there is one, and ``origin`` all its files and how they were read;
    ``notices`` what should be said of it. ``tiling`` says which pictures go through the autoencoder in tiles, to save
    memory: those above 768x768; None is for none. ``profile`` is the speed profile that the model is in (``speed``).
    """

    def __init__(
        self,
        unet: UNet,
        autoencoder: Autoencoder,
        conditioner: Conditioner,
        schedule: Schedule,
        *,
        name: str = "",
        defaults: Defaults | None = None,
    ) -> None:
        self.unet = unet
        self.autoencoder = autoencoder
        self.conditioner = conditioner
        self.schedule = schedule
        self.name = name
        self.defaults = defaults or Defaults()
        self.source: Path | None = None
        self.origin: Origin | None = None
        self.notices: tuple[str, ...] = ()
        self.tiling: tile.Tiling | None = None if isinstance(autoencoder, Pixels) else tile.Tiling()
        self.lock = threading.RLock()
        self.profile = "plain"
        self.obstacles: tuple[str, ...] = ()
        self._asked = "plain"
        self._closed = False

    @property
    def device(self) -> torch.device:
        """Where the UNet is, and the latents of a run."""
        return self.unet.norm_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in. Latents are fp32 all the same."""
        return self.unet.norm_out.weight.dtype

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What adapters attach to: "unet", "text_encoder" and, in SDXL, "text_encoder_2"."""
        names = ("text_encoder", "text_encoder_2")
        encoders = {name: tower.encoder for name, tower in zip(names, self.conditioner.towers, strict=False)}
        return {"unet": self.unet, **encoders}

    def attach(self, lora: str | Path | Lora, scale: float = 1.0) -> Attached:
        """Put a LoRA on the model until it is detached: a file, a name in ``lora_folders``, or one that was read.

        Raises:
            CheckpointError: it is not found, no LoRA, or made for another family.
        """
        if not isinstance(lora, Lora):
            lora = load_lora(find_lora(str(lora), self.lora_folders))
        with self.lock:
            return attach(self.networks, lora, scale)

    def embed(self, embedding: str | Path, word: str | None = None) -> AttachedEmbedding:
        """Let a word of prompts stand for a textual inversion until it is detached: a file, or a name.

        ``word`` None is the file's own, or its name. A run knows those in ``embedding_folders`` by their names unasked.

        Raises:
            CheckpointError: it is not found, no embedding, or made for another family.
            SettingsError: the word is empty, or stands for another embedding.
        """
        path = find_embedding(str(embedding), self.embedding_folders)
        with self.lock:
            return attach_embedding(self.conditioner, path, word)

    @property
    def embedding_folders(self) -> list[Path]:
        """Where textual inversions are looked for by name."""
        return embedding_folders(self.source)

    @property
    def lora_folders(self) -> list[Path]:
        """Where LoRAs are looked for by name."""
        return lora_folders(self.source)

    def text2img(self, prompt: str | Sequence[str], *, latents: Tensor | None = None, **settings) -> Run:
        """A picture from words.

        Args:
            prompt: one, or several.
            latents: (b 4 h w), unit-normal noise to start from instead of the seeds' own.
            settings: the fields of ``Settings``.

        Raises:
            SettingsError: a setting that cannot be.
        """
        return self.run(Settings(prompt=prompt, **settings), latents=latents)

    def img2img(self, image: Source, prompt: str | Sequence[str], *, latents: Tensor | None = None, **settings) -> Run:
        """A picture from a picture and words. ``strength`` says how much of the way is drawn anew.

        The size is the picture's, cut to multiples of 8, or ``width`` and ``height``, which it is made to cover.

        Raises:
            SettingsError: a setting that cannot be, or ``steps`` and ``strength`` that leave no step.
            ImageError: a picture that cannot be read.
        """
        return self.run(Settings(prompt=prompt, **settings), image=image, latents=latents)

    def inpaint(
        self,
        image: Source,
        mask: Source,
        prompt: str | Sequence[str],
        *,
        latents: Tensor | None = None,
        **settings,
    ) -> Run:
        """Repaint the part of a picture where the mask is white. The rest keeps its pixels, bit for bit.

        Raises:
            SettingsError: a setting that cannot be, or ``steps`` and ``strength`` that leave no step.
            ImageError: a picture that cannot be read, or a mask of another shape than the picture.
        """
        return self.run(Settings(prompt=prompt, **settings), image=image, mask=mask, latents=latents)

    def run(
        self,
        settings: Settings,
        *,
        image: Source | None = None,
        mask: Source | None = None,
        latents: Tensor | None = None,
    ) -> Run:
        """A run with these settings, for instance the ``settings`` of an earlier run, which it repeats.

        Raises:
            SettingsError: a setting that cannot be, or another picture than the one that the settings record.
            ImageError: a picture that cannot be read.
        """
        return Run(self, settings, image=image, mask=mask, latents=latents)

    def predict(self, x: Tensor, t: Tensor, cond: Conditioning | Prepared) -> Tensor:
        """One call of the UNet, in turn with other runs: (b c h w), (b,) times -> (b c h w)."""
        with self.turn():
            return self.unet(x, t, cond)

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """(b 3 H W) in [-1, 1] -> latents of about unit variance, (b 4 h w) fp32: the mean, or a draw with ``noise``.

        Raises:
            NotFiniteError: NaN or infinity in the result.
        """
        weight = self.autoencoder.weight
        with self.turn():
            posterior = tile.encode(self.autoencoder, pixels.to(weight.device, weight.dtype), self.tiling)
            raw = posterior.mean if noise is None else posterior.sample(noise.to(weight.device, weight.dtype))
        latents = raw.float() * self.autoencoder.config.scaling_factor
        require_finite(latents, "autoencoder", weight.dtype)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents of about unit variance, (b 4 h w) -> pixels (b 3 H W) fp32, about [-1, 1].

        Raises:
            NotFiniteError: NaN or infinity in the result.
        """
        weight = self.autoencoder.weight
        raw = latents.to(weight.device) / self.autoencoder.config.scaling_factor
        with self.turn():
            pixels = tile.decode(self.autoencoder, raw.to(weight.dtype), self.tiling)
        require_finite(pixels, "autoencoder", weight.dtype)
        return pixels.float()

    def images(self, latents: Tensor) -> list[Image.Image]:
        """(b 4 h w) -> b pictures. They are decoded one by one, which bounds memory and lets other runs between."""
        return [to_image(self.decode(one)[0]) for one in latents.split(1)]

    def speed(self, profile: str = "fast") -> StableDiffusion:
        """Bring the model into a profile: "plain", or "fast", which packs the weights for this processor.

        Nothing is lost: ``plain`` gives every weight back bit for bit. Where "fast" cannot be, the model stays plain
        and its runs say why in their notices. Layers that showed their weights to somebody, and so became plain, are
        packed again when the next run begins.

        Raises:
            SettingsError: there is no such profile.
        """
        with self.lock:
            networks = [self.unet, self.autoencoder, *(tower.encoder for tower in self.conditioner.towers)]
            found = set_profile(networks, profile)
            self._asked = profile
            self.profile = "plain" if found else profile
            if found:  # all or none, so that a profile's name says what was computed
                set_profile(networks, "plain")
            self.obstacles = tuple(f"The speed profile {profile!r} is not to be had: {why}." for why in found)
        return self

    def plain(self) -> StableDiffusion:
        """The weights as they are, whatever ``speed`` did."""
        return self.speed("plain")

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Within the block, for which the lock is held, the model is plain; then it is in its profile again."""
        with self.lock:
            asked = self._asked
            self.plain()
            try:
                yield
            finally:
                self.speed(asked)

    def repack(self) -> None:
        """Pack again what became plain meanwhile; a run does it when it begins."""
        self.speed(self._asked)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> StableDiffusion:
        """Move to a device, or change what the networks compute in. Runs that have begun do not move along."""
        with self.turn():
            encoders = [tower.encoder for tower in self.conditioner.towers]
            for network in (self.unet, *encoders):
                network.to(device=device, dtype=dtype)
            half = dtype == torch.float16 and self.autoencoder.config.force_upcast
            self.autoencoder.to(device=device, dtype=torch.float32 if half else dtype)
            self.repack()
        return self

    def close(self) -> None:
        """Give the memory of the weights back, even where runs still refer to the model. It cannot draw any more."""
        with self.lock:
            if not self._closed:
                self.to("meta")
                self._closed = True
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The model for oneself, without gradients: held around each call of a network, never across a yield."""
        with self.lock, torch.no_grad():
            if self._closed:
                raise TintypeError("This model was closed and has no weights any more; load it again.")
            yield
