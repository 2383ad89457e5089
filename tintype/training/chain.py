"""A whole Stable Diffusion from nothing: pictures, words, CLIP, autoencoder, latents, noise predictor.

Each stage has a folder of its own under the run's and continues where it was left; a stage begins by reading what
the stages before it left. `Chain.model` makes a Stable Diffusion of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from tintype.checkpoints.load import load
from tintype.checkpoints.parts import load_text_encoder, save_text_encoder, without_projection
from tintype.diffusion import Schedule
from tintype.errors import TrainingError
from tintype.models import CLIP, Autoencoder, PatchDiscriminator, Pixels, TextEncoder, UNet
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.scenes import caption, known_words
from tintype.scenes.vocabulary import split_words
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary
from tintype.training.draws import Draw
from tintype.training.growing import begin_as
from tintype.training.identity import kept
from tintype.training.latents import cache_latents, measure_scaling_factor
from tintype.training.loop import Training
from tintype.training.perceptual import Perceptual
from tintype.training.pictures import DrawnScenes, Pictures, draw_scenes, scene_of
from tintype.training.prepare import Preparation, prepare_latents, prepare_pixels
from tintype.training.processes import processes
from tintype.training.recipes import AutoencoderRecipe, ChainRecipe, ClipRecipe, DenoiserRecipe, adjusted
from tintype.training.rival import Rival
from tintype.training.shards import Shards
from tintype.training.sources import PictureSource, open_source
from tintype.training.state import load_newest_state, states
from tintype.training.stored import ShownPictures, StoredLatents, StoredPictures
from tintype.training.tasks import ContrastiveTask, DiffusionTask, ReconstructionTask
from tintype.training.tasks.contrastive import initialize
from tintype.training.words import NoWords, OneTower

CAPTIONS_FOR_TOKENIZER = 20_000

TAKEN = "text_encoder"
"""The folder of a text encoder that was not taught here."""

NETWORK = "network.json"
OF_THE_NETWORK = ("text", "pixels", "prediction", "zero_terminal_snr")
"""Dials that decide what a noise predictor is, and so how it is to be drawn with. They are kept beside its states."""

Made = TypeVar("Made")


class Chain:
    """The stages of one recipe under one folder, in the order in which they build on each other."""

    def __init__(self, recipe: ChainRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder

    @cached_property
    def source(self) -> PictureSource | None:
        """Anybody's pictures, where the recipe names a place; None where scenes are drawn."""
        return None if self.recipe.data is None else open_source(self.recipe.data)

    @property
    def num_pictures(self) -> int:
        """How many there are to prepare, those that cannot be read included."""
        return self.recipe.pictures if self.source is None else len(self.source.items)

    def _preparation(self) -> Preparation:
        return Preparation(size=self.recipe.size, flip=self.recipe.flip, seed=self.recipe.seed)

    def draw_pictures(self, *, part: int = 0, parts: int = 1) -> Iterator[int]:
        """Draw the scenes, or bring anybody's pictures to size; yields how many are ready."""
        recipe = self.recipe
        if self.source is not None:
            return prepare_pixels(self.folder / "pictures", self.source, self._preparation(), part=part, parts=parts)
        return draw_scenes(
            self.folder / "pictures",
            recipe.pictures,
            recipe.vocabulary,
            size=recipe.size,
            seed=recipe.seed,
            part=part,
            parts=parts,
        )

    def train_tokenizer(self) -> Tokenizer:
        """Byte pairs learnt from captions."""
        tokenizer = Tokenizer.train(self._captions(), self.recipe.vocab_size)
        tokenizer.save(self.folder / "tokenizer")
        return tokenizer

    def _captions(self) -> Iterator[str]:
        if self.source is not None:
            yield from (caption for item in self.source.items for caption in item.captions)
            return
        for index in range(CAPTIONS_FOR_TOKENIZER):
            scene = scene_of(self.recipe.seed, index, self.recipe.vocabulary)
            yield caption(scene, Draw(self.recipe.seed, 0, index).rng("caption"))

    def clip_training(self, recipe: ClipRecipe) -> Training:
        """CLIP on the drawn pictures and their captions."""
        with processes().first_goes_ahead():
            tokenizer = self.tokenizer()
        clip = seeded(recipe.seed, lambda: initialize(self._new_clip())).to(processes().device)
        task = ContrastiveTask(clip, self._pictures(), tokenizer, twins=recipe.twins)
        return Training(task, recipe, self.folder / "clip")

    def autoencoder_training(self, recipe: AutoencoderRecipe) -> Training:
        """The autoencoder on crops of the drawn pictures; CLIP and a discriminator look on where they have a weight."""
        device = processes().device
        model = seeded(recipe.seed, lambda: Autoencoder(recipe.autoencoder))
        if recipe.begin is not None and not states(self.folder / "autoencoder"):
            begin_as(model, _taught(recipe.begin).autoencoder)
        model = model.to(device)
        perceptual = Perceptual(self.clip().image.to(device)) if recipe.perceptual_weight else None
        rival = None
        if recipe.adversarial_weight:
            discriminator = seeded(recipe.seed, lambda: PatchDiscriminator(recipe.discriminator))
            rival = Rival(discriminator.to(device), recipe.adversarial_after)
        task = ReconstructionTask(model, self._pictures(), recipe, perceptual, rival)
        return Training(task, recipe, self.folder / "autoencoder")

    def cache_latents(self, *, part: int = 0, parts: int = 1) -> Iterator[int]:
        """Encode the pictures; yields how many are ready."""
        folder, encoder = self.folder / "latents", self.autoencoder().eval().to(processes().device)
        if self.source is not None:
            return prepare_latents(folder, self.source, self._preparation(), encoder, part=part, parts=parts)
        return cache_latents(folder, DrawnScenes(self.folder / "pictures"), encoder, part=part, parts=parts)

    def denoiser_training(self, recipe: DenoiserRecipe, name: str = "denoiser") -> Training:
        """The noise predictor on the latents, told what the text tower makes of their captions.

        Or on pixels, or told nothing, as the recipe says; then it needs no stage before it but the pictures. ``name``
        is its folder: several recipes can be tried side by side. What kind of network it is, is kept there.
        """
        unet = seeded(recipe.seed, lambda: UNet(recipe.network))
        if recipe.begin is not None and not states(self.folder / name):
            taught = _taught(recipe.begin)
            begin_as(unet, taught.unet)
            if recipe.text and not self.has_clip:
                self._take_words(taught)
        unet = unet.to(processes().device)
        task = self.diffusion_task(recipe, unet, None if recipe.pixels else self._latents())
        kept(self.folder / name / NETWORK, {dial: str(getattr(recipe, dial)) for dial in OF_THE_NETWORK})
        return Training(task, recipe, self.folder / name)

    def diffusion_task(self, recipe: DenoiserRecipe, unet: UNet, latents: Shards | None) -> DiffusionTask:
        """What the noise predictor learns: the loss on some latents, told what the text tower makes of their words.

        Latents None are pixels.
        """
        if latents is None:
            examples = ShownPictures(self._pictures())
        else:
            factor = self.recipe.autoencoder.autoencoder.factor
            examples = StoredLatents(latents, self.scaling_factor(), factor=factor)
        words = NoWords()
        if recipe.text:
            words = OneTower(self.text_encoder().to(unet.conv_in.weight.device), self.tokenizer())
        return DiffusionTask(unet, examples, words, self.schedule(recipe), recipe)

    @property
    def denoiser_recipe(self) -> DenoiserRecipe:
        """The recipe with the kind of network that was chosen when the noise predictor was begun."""
        path = self.folder / "denoiser" / NETWORK
        return adjusted(self.recipe.denoiser, kept(path, {}))

    def scaling_factor(self) -> float:
        """What brings this autoencoder's latents to unit size."""
        return measure_scaling_factor(self._latents())

    def schedule(self, recipe: DenoiserRecipe) -> Schedule:
        """Stable Diffusion's betas, and what this network predicts."""
        return Schedule.scaled_linear(
            prediction=recipe.prediction,
            spacing="trailing",
            sampler="ddim",
            zero_terminal_snr=recipe.zero_terminal_snr,
        )

    @property
    def has_clip(self) -> bool:
        """Whether CLIP was taught here, or is being taught."""
        return bool(states(self.folder / "clip"))

    def _take_words(self, taught: StableDiffusion) -> None:
        """Keep the words of the model that the noise predictor begins as: it understands no others yet."""
        tower, *others = taught.conditioner.towers or (None,)
        if tower is None or others:
            raise TrainingError(
                f"{taught.name} has {len(taught.conditioner.towers)} text encoders; a noise predictor that begins as "
                "its own is told by one. Train the clip first."
            )
        with processes().first_goes_ahead():
            if processes().is_first:
                tower.tokenizer.save(self.folder / "tokenizer")
                save_text_encoder(tower.encoder, tower.tokenizer, self.folder / TAKEN)

    def text_encoder(self) -> TextEncoder:
        """The text tower as trained so far, without its projection, as Stable Diffusion 1 has it.

        Where no CLIP was taught, that of the model that the noise predictor began as.
        """
        if not self.has_clip and (self.folder / TAKEN).exists():
            return load_text_encoder(self.folder / TAKEN, self.tokenizer().end)
        return without_projection(self.clip().text)

    def clip(self) -> CLIP:
        """Both towers as trained so far."""
        clip = self._new_clip()
        clip.load_state_dict(self._weights("clip"))
        return clip

    def autoencoder(self) -> Autoencoder:
        """The autoencoder as trained so far."""
        model = Autoencoder(self.recipe.autoencoder.autoencoder)
        model.load_state_dict(self._weights("autoencoder"))
        return model

    def unet(self) -> UNet:
        """The noise predictor as trained so far."""
        model = UNet(self.denoiser_recipe.network)
        model.load_state_dict(self._weights("denoiser"))
        return model

    def model(self, unet: UNet | None = None) -> StableDiffusion:
        """All parts as trained so far, ready to draw; it knows the words that its captions could have.

        ``unet`` stands in for the noise predictor that was saved.
        """
        size, denoiser = self.recipe.size, self.denoiser_recipe
        if denoiser.pixels:
            autoencoder = Pixels()
        else:
            autoencoder = self.autoencoder()
            autoencoder.config = replace(autoencoder.config, scaling_factor=self.scaling_factor())
        conditioner = Conditioner()
        if denoiser.text:
            conditioner = Conditioner(Tower(self.tokenizer(), self.text_encoder()), vocabulary=self._vocabulary())
        return StableDiffusion(
            (unet or self.unet()).eval(),
            autoencoder.eval(),
            conditioner,
            self.schedule(denoiser),
            name=self.folder.name,
            defaults=Defaults(width=size, height=size, steps=20, guidance_scale=4.0 if denoiser.text else 1.0),
        )

    def _vocabulary(self) -> Vocabulary:
        """The words that the captions can have."""
        if self.source is not None:
            words = {word for caption in self._captions() for word in split_words(caption)}
            return Vocabulary(tuple(sorted(words)))
        drawn = self.recipe.vocabulary
        attributes = {kind: tuple(map(str, names)) for kind, names in asdict(drawn).items()}
        return Vocabulary(known_words(drawn), attributes)

    def _new_clip(self) -> CLIP:
        """Both towers, the text tower as large as the tokenizer turned out."""
        tokenizer, recipe = self.tokenizer(), self.recipe.clip
        return CLIP(replace(recipe.text, vocab_size=len(tokenizer), end_id=tokenizer.end), recipe.image)

    def _weights(self, stage: str) -> dict[str, Tensor]:
        state = load_newest_state(self.folder / stage)
        if state is None:
            raise TrainingError(f"Nothing in {self.folder / stage} yet: train the {stage} first.")
        return state.tensors["model"] | state.tensors.get("ema", {})

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, trained now where it was not yet."""
        folder = self.folder / "tokenizer"
        return Tokenizer.load(folder) if folder.exists() else self.train_tokenizer()

    def rows(self, count: int) -> list[tuple[Tensor, str]]:
        """The first pictures, (3 H W) uint8, each with its caption, as the first epoch sees them."""
        pictures = self._pictures()
        draws = [Draw(self.recipe.seed, 0, index) for index in range(min(count, len(pictures)))]
        return [(pictures.pixels(draw), pictures.caption(draw)) for draw in draws]

    def _pictures(self) -> Pictures:
        folder = self.folder / "pictures"
        return DrawnScenes(folder) if self.recipe.data is None else StoredPictures(folder, flip=self.recipe.flip)

    def _latents(self) -> Shards:
        return Shards.open(self.folder / "latents")


def _taught(source: str) -> StableDiffusion:
    """A model that a training begins as, all of its numbers as they are stored."""
    return load(source, device="cpu", dtype=torch.float32, lean=False)


def seeded(seed: int, make: Callable[[], Made]) -> Made:
    """What ``make()`` returns, its random weights a function of the seed; the global generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()
