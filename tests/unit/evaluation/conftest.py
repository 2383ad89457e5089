import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tintype.checkpoints.folder import save_folder
from tintype.evaluation import Examined, examine
from tintype.training import Chain
from tintype.training.recipes import TINY


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """The folder of a training run: every stage after a few steps, and the model that they make."""
    recipe = replace(TINY, pictures=48)
    chain = Chain(recipe, tmp_path_factory.mktemp("run"))
    list(chain.draw_pictures())
    chain.train_tokenizer()
    list(chain.clip_training(replace(recipe.clip, pictures=64)))
    list(chain.autoencoder_training(replace(recipe.autoencoder, pictures=16)))
    list(chain.cache_latents())
    list(chain.denoiser_training(replace(recipe.denoiser, pictures=32)))
    save_folder(chain.model(), chain.folder / "model", dtype=torch.float32)
    (chain.folder / "model" / "recipe.json").write_text(json.dumps(asdict(recipe)))
    return chain.folder


@pytest.fixture(scope="session")
def examined(run) -> Examined:
    return examine(run)
