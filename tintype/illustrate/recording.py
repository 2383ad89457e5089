"""What is recorded of a run: plain numbers and tensors on the CPU, of one picture, that figures are drawn from.

Nothing here computes with networks. The letters of shapes are those of ``tintype.types``; beside them, ``e`` counts
the entries of a heat map and ``g`` the steps whose features were kept as colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from tintype.illustrate.heat_maps import HeatMaps
from tintype.illustrate.outline import outline_changes, outline_window
from tintype.pipeline.settings import Settings

LatentsKind = Literal["denoised", "noisy"]
TokenKind = Literal["start", "word", "end", "padding"]
LayerKind = Literal[
    "conv", "time", "resnet", "transformer", "self-attention", "cross-attention", "feed-forward", "down", "up"
]
PartOfUNet = Literal["time", "in", "down", "mid", "up", "out"]


@dataclass(frozen=True)
class Token:
    """One position of what the text encoder read.

    Attributes:
        text: readable; a piece that ends a word ends in a space. Start and end by their names.
        id: its number in the vocabulary.
        kind: start, word, end or padding.
        position: its place in the context, 0 to 77k - 1; -1 for a word that was cut off.
        chunk: which chunk of 77 it stands in.
        word: pieces of one word share a number, counted from 0 through the prompt; None beside words.
        weight: how much it counts (``(word:1.3)``).
        entry: its row in ``HeatMaps``; the padding of a chunk shares one. -1 for a word that was cut off.
    """

    text: str
    id: int
    kind: TokenKind
    position: int
    chunk: int
    word: int | None
    weight: float
    entry: int


@dataclass(frozen=True)
class PartFacts:
    """One part of the model, and what it did in this run.

    Attributes:
        role: "text encoder" (and "text encoder 2" in SDXL), "unet", or "decoder" (of the autoencoder).
        class_name: the class of its module.
        parameters: how many.
        bytes: what they take in memory.
        dtype: what it computes in, "float32".
        device: where, "cpu".
        calls: how often it was called; with guidance one call of the UNet is a batch of two.
        milliseconds: the time of those calls, without the time that recording took. The text encoders and the decoder
            are called once more, after the run, to be measured.
        shape_in: without the batch: (77,), (4, 64, 64), (3, 512, 512).
        shape_out: likewise.
    """

    role: str
    class_name: str
    parameters: int
    bytes: int
    dtype: str
    device: str
    calls: int
    milliseconds: float
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


@dataclass(frozen=True)
class Term:
    """One summand of a step: a number times a tensor.

    ``of`` is "x" or "denoised" (``back`` steps ago; 0 is this step's), "denoised again" (the second look that some
    solvers take within a step) or "noise" (fresh noise of unit variance).
    """

    of: Literal["x", "denoised", "denoised again", "noise"]
    back: int
    coefficient: float


@dataclass(frozen=True)
class Equation:
    """``x_next`` as a sum of terms, and how far the sum is from the true ``x_next``.

    Attributes:
        terms: in the order in which they are written.
        fitted: False where the coefficients are the solver's formula (Euler's family), True where they were found
            by least squares over all values of the latents.
        residual: root mean square of ``x_next - sum`` over that of ``x_next``. Rounding alone is about 1e-7.
    """

    terms: tuple[Term, ...]
    fitted: bool
    residual: float


@dataclass(frozen=True)
class RecordedStep:
    """One step, of one picture. All tensors are (c h w) on the CPU, in the coordinate x = x0 + sigma * noise.

    Attributes:
        index: from 0.
        sigma: the noise level before the step.
        sigma_next: and after it.
        timestep: what the network was told.
        x: before the step.
        denoised: what the model believes the picture is, guidance included.
        x_next: after the step.
        noise_cond: the noise in ``x`` that the network predicts when it is told the prompt; None without ``noise``.
        noise_uncond: the same without the prompt (or told the negative one); None without guidance.
        evaluations: how many times the network was asked within the step.
        equation: the step with its numbers.
        outline: 0 to 1, how much of the final picture's outline is in ``denoised`` (``outline_shares``).
    """

    index: int
    sigma: float
    sigma_next: float
    timestep: float
    x: Tensor
    denoised: Tensor
    x_next: Tensor
    noise_cond: Tensor | None
    noise_uncond: Tensor | None
    evaluations: int
    equation: Equation
    outline: float

    @property
    def noise(self) -> Tensor:
        """The noise in ``x`` that the step believes in, guidance included: (x - denoised) / sigma."""
        return (self.x - self.denoised) / self.sigma

    @property
    def guidance(self) -> Tensor | None:
        """What the prompt changes in the predicted noise: with it minus without it."""
        if self.noise_cond is None or self.noise_uncond is None:
            return None
        return self.noise_cond.float() - self.noise_uncond.float()

    @property
    def removed(self) -> Tensor:
        """What the step took away."""
        return self.x - self.x_next


@dataclass(frozen=True)
class LayerRecord:
    """One layer of the UNet, in the order of the forward pass.

    Attributes:
        name: where it stands, "down.1.attentions.0.blocks.0.cross_attention".
        kind: what it is. A "transformer" is the whole of self-attention, cross-attention and feed-forward blocks.
        part: on the way down, in the middle, on the way up; or before and after.
        level: 0 is the finest resolution.
        shape: of its output, without the batch: (c h w), (n c) or (c,).
        parameters: how many.
        moved: for each step, the norm of what the layer adds over the norm of what it is added to, in the pass that
            is told the prompt; None for layers that add nothing to a stream (convolutions, changes of resolution).
        thumbnails: (g h w 3) uint8, the features' first three principal components as red, green and blue at the
            steps ``Recording.feature_steps``; at most 32 x 32. None where none were kept.
        explained: for each of those steps, the share of the features' variance that the three components hold.
    """

    name: str
    kind: LayerKind
    part: PartOfUNet
    level: int
    shape: tuple[int, ...]
    parameters: int
    moved: tuple[float, ...] | None
    thumbnails: Tensor | None
    explained: tuple[float, ...] | None


@dataclass(frozen=True)
class Decoded:
    """Latents that the autoencoder painted.

    ``of`` is "denoised", what the model believes the picture is, or "noisy", the latents of the step as they are
    (brought to unit variance). ``index`` len(steps) and "noisy" is the result.
    """

    index: int
    of: LatentsKind
    image: Image.Image


@dataclass(frozen=True)
class Recording:
    """A run, as it was seen from within, for one picture of its batch.

    Attributes:
        model_name: as the checkpoint names itself; may be empty.
        settings: complete; they repeat the run.
        image_index: which picture of the batch.
        seed: of that picture.
        prompt: of that picture, without LoRA tags.
        negative_prompt: of that picture; None where there is none.
        guidance_scale: the one in force; 1 is without guidance.
        prediction: what the network predicts, "eps", "v" or "x0".
        notices: what should be said about prompt and picture.
        parts: the model's parts with what they did.
        tokens: every position of the context, 77 for each chunk.
        cut: the words that ``long_prompt="truncate"`` left out.
        context: (s d) the text features of the prompt; None for a model without text.
        context_uncond: (s d) those that guidance steers away from; None without guidance.
        steps: as many as were done.
        heat: what each word did; None without ``heat_maps``, or for a model without text.
        layers: of the UNet; empty without ``features``.
        skips: names of layers, (from, to): ``to`` sees the output of ``from`` beside its input.
        time_embeddings: (steps time_dim) after the SiLU that begins every use of it; None without ``features``.
        feature_steps: the steps at which features were kept as colour.
        latents: (c h w) fp32, the result before decoding.
        image: the result.
        decoded: chosen steps as pictures, in the order of the steps.
        recording_milliseconds: what recording took of the run's time.
    """

    model_name: str
    settings: Settings
    image_index: int
    seed: int
    prompt: str
    negative_prompt: str | None
    guidance_scale: float
    prediction: str
    notices: tuple[str, ...]
    parts: tuple[PartFacts, ...]
    tokens: tuple[Token, ...]
    cut: tuple[Token, ...]
    context: Tensor | None
    context_uncond: Tensor | None
    steps: tuple[RecordedStep, ...]
    heat: HeatMaps | None
    layers: tuple[LayerRecord, ...]
    skips: tuple[tuple[str, str], ...]
    time_embeddings: Tensor | None
    feature_steps: tuple[int, ...]
    latents: Tensor
    image: Image.Image
    decoded: tuple[Decoded, ...]
    recording_milliseconds: float

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the prompt, in order, as the text encoder read them; a word may stand there twice."""
        texts: dict[int, str] = {}
        for token in self.tokens:
            if token.word is not None:
                texts[token.word] = texts.get(token.word, "") + token.text
        return tuple(texts[number].strip() for number in sorted(texts))

    def entries(self, word: int) -> tuple[int, ...]:
        """The rows of the heat maps that belong to a word: one for each of its pieces."""
        return tuple(token.entry for token in self.tokens if token.word == word)

    def word_maps(self, maps: Tensor) -> Tensor:
        """Heat maps of entries (e h w) -> of words (words h w): the mean of a word's pieces, as DAAM has it."""
        rows = [maps[list(self.entries(word))].mean(0) for word in range(len(self.words))]
        return torch.stack(rows) if rows else maps[:0]

    def part(self, role: str) -> PartFacts:
        """The part of that role; KeyError where the model has none."""
        for part in self.parts:
            if part.role == role:
                return part
        raise KeyError(f"no part {role!r}; there are {', '.join(part.role for part in self.parts)}")

    @cached_property
    def outline_changes(self) -> tuple[float, ...]:
        """How far the outline of the estimated picture moves from each step to the next."""
        return tuple(outline_changes([step.denoised for step in self.steps]))

    @property
    def outline_steps(self) -> tuple[int, int]:
        """Between the estimates of which two steps the outline emerges. See ``outline_window``."""
        return outline_window(self.outline_changes)
