"""The recorder: what happens inside a run, seen from outside, without changing a bit of its pictures.

A wrapper of the denoiser (``Run.wrap``). For each evaluation it holds the model's lock, hangs its watchers on the
networks, lets the run compute, and takes them off again; between evaluations nothing hangs anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from tintype.diffusion.parameterization import parameterization
from tintype.errors import SettingsError, TintypeError
from tintype.illustrate.attention_heat import HeatRecorder
from tintype.illustrate.decoding import decode_steps
from tintype.illustrate.equations import Equations, Look
from tintype.illustrate.features import FeatureRecorder
from tintype.illustrate.outline import outline_shares
from tintype.illustrate.parts import Clock, Stopwatch, part_facts
from tintype.illustrate.recording import Decoded, RecordedStep, Recording
from tintype.illustrate.structure import skip_connections
from tintype.illustrate.words import contexts, words_of
from tintype.images import to_image
from tintype.pipeline.run import Run
from tintype.types import Denoise, Sigma

NUM_FEATURE_STEPS = 6
NOISE_BYTES = 16 * 2**20
"""Predicted noise beyond this is kept in fp16."""


def record(run: Run, *, image: int = 0, heat_maps: bool = True, features: bool = True, noise: bool = True) -> Recorder:
    """Watch a run that has not begun. Iterate over it, or ask for its images, as usual; then ``recording()``.

    Args:
        run: of ``text2img``, ``img2img`` or ``inpaint``.
        image: which picture of the batch.
        heat_maps: what each word did.
        features: what each layer did.
        noise: the noise that the network predicts, with and without the prompt.

    Raises:
        SettingsError: there is no such picture.
        TintypeError: the run has begun.
    """
    return Recorder(run, image=image, heat_maps=heat_maps, features=features, noise=noise)


@dataclass
class _Call:
    """The call of the network that is in work: where our picture is in its batch."""

    batch: int  # pictures of the run
    image: int
    number: int = -1  # of this evaluation
    cond: int | None = None  # the row that is told the prompt
    uncond: int | None = None
    x: Tensor | None = None  # what the network sees

    def begin(self, rows: int) -> None:
        """A call with so many rows: with guidance both passes, without it first; or the prompt alone."""
        self.number += 1
        both = rows == 2 * self.batch
        self.cond = self.batch + self.image if both else self.image if self.number == 0 else None
        self.uncond = self.image if both or self.number == 1 else None


class Recorder:
    """Records one run. See ``record``."""

    def __init__(self, run: Run, *, image: int, heat_maps: bool, features: bool, noise: bool) -> None:
        if not 0 <= image < run.settings.num_images:
            raise SettingsError(f"image is {image}; this run has {run.settings.num_images}, counted from 0.")
        self.run, self.model, self.image = run, run.model, image
        self._noise = noise
        self._prompt = image // run.settings.batch_size
        self._words = words_of(self.model, run.settings, run.settings.prompts[self._prompt])
        width, height = run.settings.size
        self._size = (height // self.model.autoencoder.factor, width // self.model.autoencoder.factor)
        unet, steps = self.model.unet, len(run)
        self.feature_steps = spread(steps, NUM_FEATURE_STEPS) if features else ()
        self._features = FeatureRecorder(unet, steps, self.feature_steps) if features else None
        has_text = heat_maps and unet.config.context_dim is not None
        self._heat = HeatRecorder(unet, self._size, self._words.groups(), steps) if has_text else None
        self._looks: list[Look] = []
        self._clock = Clock()
        self._watch = Stopwatch(unet, self._clock)
        run.wrap(self._recorded)

    @property
    def seconds(self) -> float:
        """How long recording has taken of the run's time so far."""
        return self._clock.seconds

    def _recorded(self, denoise: Denoise) -> Denoise:
        def recorded(x: Tensor, sigma: Sigma) -> Tensor:
            with self.model.lock:
                with self._clock.counting():
                    first = self._arrive(x)
                    call = _Call(len(x), self.image)
                with self._watching(call, sigma, first):
                    denoised = denoise(x, sigma)
                with self._clock.counting():
                    self._leave(denoised, first)
            return denoised

        return recorded

    def _arrive(self, x: Tensor) -> bool:
        """Note where a step begins; whether this is the first evaluation of the step in work."""
        step = self.run.steps_done
        first = len(self._looks) <= step
        if first:
            self._looks.append(Look(step, self._one(x)))
        return first

    def _leave(self, denoised: Tensor, first: bool) -> None:
        look = self._looks[-1]
        if first:
            look.denoised = self._one(denoised)
        else:
            look.again.append(self._one(denoised))

    @contextmanager
    def _watching(self, call: _Call, sigma: Sigma, first: bool) -> Iterator[None]:
        """Everything that hangs on the networks while one evaluation is computed."""
        unet, step = self.model.unet, self._looks[-1].index
        with ExitStack() as stack:

            def begin(_: nn.Module, inputs: tuple[Any, ...]) -> None:
                call.begin(len(inputs[0]))
                call.x = inputs[0]

            def end(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
                with self._clock.counting():
                    self._keep_noise(call, output, sigma)

            stack.callback(unet.register_forward_pre_hook(begin).remove)
            stack.enter_context(self._watch.running())
            if self._heat is not None:
                stack.enter_context(self._heat.watching(step, lambda: call.cond, self._clock))
            if first and self._features is not None:
                stack.enter_context(self._features.watching(step, lambda: call.cond, self._clock))
            if first and self._noise:
                stack.callback(unet.register_forward_hook(end).remove)
            yield

    def _keep_noise(self, call: _Call, output: Tensor, sigma: Sigma) -> None:
        """The network's output as noise: x0 = c_skip x + c_out F, and x = x0 + sigma noise."""
        assert call.x is not None
        c_skip, c_out, c_in = parameterization(self.model.schedule.prediction)(sigma)
        small = 4 * output[0].numel() * 2 * len(self.run) <= NOISE_BYTES
        for name, row in (("noise_cond", call.cond), ("noise_uncond", call.uncond)):
            if row is not None:
                x = call.x[row, : output.shape[1]].float() / c_in
                noise = ((1 - c_skip) * x - c_out * output[row].float()) / sigma
                setattr(self._looks[-1], name, noise.to("cpu", torch.float32 if small else torch.float16))

    def _one(self, batch: Tensor) -> Tensor:
        """Our picture of a batch, (c h w) fp32 on the CPU, a copy."""
        return batch[self.image].detach().to("cpu", torch.float32, copy=True)

    def recording(self, decode: int = 16) -> Recording:
        """What was recorded. Runs to the end, decodes, and paints up to ``decode`` more latents (``decode_steps``).

        Raises:
            TintypeError: the run was stopped before its first step was done.
        """
        run, model, settings = self.run, self.model, self.run.settings
        latents = run.latents[self.image].cpu()  # (c h w)
        picture = run.images[self.image]  # not under the model's lock: whoever else asks for them holds the run's
        steps = self._steps(latents)
        decoder = Stopwatch(model.autoencoder.decoder)
        with model.lock, decoder.running():
            first = Decoded(0, "denoised", to_image(model.decode(steps[0].denoised[None])[0]))
        towers = [Stopwatch(tower.encoder) for tower in model.conditioner.towers]
        with model.lock, ExitStack() as stack:
            for tower in towers:
                stack.enter_context(tower.running())
            context, uncond = contexts(model, settings, self._scale, self._prompt)
        recording = Recording(
            model_name=model.name,
            settings=settings,
            image_index=self.image,
            seed=run.seeds[self.image],
            prompt=self._words.prompt,
            negative_prompt=None if settings.negative_prompts is None else settings.negative_prompts[self._prompt],
            guidance_scale=self._scale,
            prediction=model.schedule.prediction,
            notices=run.notices,
            parts=part_facts(model, towers, self._watch, decoder),
            tokens=self._words.tokens,
            cut=self._words.cut,
            context=context,
            context_uncond=uncond,
            steps=steps,
            heat=None if self._heat is None else self._heat.heat_maps(len(steps)),
            layers=() if self._features is None else self._features.layers(len(steps)),
            skips=skip_connections(model.unet),
            time_embeddings=None if self._features is None else self._features.time_embeddings[: len(steps)],
            feature_steps=tuple(step for step in self.feature_steps if step < len(steps)),
            latents=latents,
            image=picture,
            decoded=(first,),
            recording_milliseconds=1000 * self.seconds,
        )
        return decode_steps(model, recording, decode)

    @property
    def _scale(self) -> float:
        scale = self.run.settings.guidance_scale
        assert scale is not None, "a run's own settings are complete"
        return scale

    def _steps(self, latents: Tensor) -> tuple[RecordedStep, ...]:
        """The steps that were done, each with the equation of what follows it."""
        run, plan = self.run, self.run.plan
        done = self._looks[: run.steps_done]
        nexts = [look.x for look in self._looks[1:]]
        if run.steps_done == len(run):
            nexts.append(latents * sqrt(1 + plan.sigmas[-1] ** 2))  # what the run divided by
        done = done[: len(nexts)]  # the last step of a run that was interrupted may lack its end
        if not done:
            raise TintypeError("This run was stopped before its first step was done; there is nothing to show.")
        estimates = [look.denoised for look in done if look.denoised is not None]
        equations = Equations(run.settings, plan.sigmas, run.seeds[self.image], (len(latents), *self._size))
        outlines = outline_shares(estimates, latents)
        return tuple(
            RecordedStep(
                index=i,
                sigma=plan.sigmas[i],
                sigma_next=plan.sigmas[i + 1],
                timestep=plan.timesteps[i],
                x=look.x,
                denoised=estimates[i],
                x_next=nexts[i],
                noise_cond=look.noise_cond,
                noise_uncond=look.noise_uncond,
                evaluations=1 + len(look.again),
                equation=equations.of(done[: i + 1], nexts[i]),
                outline=outlines[i],
            )
            for i, look in enumerate(done)
        )


def spread(steps: int, count: int) -> tuple[int, ...]:
    """Up to ``count`` of the steps, the first and the last among them, denser at the beginning where more happens."""
    if steps <= count:
        return tuple(range(steps))
    return tuple(sorted({round((steps - 1) * (i / (count - 1)) ** 1.5) for i in range(count)}))
