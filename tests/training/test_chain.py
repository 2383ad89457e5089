"""From nothing to a model that draws, saves and loads: the whole chain at its smallest."""

from dataclasses import replace

import torch

import tintype
from tintype.checkpoints.folder import save_folder
from tintype.training import Chain
from tintype.training.shards import Shards


def test_the_chain_ends_in_a_model(chain, tmp_path):
    list(chain.denoiser_training(replace(chain.recipe.denoiser, pictures=64)))
    sd = Chain(chain.recipe, chain.folder).model()
    latents = torch.cat([part["latents"].float() for part in Shards.open(chain.folder / "latents").tensors])
    size = (latents * sd.autoencoder.config.scaling_factor).square().mean().sqrt()
    torch.testing.assert_close(size, torch.tensor(1.0))
    run = sd.text2img("a red pirate ship on a beach", seed=1, steps=2)
    assert run.images[0].size == (64, 64)
    save_folder(sd, tmp_path / "model")
    again = tintype.load(tmp_path / "model", dtype=torch.float32).text2img(
        "a red pirate ship on a beach", seed=1, steps=2
    )
    assert torch.equal(run.latents, again.latents)
