"""Models on pixels and models without text are measured as far as they go, and the report says what is not."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from tintype.checkpoints.folder import save_folder
from tintype.evaluation import Evaluation, examine
from tintype.evaluation.evaluation import Effort
from tintype.training import Chain
from tintype.training.recipes import TINY

SLIM = replace(TINY.denoiser.unet, channels=(8, 8, 16), transformer_depth=(0, 0, 1), num_heads=(1, 1, 1))


@pytest.mark.parametrize(
    ("text", "pixels"), [pytest.param(True, True, marks=pytest.mark.proof), (False, True), (False, False)]
)
def test_what_cannot_be_measured_is_said(tmp_path, text, pixels):
    denoiser = replace(TINY.denoiser, unet=SLIM, batch_size=4, pictures=8, text=text, pixels=pixels)
    chain = Chain(replace(TINY, pictures=24, denoiser=denoiser), tmp_path / "run")
    list(chain.draw_pictures())
    if text:
        chain.train_tokenizer()
        list(chain.clip_training(replace(TINY.clip, pictures=64)))
    if not pixels:
        list(chain.autoencoder_training(replace(TINY.autoencoder, pictures=16)))
        list(chain.cache_latents())
    list(chain.denoiser_training(denoiser))
    model = chain.folder / "model"
    save_folder(chain.model(), model, dtype=torch.float32)
    (model / "recipe.json").write_text(json.dumps(asdict(chain.recipe)))
    effort = replace(Effort.of(4), pools=(8,), references=16)
    evaluation = Evaluation(examine(model), tmp_path / "pictures", effort)
    list(evaluation)
    report = evaluation.report
    parts = {figure.part for figure in report.figures}
    said = " ".join(report.not_measured)
    assert ("Autoencoder" in parts) is not pixels
    assert ("draws pixels" in said) is pixels
    assert ("Prompt fidelity: the model was trained without text" in said) is not text
    losses = [figure for figure in report.figures if figure.name.startswith("loss at noise")]
    assert losses and all(bool(figure.beside) is text for figure in losses)
    assert any("nearest" in figure.name.lower() for figure in report.figures)
