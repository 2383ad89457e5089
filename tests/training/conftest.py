from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tintype.training import Chain
from tintype.training.recipes import TINY


@pytest.fixture(scope="session")
def recipe():
    return replace(TINY, pictures=48)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, recipe) -> Path:
    """A run's folder with pictures, a tokenizer, and CLIP and autoencoder after two steps each."""
    folder = tmp_path_factory.mktemp("run")
    chain = Chain(recipe, folder)
    list(chain.draw_pictures())
    chain.train_tokenizer()
    list(chain.clip_training(replace(recipe.clip, pictures=64)))
    list(chain.autoencoder_training(replace(recipe.autoencoder, pictures=16)))
    list(chain.cache_latents())
    return folder


@pytest.fixture
def chain(prepared, recipe, tmp_path) -> Chain:
    """The prepared run, in a folder of this test's own."""
    for name in ("pictures", "tokenizer", "clip", "autoencoder", "latents"):
        (tmp_path / name).symlink_to(prepared / name)
    return Chain(recipe, tmp_path)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of the same numbers in the same order, whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
